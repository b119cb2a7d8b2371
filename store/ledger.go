package store

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// Ledger is the consumer's tables of one consumer: the guards' records and what
// has been forgotten. It is safe for concurrent use. No method retries; errors are
// wrapped with what was being done, and a missing table is a *waybill.SchemaError.
//
// As with a Queue, the settings of the pool's sessions do not matter to it.
type Ledger struct {
	db       *sql.DB // of guards' transactions
	sessions *sessions
	dialect  Dialect
	names    Names
	consumer string
	beginner *Beginner
	tables   tables
	// superseded is told of each mark that is Superseded; may be nil.
	superseded func(m Mark, applied waybill.ID)
	passes     passes                       // of Prune
	clock      atomic.Pointer[clockReading] // nil until it was read
}

// NewLedger returns the tables of db whose names have the prefix, for consumer;
// NewNames has the prefix's rules. It asks nothing of the database: CheckSchema says
// whether the tables are there.
func NewLedger(db *sql.DB, dialect Dialect, prefix, consumer string) (*Ledger, error) {
	if db == nil || dialect == nil {
		return nil, errors.New("waybill: a database and its dialect are required")
	}
	names, err := NewNames(prefix)
	if err != nil {
		return nil, err
	}
	return &Ledger{db: db, sessions: newSessions(db, dialect), dialect: dialect, names: names, consumer: consumer, beginner: NewBeginner(dialect), tables: tables{side: Consumer}}, nil
}

// OnSuperseded has f called for each mark that RecordLatest finds to be Superseded, with
// the id of the message that has taken effect; also where the transaction is rolled back
// then. f is called by any number of goroutines at once, and must not use the Ledger. Call
// OnSuperseded before anything else.
func (l *Ledger) OnSuperseded(f func(m Mark, applied waybill.ID)) { l.superseded = f }

// Begin opens a transaction that a guard and a handler's effect can be written in, with
// the isolation level that the dialect's Capabilities ask for, and holds it against being
// ended by the handler.
func (l *Ledger) Begin(ctx context.Context) (*Transaction, error) {
	tx, err := l.beginner.Begin(ctx, l.db, l.guardOptions())
	return tx, wrap(l.dialect, Consumer, "begin a transaction", err)
}

func (l *Ledger) guardOptions() *sql.TxOptions {
	return &sql.TxOptions{Isolation: l.dialect.Capabilities().GuardIsolation}
}

// Clock returns the database's clock.
func (l *Ledger) Clock(ctx context.Context) (time.Time, error) {
	var now int64
	began := time.Now()
	err := each(ctx, l.db, l.dialect.Clock(), func(rows *sql.Rows) error { return rows.Scan(&now) })
	if err == nil {
		l.clock.Store(&clockReading{there: time.UnixMicro(now), here: began})
	}
	return time.UnixMicro(now), wrap(l.dialect, Consumer, "read the clock", err)
}

// Probe returns nil where the guards work, and why not where they do not: it writes the
// record of a message that does not exist, and rolls it back.
func (l *Ledger) Probe(ctx context.Context, level waybill.Level) error {
	err := l.probe(ctx, level)
	if err != nil && l.dialect.ReadOnly(err) {
		err = l.probe(ctx, level) // its transactions are asked to write now
	}
	return err
}

func (l *Ledger) probe(ctx context.Context, level waybill.Level) error {
	tx, err := l.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	record := l.RecordOnce
	if level == waybill.Latest {
		record = l.RecordLatest
	}
	id := waybill.NewID()
	_, err = record(ctx, tx, []Mark{{ID: id, Destination: "probe." + id.String(), Key: id.String(), TimeStamp: 1}})
	return err
}

// Condition classifies an error that one of the methods, or a handler, returned.
func (l *Ledger) Condition(err error) Condition { return condition(l.dialect, err) }

// Full says whether an error that one of the methods, or a handler, returned comes of a
// database that has no room for what was to be written.
func (l *Ledger) Full(err error) bool { return err != nil && l.dialect.Full(err) }

// Capabilities are the dialect's.
func (l *Ledger) Capabilities() Capabilities { return l.dialect.Capabilities() }

// CheckSchema returns a *waybill.SchemaError where the tables are missing, or of a version
// that this program cannot work with. Where they are Older than the program, the Ledger
// works with them as they are from then on, until a guard finds them upgraded.
func (l *Ledger) CheckSchema(ctx context.Context) error {
	return l.tables.check(ctx, l.sessions.reader(), l.dialect, l.names)
}

// CloseIdle closes the connections that are kept for the next statements. The Ledger can
// be used again.
func (l *Ledger) CloseIdle() { l.sessions.close() }
