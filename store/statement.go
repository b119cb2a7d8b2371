package store

import (
	"context"
	"database/sql"
	"errors"
)

// Statement is one SQL statement with its arguments.
type Statement struct {
	SQL  string
	Args []any
}

// Execer runs a statement: *sql.DB, *sql.Conn and *sql.Tx do.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Tx is a transaction that a message can be written in. *sql.Tx satisfies it and
// *sql.DB does not, so that sending outside a transaction does not compile.
type Tx interface {
	Execer
	Commit() error
}

// NumberReader is a Tx of another kind than database/sql's that can be asked for one
// number; see ReadClock.
type NumberReader interface {
	ReadNumber(ctx context.Context, query string, args ...any) (int64, error)
}

// run runs statements in their order, until one fails.
func run(ctx context.Context, db Execer, statements ...Statement) error {
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s.SQL, s.Args...); err != nil {
			return err
		}
	}
	return nil
}

// unlessEmpty is the statement, or none where it is empty.
func unlessEmpty(s Statement) []Statement {
	if s.SQL == "" {
		return nil
	}
	return []Statement{s}
}

// Session runs statements on one connection, in one transaction: Transaction and *sql.Tx
// do.
type Session interface {
	Execer
	querier
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// reader reads the rows that a statement returns, as the function each does.
type reader struct {
	each func(ctx context.Context, s Statement, scan func(*sql.Rows) error) error
}

// readerOn reads through one connection, or in one transaction.
func readerOn(db querier) reader {
	return reader{func(ctx context.Context, s Statement, scan func(*sql.Rows) error) error {
		return each(ctx, db, s, scan)
	}}
}

// errEnough ends each without an error.
var errEnough = errors.New("enough")

// each calls scan for each row that the statement returns, until scan fails.
func each(ctx context.Context, db querier, s Statement, scan func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, s.SQL, s.Args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); errors.Is(err, errEnough) {
			return rows.Close()
		} else if err != nil {
			return err
		}
	}
	return rows.Err()
}
