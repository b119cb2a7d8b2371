package status

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
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
	groups, err := r.groups(ctx)
	if err != nil {
		return err
	}
	if err := r.addKept(ctx, groups); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		group := groups[name]
		group.Consumer = name
		if err := r.readGroup(ctx, group); err != nil {
			return err
		}
		c.Consumers = append(c.Consumers, *group)
	}
	return nil
}

// maxGroups bounds the consumers that are found by their records.
const maxGroups = 1000

// groups are the consumers that know a producer or have records.
func (r *Reader) groups(ctx context.Context) (map[string]*ConsumerGroup, error) {
	known, err := store.Consumers(ctx, r.db, r.dialect, r.prefix)
	if err != nil {
		return nil, err
	}
	groups := map[string]*ConsumerGroup{}
	for _, name := range known {
		groups[name] = &ConsumerGroup{}
	}
	ledger, err := store.NewLedger(r.db, r.dialect, r.prefix, "status")
	if err != nil {
		return nil, err
	}
	defer ledger.CloseIdle()
	for name := ""; len(groups) < maxGroups; {
		if name, err = ledger.NextConsumer(ctx, name); err != nil {
			return nil, err
		}
		if name == "" {
			break
		}
		groups[name] = &ConsumerGroup{}
	}
	return groups, nil
}

// addKept adds what consumers keep, where the tables have a place for it.
func (r *Reader) addKept(ctx context.Context, groups map[string]*ConsumerGroup) error {
	keeper, err := store.NewKeeper(r.db, r.dialect, r.prefix, "")
	if err != nil {
		return err
	}
	defer keeper.CloseIdle()
	if keeper.CheckSchema(ctx) != nil {
		return nil // older tables keep nothing
	}
	kept, bounded, err := keeper.Tally(ctx, cmp.Or(r.limit(), math.MaxInt))
	if err != nil {
		return err
	}
	for _, k := range kept {
		group := groups[k.Consumer]
		if group == nil {
			group = &ConsumerGroup{}
			groups[k.Consumer] = group
		}
		if k.Status == store.Rejected {
			group.KeptRejected += k.Rows
		} else {
			group.KeptWaiting += k.Rows
		}
	}
	for _, group := range groups {
		group.KeptAtLeast = bounded
	}
	return nil
}

// readGroup reads what a consumer remembers.
func (r *Reader) readGroup(ctx context.Context, g *ConsumerGroup) error {
	ledger, err := store.NewLedger(r.db, r.dialect, r.prefix, g.Consumer)
	if err != nil {
		return err
	}
	defer ledger.CloseIdle()
	limit := r.limit()
	once, latest, err := ledger.TallyRecords(ctx, limit)
	if err != nil {
		return err
	}
	g.Once, g.OnceAtLeast = once, limit > 0 && once == int64(limit)
	g.Latest, g.LatestAtLeast = latest, limit > 0 && latest == int64(limit)
	known, err := ledger.Horizons(ctx)
	if err != nil {
		return err
	}
	g.Producers = make([]Horizon, 0, len(known))
	for _, h := range known {
		g.Producers = append(g.Producers, Horizon{Producer: h.Producer, Forgotten: orEmpty(h.ID), Floor: orEmpty(h.Floor)})
	}
	return nil
}

func orEmpty(id waybill.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}
