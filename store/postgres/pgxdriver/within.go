package pgxdriver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-go/waybill/store"
)

// Within is the transaction of an inbox's handler, or of outbox.InTx, as pgx's: the same
// transaction on the same connection, for COPY, batches, pgx's types and code generated for
// pgx. The database has to be one of pgx's package stdlib, such as
// stdlib.OpenDBFromPool(pool). Both forms may be used in turn.
//
// It is what a pgx.Tx is, but for this:
//
//   - Waybill commits it and rolls it back, when the handler or function has returned. Commit
//     and Rollback roll it back at once: nothing is committed then, and that is a failure of
//     the handler, whatever it returns.
//   - Begin makes a savepoint, which its own Commit and Rollback end. A statement that may
//     fail goes into one.
//   - Behind its end all calls fail with an error that matches pgx.ErrTxClosed and
//     waybill.ErrTxEnded, also those of a handler that has been left behind. What is still
//     unread by then (Rows, BatchResults) is a failure.
//   - Conn is the connection itself, for what pgx.Tx cannot do. It is to be used by the
//     handler alone until that returns; nothing protects it.
//   - LargeObjects panics: use the SQL functions, such as lo_create and lo_put.
func Within(tx *sql.Tx) (pgx.Tx, error) {
	if tx == nil {
		return nil, errors.New("waybill: pgxdriver.Within needs a transaction")
	}
	w := &within{tx: tx, savepoints: new(int)}
	found, err := store.OnConn(tx, func(driverConn any) error {
		c, ok := driverConn.(interface{ Conn() *pgx.Conn })
		if !ok {
			return fmt.Errorf("waybill: the transaction's connection is a %T and none of pgx: open the database with pgx's package stdlib, as by stdlib.OpenDBFromPool(pool)", driverConn)
		}
		w.conn = c.Conn()
		return nil
	})
	if !found {
		return nil, fmt.Errorf("%w: pgxdriver.Within needs the transaction of an inbox's handler or of outbox.InTx, while that is open", errClosed)
	}
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Handler is an inbox's handler of one whose transaction is pgx's, see Within; and so it is
// of handlers of batches, with another M.
//
//	in.Handle("orders", waybill.Latest, pgxdriver.Handler(
//		func(ctx context.Context, tx pgx.Tx, m *waybill.Message) error { … }))
func Handler[M any](handler func(ctx context.Context, tx pgx.Tx, m M) error) func(ctx context.Context, tx *sql.Tx, m M) error {
	return func(ctx context.Context, tx *sql.Tx, m M) error {
		w, err := Within(tx)
		if err != nil {
			return err
		}
		return handler(ctx, w, m)
	}
}

// Decoded is Handler for those of typed values:
//
//	in.Handle("orders", waybill.Latest, inbox.JSON(pgxdriver.Decoded(
//		func(ctx context.Context, tx pgx.Tx, m *waybill.Message, o Order) error { … })))
func Decoded[M, T any](handler func(ctx context.Context, tx pgx.Tx, m M, v T) error) func(ctx context.Context, tx *sql.Tx, m M, v T) error {
	return func(ctx context.Context, tx *sql.Tx, m M, v T) error {
		w, err := Within(tx)
		if err != nil {
			return err
		}
		return handler(ctx, w, m, v)
	}
}

// InTx is a function for outbox.InTx of one whose transaction is pgx's, see Within:
//
//	err := out.InTx(ctx, db, pgxdriver.InTx(func(tx pgx.Tx) error { … }))
func InTx(fn func(tx pgx.Tx) error) func(tx *sql.Tx) error {
	return func(tx *sql.Tx) error {
		w, err := Within(tx)
		if err != nil {
			return err
		}
		return fn(w)
	}
}
