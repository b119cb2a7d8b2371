package pgxdriver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// within is a transaction of the store's, or a savepoint in it. pgx's connection is used in
// store.OnConn alone: beside that, a context that ends has database/sql roll back, and a
// handler that was left behind goes on when others have the connection.
type within struct {
	tx         *sql.Tx
	conn       *pgx.Conn
	savepoints *int // how many were made in the transaction

	outer     *within // nil where this is the transaction itself
	savepoint string
	closed    bool
}

var (
	errClosed = fmt.Errorf("%w: %w", waybill.ErrTxEnded, pgx.ErrTxClosed)
	errOwned  = fmt.Errorf("%w: Waybill commits it when the handler returns nil, and rolls it back when it returns an error; Commit and Rollback have rolled it back", waybill.ErrTxEnded)
	errNested = errors.New("waybill: Batch.BeginTx cannot be used within a transaction")
)

// onConn calls f where the transaction is open and its connection free.
func (w *within) onConn(f func() error) error {
	found, err := store.OnConn(w.tx, func(any) error {
		if w.conn.PgConn().TxStatus() == 'I' { // COMMIT or ROLLBACK was sent as a statement
			return errClosed
		}
		return f()
	})
	if !found || errors.Is(err, waybill.ErrTxEnded) {
		return errClosed
	}
	return err
}

// use is onConn, where no savepoint around it is closed.
func (w *within) use(f func() error) error {
	for x := w; x != nil; x = x.outer {
		if x.closed {
			return pgx.ErrTxClosed
		}
	}
	return w.onConn(f)
}

// Begin implements pgx.Tx.
func (w *within) Begin(ctx context.Context) (pgx.Tx, error) {
	*w.savepoints++
	s := &within{tx: w.tx, conn: w.conn, savepoints: w.savepoints, outer: w, savepoint: "waybill_" + strconv.Itoa(*w.savepoints)}
	if _, err := w.Exec(ctx, "savepoint "+s.savepoint); err != nil {
		return nil, err
	}
	return s, nil
}

// Commit implements pgx.Tx.
func (w *within) Commit(ctx context.Context) error { return w.end(ctx, "release savepoint ") }

// Rollback implements pgx.Tx.
func (w *within) Rollback(ctx context.Context) error { return w.end(ctx, "rollback to savepoint ") }

func (w *within) end(ctx context.Context, statement string) error {
	if w.outer == nil {
		if errors.Is(w.tx.Rollback(), sql.ErrTxDone) {
			return errClosed
		}
		return errOwned
	}
	_, err := w.Exec(ctx, statement+w.savepoint)
	w.closed = true
	return err
}

// Exec implements pgx.Tx.
func (w *within) Exec(ctx context.Context, query string, args ...any) (tag pgconn.CommandTag, err error) {
	err = w.use(func() (err error) {
		tag, err = w.conn.Exec(ctx, query, args...)
		return err
	})
	return tag, err
}

// Query implements pgx.Tx.
func (w *within) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	r := &rows{w: w}
	err := w.use(func() (err error) {
		r.Rows, err = w.conn.Query(ctx, query, args...)
		return err
	})
	if r.Rows == nil {
		return failedRows(err), err
	}
	return r, err
}

// QueryRow implements pgx.Tx.
func (w *within) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	all, _ := w.Query(ctx, query, args...)
	return row{all}
}

// CopyFrom implements pgx.Tx.
func (w *within) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, source pgx.CopyFromSource) (n int64, err error) {
	err = w.use(func() (err error) {
		n, err = w.conn.CopyFrom(ctx, table, columns, source)
		return err
	})
	return n, err
}

// SendBatch implements pgx.Tx.
func (w *within) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	r := &results{w: w}
	err := w.use(func() error {
		r.BatchResults = w.conn.SendBatch(ctx, b)
		if r.Tx() == nil {
			return nil
		}
		return errors.Join(errNested, r.BatchResults.Close())
	})
	if err != nil {
		return pgx.FailedBatchResults(b, err)
	}
	return r
}

// Prepare implements pgx.Tx.
func (w *within) Prepare(ctx context.Context, name, query string) (d *pgconn.StatementDescription, err error) {
	err = w.use(func() (err error) {
		d, err = w.conn.Prepare(ctx, name, query)
		return err
	})
	return d, err
}

// LargeObjects implements pgx.Tx.
func (w *within) LargeObjects() pgx.LargeObjects {
	panic("waybill: the transaction of a handler has no LargeObjects: use the SQL functions, such as lo_create and lo_put")
}

// Conn implements pgx.Tx. It is nil behind the transaction's end, when others may have the
// connection.
func (w *within) Conn() *pgx.Conn {
	if err := w.use(func() error { return nil }); errors.Is(err, pgx.ErrTxClosed) {
		return nil
	}
	return w.conn
}
