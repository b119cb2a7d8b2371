package store

import (
	"context"
	"database/sql"
	"errors"
)

// Ledger is the consumer's tables of one consumer: the guards' records and what
// has been forgotten. It is safe for concurrent use. No method retries; errors are
// wrapped with what was being done, and a missing table is a *waybill.SchemaError.
type Ledger struct {
	db       *sql.DB
	dialect  Dialect
	names    Names
	consumer string
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
	return &Ledger{db: db, dialect: dialect, names: names, consumer: consumer}, nil
}

// Begin opens a transaction that a guard can be written in, with the isolation level
// that the dialect's Capabilities ask for.
func (l *Ledger) Begin(ctx context.Context) (*sql.Tx, error) {
	tx, err := l.db.BeginTx(ctx, &sql.TxOptions{Isolation: l.dialect.Capabilities().GuardIsolation})
	return tx, wrap(l.dialect, Consumer, "begin a transaction", err)
}

// Condition classifies an error that one of the methods, or a handler, returned.
func (l *Ledger) Condition(err error) Condition { return condition(l.dialect, err) }

// Capabilities are the dialect's.
func (l *Ledger) Capabilities() Capabilities { return l.dialect.Capabilities() }

// Ping returns nil where the database answers, and why not where it does not.
func (l *Ledger) Ping(ctx context.Context) error { return l.db.PingContext(ctx) }

// CheckSchema returns a *waybill.SchemaError where the tables are missing or of
// another version.
func (l *Ledger) CheckSchema(ctx context.Context) error {
	return CheckSchema(ctx, l.db, l.dialect, l.names, Consumer)
}
