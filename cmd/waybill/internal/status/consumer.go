package status

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// countTime bounds the counting of records, which reads all of them.
const countTime = 3 * time.Second

const (
	countOnce   = `SELECT consumer, count(*) FROM {n1_record} GROUP BY consumer`
	countLatest = `SELECT consumer, count(*) FROM {n2_record} WHERE dest_name <> '' GROUP BY consumer`
)

func (r *Reader) readConsumer(ctx context.Context, report *Report) error {
	c := &report.Consumer
	c.Consumers = []ConsumerGroup{}
	var err error
	if c.Tables, err = r.tables(ctx, store.Consumer); err != nil {
		return err
	}
	if err := store.CheckSchema(ctx, r.db, r.dialect, r.names, store.Consumer); err != nil {
		return err
	}
	known, err := store.Consumers(ctx, r.db, r.dialect, r.prefix)
	if err != nil {
		return err
	}
	names := make(map[string]bool, len(known))
	for _, name := range known {
		names[name] = true
	}
	once, err := r.count(ctx, countOnce, names)
	if err != nil {
		return err
	}
	latest, err := r.count(ctx, countLatest, names)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		group := ConsumerGroup{Consumer: name, Once: once.of(name), Latest: latest.of(name)}
		if group.Producers, err = r.horizons(ctx, name); err != nil {
			return err
		}
		c.Consumers = append(c.Consumers, group)
	}
	return nil
}

// counts are records by consumer; nil where counting took too long.
type counts map[string]int64

func (c counts) of(name string) *int64 {
	if c == nil {
		return nil
	}
	n := c[name]
	return &n
}

// count counts records by consumer and adds the consumers' names to names.
func (r *Reader) count(ctx context.Context, text string, names map[string]bool) (counts, error) {
	limited, cancel := context.WithTimeout(ctx, countTime)
	defer cancel()
	found := counts{}
	rows, err := r.db.QueryContext(limited, r.names.SQL(text))
	if err == nil {
		defer rows.Close()
		err = found.scan(rows, names)
	}
	switch {
	case err == nil:
		return found, nil
	case limited.Err() != nil && ctx.Err() == nil:
		return nil, nil
	}
	return nil, fmt.Errorf("count records: %w", err)
}

func (c counts) scan(rows *sql.Rows, names map[string]bool) error {
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return err
		}
		c[name], names[name] = n, true
	}
	return rows.Err()
}

func (r *Reader) horizons(ctx context.Context, consumer string) ([]Horizon, error) {
	ledger, err := store.NewLedger(r.db, r.dialect, r.prefix, consumer)
	if err != nil {
		return nil, err
	}
	known, err := ledger.Horizons(ctx)
	if err != nil {
		return nil, err
	}
	horizons := make([]Horizon, 0, len(known))
	for _, h := range known {
		horizons = append(horizons, Horizon{Producer: h.Producer, Forgotten: orEmpty(h.ID), Floor: orEmpty(h.Floor)})
	}
	return horizons, nil
}

func orEmpty(id waybill.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}
