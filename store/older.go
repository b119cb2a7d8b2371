package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	waybill "github.com/waybill-go/waybill"
)

// OlderDialect is the part of a Dialect for tables of version 1, which programs of version
// 2 work with until they are upgraded: a queue and a topic of one name share their keys
// there, and the tables of version 2 are missing. So programs are upgraded first, one by
// one, and the tables when no older program is left.
type OlderDialect interface {
	// HasTypedKeys asks whether qmessage_key has the column dest_type: one row and column,
	// above 0 where it has. It may be asked in any transaction and needs no right on a
	// table. Empty where Insert serves tables without it, too.
	HasTypedKeys(Names) Statement
	// InsertPlain is Insert for tables of either version: it leaves sequences and time
	// stamps to the trigger, as plain SQL does, which is slower.
	InsertPlain(Names, []NewRow) []Statement
	// FloorUnindexed is Floor for tables without its index: it walks rejected rows.
	FloorUnindexed(n Names, below waybill.ID) Statement
	// RecordLatestUntyped and LatestIDsUntyped are RecordLatest and LatestIDs for an
	// n2_record without dest_type. The latter reads dest_name, business_mark, message_id.
	RecordLatestUntyped(n Names, consumer string, nonce int64, marks []Mark) Guard
	LatestIDsUntyped(n Names, consumer string, marks []Mark) Statement
}

// tables remember whether tables are of an older version than the program's. Tables are
// never of an older one again.
type tables struct {
	side  Side
	older atomic.Bool
	// unpaused: there was no table of pauses, and none is asked for until then (ns since the
	// Unix epoch).
	unpaused atomic.Int64
}

// check is checkSchema, and remembers.
func (t *tables) check(ctx context.Context, db reader, dialect Dialect, names Names) error {
	have, err := checkSchema(ctx, db, dialect, names, t.side)
	if err == nil {
		t.older.Store(have < newestVersion(dialect, t.side))
	}
	return err
}

// finding tells a person about tables of an older version.
func (t *tables) finding() []Finding {
	if !t.older.Load() {
		return nil
	}
	return []Finding{{Text: fmt.Sprintf("the %s's tables are of an older version, and this program works with them as programs of that version do: when no older program uses them any more, run 'waybill init --side %s'", t.side, t.side)}}
}

// Older reports whether the tables are of an older version than this program's, as
// CheckSchema has found them last: there is no identity then, and no place for answers.
func (q *Queue) Older() bool { return q.tables.older.Load() }

// Older reports whether the tables are of an older version than this program's, as
// CheckSchema, or a guard since then, has found them last.
func (l *Ledger) Older() bool { return l.tables.older.Load() }

// Source is the name under which a message's records, floors and horizons are kept in
// these tables: see the function Source, or in tables of version 1 the producer's name, so
// that older programs of this consumer find what this one has recorded or forgotten.
func (l *Ledger) Source(producer, receiptTo string, topic bool) string {
	if l.Older() {
		return producer
	}
	return Source(producer, receiptTo, topic)
}

// seeTables looks in a guard's transaction whether older tables have been upgraded since.
func (l *Ledger) seeTables(ctx context.Context, tx Session) (older bool, err error) {
	if !l.tables.older.Load() {
		return false, nil
	}
	have, err := version(ctx, readerOn(tx), l.dialect, l.names, Consumer)
	if err != nil {
		return true, err
	}
	older = have < newestVersion(l.dialect, Consumer)
	l.tables.older.Store(older)
	return older, nil
}

// readLatestUntyped is readLatest for tables in which a queue and a topic share a record.
func (l *Ledger) readLatestUntyped(ctx context.Context, tx Session, marks []Mark, yield func(k latestKey, id waybill.ID)) error {
	for batch := range batches(l.dialect, marks) {
		err := each(ctx, tx, l.dialect.LatestIDsUntyped(l.names, l.consumer, batch), func(rows *sql.Rows) error {
			var k latestKey
			var id waybill.ID
			if err := rows.Scan(&k.destination, &k.key, &id); err != nil {
				return err
			}
			for _, k.topic = range []bool{false, true} {
				yield(k, id)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// HasTypedKeys asks a transaction whether the tables serve Insert; where they do not, as
// those of version 1, InsertPlain does. It asks as ReadClock does.
func HasTypedKeys(ctx context.Context, tx Tx, dialect Dialect, names Names) (bool, error) {
	s := dialect.HasTypedKeys(names)
	if s.SQL == "" {
		return true, nil
	}
	columns, err := readNumber(ctx, tx, s)
	return columns > 0, err
}

// readNumber asks a transaction for one number.
func readNumber(ctx context.Context, tx Tx, s Statement) (number int64, err error) {
	switch db := tx.(type) {
	case NumberReader:
		return db.ReadNumber(ctx, s.SQL, s.Args...)
	case Session:
		err := each(ctx, db, s, func(rows *sql.Rows) error { return rows.Scan(&number) })
		return number, err
	}
	return 0, fmt.Errorf("waybill: a transaction without queries: %w", errors.ErrUnsupported)
}
