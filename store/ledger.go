package store

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"strings"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/mutant"
)

// Ledger is the consumer's tables of one consumer: the guards' records and what
// has been forgotten. It is safe for concurrent use. No method retries.
type Ledger struct {
	db       *sql.DB
	dialect  Dialect
	names    Names
	consumer string
}

// NewLedger returns the tables of db whose names have the prefix, for consumer.
func NewLedger(db *sql.DB, dialect Dialect, prefix, consumer string) (*Ledger, error) {
	if db == nil || dialect == nil {
		return nil, errors.New("waybill: a database and its dialect are required")
	}
	names, err := NewNames(prefix)
	if err != nil {
		return nil, err
	}
	return &Ledger{db: db, dialect: dialect, names: names, consumer: consumer}, nil
}

// Begin opens a transaction that a guard can be written in.
func (l *Ledger) Begin(ctx context.Context) (*sql.Tx, error) {
	tx, err := l.db.BeginTx(ctx, &sql.TxOptions{Isolation: l.dialect.Capabilities().GuardIsolation})
	return tx, wrap(l.dialect, Consumer, "begin a transaction", err)
}

// RecordOnce writes the marks' records in tx and says of each what it is: Fresh,
// Duplicate or Forgotten. Marks may come in any order, but no ID twice.
func (l *Ledger) RecordOnce(ctx context.Context, tx *sql.Tx, marks []Mark) ([]Verdict, error) {
	if mutant.NoRecord {
		return make([]Verdict, len(marks)), nil // Fresh
	}
	return l.record(ctx, tx, marks, byID, l.dialect.RecordOnce, l.tellForgotten)
}

// RecordLatest writes the marks' records in tx where they are newer than what is
// recorded and says of each what it is: Fresh, Duplicate or Superseded.
// Marks may come in any order, but no (Destination, Key) twice.
func (l *Ledger) RecordLatest(ctx context.Context, tx *sql.Tx, marks []Mark) ([]Verdict, error) {
	if mutant.SelectThenUpdate {
		return l.selectThenUpdate(ctx, tx, marks)
	}
	return l.record(ctx, tx, marks, byKey, l.dialect.RecordLatest, l.tellSuperseded)
}

// tellSuperseded turns Duplicate into Superseded where another message's record
// stands for the mark's key.
func (l *Ledger) tellSuperseded(ctx context.Context, tx *sql.Tx, marks []Mark, verdicts []Verdict) error {
	type key struct{ destination, key string }
	var ask []Mark
	for i, v := range verdicts {
		if v == Duplicate {
			ask = append(ask, marks[i])
		}
	}
	if len(ask) == 0 {
		return nil
	}
	recorded := make(map[key]waybill.ID, len(ask))
	for chunk := range chunks(ask, l.dialect.Capabilities().MaxBatch) {
		err := each(ctx, tx, l.dialect.LatestIDs(l.names, l.consumer, chunk), func(rows *sql.Rows) error {
			var k key
			var id waybill.ID
			if err := rows.Scan(&k.destination, &k.key, &id); err != nil {
				return err
			}
			recorded[k] = id
			return nil
		})
		if err != nil {
			return err
		}
	}
	for i, v := range verdicts {
		if v == Duplicate && recorded[key{marks[i].Destination, marks[i].Key}] != marks[i].ID {
			verdicts[i] = Superseded
		}
	}
	return nil
}

// selectThenUpdate is a guard that two transactions can pass at a time: see
// internal/fault/mutant.
func (l *Ledger) selectThenUpdate(ctx context.Context, tx *sql.Tx, marks []Mark) ([]Verdict, error) {
	verdicts := make([]Verdict, len(marks))
	for i, m := range marks {
		stale := false
		err := each(ctx, tx, l.dialect.LatestIDs(l.names, l.consumer, marks[i:i+1]), func(rows *sql.Rows) error {
			var k, d string
			var id waybill.ID
			err := rows.Scan(&d, &k, &id)
			stale = id.Compare(m.ID) >= 0
			return err
		})
		if stale {
			verdicts[i] = Superseded
		} else if err == nil {
			err = l.removeLatest(ctx, tx, m)
		}
		if err == nil && !stale {
			_, err = l.record(ctx, tx, marks[i:i+1], byKey, l.dialect.RecordLatest, l.tellSuperseded)
		}
		if err != nil {
			return nil, wrap(l.dialect, Consumer, "write records", err)
		}
	}
	return verdicts, nil
}

func (l *Ledger) removeLatest(ctx context.Context, tx *sql.Tx, m Mark) error {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	//nolint:gosec // G202: a planted bug, whose input is quoted
	_, err := tx.ExecContext(ctx, "DELETE FROM "+l.names.Latest+" WHERE consumer = "+quote(l.consumer)+
		" AND dest_name = "+quote(m.Destination)+" AND business_mark = "+quote(m.Key))
	return err
}

type (
	guardBuilder func(n Names, consumer string, nonce int64, marks []Mark) Guard
	refinement   func(ctx context.Context, tx *sql.Tx, marks []Mark, verdicts []Verdict) error
)

func (l *Ledger) record(ctx context.Context, tx *sql.Tx, marks []Mark, order func(a, b Mark) int, build guardBuilder, refine refinement) ([]Verdict, error) {
	if len(marks) == 0 {
		return nil, nil
	}
	fresh := make(map[waybill.ID]bool, len(marks))
	for chunk := range chunks(sorted(marks, order), l.dialect.Capabilities().MaxBatch) {
		guard := build(l.names, l.consumer, rand.Int64(), chunk)
		for _, s := range guard.Exec {
			if _, err := tx.ExecContext(ctx, s.SQL, s.Args...); err != nil {
				return nil, wrap(l.dialect, Consumer, "write records", err)
			}
		}
		err := each(ctx, tx, guard.Query, func(rows *sql.Rows) error {
			var id waybill.ID
			if err := rows.Scan(&id); err != nil {
				return err
			}
			fresh[id] = true
			return nil
		})
		if err != nil {
			return nil, wrap(l.dialect, Consumer, "write records", err)
		}
	}
	verdicts := make([]Verdict, len(marks))
	for i, m := range marks {
		if !fresh[m.ID] {
			verdicts[i] = Duplicate
		}
	}
	return verdicts, wrap(l.dialect, Consumer, "read records", refine(ctx, tx, marks, verdicts))
}

// tellForgotten turns Fresh into Forgotten for messages below their producer's
// horizon. It reads the horizons after the records were written: a pruning
// transaction stores its horizon with its deletions, so a record that was missing
// because it had been pruned shows its horizon here, whatever the timing.
func (l *Ledger) tellForgotten(ctx context.Context, tx *sql.Tx, marks []Mark, verdicts []Verdict) error {
	if mutant.ForgetByClock {
		return nil
	}
	var producers []string
	seen := make(map[string]bool, 1)
	for i, v := range verdicts {
		if v == Fresh && !seen[marks[i].Producer] {
			seen[marks[i].Producer] = true
			producers = append(producers, marks[i].Producer)
		}
	}
	if len(producers) == 0 {
		return nil
	}
	horizons, err := l.horizons(ctx, tx, producers)
	if err != nil {
		return err
	}
	for _, h := range horizons {
		for i, v := range verdicts {
			if v == Fresh && marks[i].Producer == h.Producer && marks[i].ID.Compare(h.ID) < 0 {
				verdicts[i] = Forgotten
			}
		}
	}
	return nil
}

// Horizons returns what is known of forgetting for each producer.
func (l *Ledger) Horizons(ctx context.Context) ([]Horizon, error) {
	return l.horizons(ctx, l.db, nil)
}

func (l *Ledger) horizons(ctx context.Context, db querier, producers []string) ([]Horizon, error) {
	var found []Horizon
	err := each(ctx, db, l.dialect.Horizons(l.names, l.consumer, producers), func(rows *sql.Rows) error {
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
	_, err := l.db.ExecContext(ctx, s.SQL, s.Args...)
	return wrap(l.dialect, Consumer, "store a floor", err)
}

// Consumers returns the names of the consumers that have records in db.
func Consumers(ctx context.Context, db *sql.DB, dialect Dialect, prefix string) ([]string, error) {
	names, err := NewNames(prefix)
	if err != nil {
		return nil, err
	}
	var found []string
	err = each(ctx, db, dialect.Consumers(names), func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		found = append(found, name)
		return err
	})
	return found, wrap(dialect, Consumer, "read consumers", err)
}

// Condition classifies an error that one of the methods, or a handler, returned.
func (l *Ledger) Condition(err error) Condition { return condition(l.dialect, err) }

// Capabilities are the database's declared behaviours.
func (l *Ledger) Capabilities() Capabilities { return l.dialect.Capabilities() }

// Ping reports whether the database answers.
func (l *Ledger) Ping(ctx context.Context) error { return l.db.PingContext(ctx) }

// CheckSchema returns a *waybill.SchemaError where the tables are missing or of
// another version.
func (l *Ledger) CheckSchema(ctx context.Context) error {
	return CheckSchema(ctx, l.db, l.dialect, l.names, Consumer)
}
