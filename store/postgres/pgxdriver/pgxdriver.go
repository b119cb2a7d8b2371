// Package pgxdriver joins Waybill to programs that use pgx itself rather than
// database/sql: Tx lets outbox.Send write through a pgx.Tx, and Listen wakes a relay
// by PostgreSQL's notifications, which database/sql cannot receive.
package pgxdriver

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-go/waybill/store"
)

// Tx lets messages be sent through tx:
//
//	err := out.Send(ctx, pgxdriver.Tx(tx), messages...)
//
// The transaction stays the caller's, who commits it or rolls it back.
func Tx(tx pgx.Tx) store.Tx {
	if tx == nil {
		return nil
	}
	return transaction{tx}
}

type transaction struct{ tx pgx.Tx }

// ExecContext implements store.Execer.
func (t transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	tag, err := t.tx.Exec(ctx, query, args...)
	if errors.Is(err, pgx.ErrTxClosed) {
		err = errors.Join(sql.ErrTxDone, err)
	}
	return result(tag), err
}

// ReadNumber implements store.NumberReader.
func (t transaction) ReadNumber(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = t.tx.QueryRow(ctx, query, args...).Scan(&n)
	return n, err
}

// Commit commits the transaction, as *sql.Tx does.
func (t transaction) Commit() error { return t.tx.Commit(context.Background()) }

type result pgconn.CommandTag

// LastInsertId implements sql.Result: PostgreSQL has no such thing.
func (result) LastInsertId() (int64, error) {
	return 0, errors.New("pgxdriver: PostgreSQL tells no last inserted id")
}

// RowsAffected implements sql.Result.
func (r result) RowsAffected() (int64, error) { return pgconn.CommandTag(r).RowsAffected(), nil }
