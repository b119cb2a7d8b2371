package store

import (
	"context"
	"database/sql"

	waybill "github.com/waybill-go/waybill"
)

// Horizon is what a consumer knows about forgetting one producer's messages.
type Horizon struct {
	Producer string     // its Source
	ID       waybill.ID // everything below it has been forgotten; zero: nothing
	Floor    waybill.ID // the highest floor that the producer has told; zero: none
}

// Horizons returns what is known of forgetting for each producer that SaveFloor has
// made known, in order of its name.
func (l *Ledger) Horizons(ctx context.Context) ([]Horizon, error) {
	return l.horizons(ctx, l.sessions.reader(), nil)
}

func (l *Ledger) horizons(ctx context.Context, db reader, producers []string) ([]Horizon, error) {
	var found []Horizon
	err := db.each(ctx, l.dialect.Horizons(l.names, l.consumer, producers), func(rows *sql.Rows) error {
		var h Horizon
		if err := rows.Scan(&h.Producer, &h.ID, &h.Floor); err != nil {
			return err
		}
		found = append(found, h)
		return nil
	})
	return found, wrap(l.dialect, Consumer, "read horizons", err)
}

// SaveFloor stores the floor that a producer has told; the zero ID makes the
// producer known without one. A lower floor than the stored one changes nothing.
func (l *Ledger) SaveFloor(ctx context.Context, producer string, floor waybill.ID) error {
	s := l.dialect.SaveFloor(l.names, l.consumer, producer, floor)
	_, err := l.sessions.exec(ctx, l.sessions.writes, nil, s)
	return wrap(l.dialect, Consumer, "store a floor", err)
}

// Consumers returns the names of the consumers that know a producer (SaveFloor) in the
// tables of db whose names have the prefix, sorted: those whose records Prune can
// delete.
func Consumers(ctx context.Context, db *sql.DB, dialect Dialect, prefix string) ([]string, error) {
	names, err := NewNames(prefix)
	if err != nil {
		return nil, err
	}
	var found []string
	s := newSessions(db, dialect)
	defer s.close()
	err = s.reader().each(ctx, dialect.Consumers(names), func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		found = append(found, name)
		return err
	})
	return found, wrap(dialect, Consumer, "read consumers", err)
}
