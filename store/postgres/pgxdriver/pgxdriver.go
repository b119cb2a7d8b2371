// Package pgxdriver joins Waybill to programs that use pgx itself rather than
// database/sql. Of a pgxpool.Pool, relay and inbox take pgx's own form for database/sql,
// which borrows the pool's connections and keeps none:
//
//	db := stdlib.OpenDBFromPool(pool) // its Close leaves the pool open
//	r, err := relay.New(db, postgres.Dialect(), brk, &relay.Options{
//		Producer: "shop",
//		Listen:   pgxdriver.PoolListener(pool, postgres.Channel("")),
//	})
//	in, err := inbox.New(db, postgres.Dialect(), brk, nil)
//	in.Handle("orders", waybill.Latest, pgxdriver.Handler(ship)) // ship gets a pgx.Tx
//
// Tx has outbox.Send write through a pgx.Tx, Pool has outbox.Wake notify through the pool,
// and Listen and PoolListener wake a relay by PostgreSQL's notifications, which
// database/sql cannot receive.
//
// The files: pgxdriver.go (Tx and Pool), query.go (what tests read through Tx), within.go (the transactions of handlers),
// transaction.go and rows.go (those as pgx.Tx), listen.go, pooler.go (PgBouncer).
package pgxdriver

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybill-go/waybill/store"
)

// Tx lets messages be sent through tx:
//
//	err := out.Send(ctx, pgxdriver.Tx(tx), messages...)
//
// The transaction stays the caller's, who commits it or rolls it back. One of Within is
// taken as what it was made of. Tests read in it what was sent:
//
//	waybilltest.RequireSent(t, pgxdriver.Tx(tx), waybilltest.Match{Destination: "orders"})
func Tx(tx pgx.Tx) Transaction {
	if tx == nil {
		return nil
	}
	if w, ok := tx.(*within); ok && w.use(func() error { return nil }) == nil {
		return w.tx
	}
	return transaction{tx}
}

// Pool has outbox.Wake notify relays through a pool:
//
//	out.Wake(ctx, pgxdriver.Pool(pool))
func Pool(pool *pgxpool.Pool) store.Execer {
	if pool == nil {
		return nil
	}
	return execer{pool}
}

type execer struct{ pool *pgxpool.Pool }

// ExecContext implements store.Execer.
func (e execer) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	tag, err := e.pool.Exec(ctx, query, args...)
	return result(tag), err
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
