package pgxdriver

import (
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// What pgx returns of a query or a batch goes on reading from the connection, so it too is
// used in store.OnConn alone.

type rows struct {
	pgx.Rows
	w   *within
	err error // why it could not be read
}

// failedRows are the rows of a query that was not sent.
func failedRows(err error) pgx.Rows {
	none, _ := pgx.FailedBatchResults(&pgx.Batch{}, err).Query()
	return none
}

// Next implements pgx.Rows.
func (r *rows) Next() (more bool) {
	if err := r.w.onConn(func() error { more = r.Rows.Next(); return nil }); err != nil {
		r.err = err
	}
	return more
}

// Scan implements pgx.Rows.
func (r *rows) Scan(dest ...any) error {
	return r.w.onConn(func() error { return r.Rows.Scan(dest...) })
}

// Values implements pgx.Rows.
func (r *rows) Values() (values []any, err error) {
	err = r.w.onConn(func() (err error) {
		values, err = r.Rows.Values()
		return err
	})
	return values, err
}

// Close implements pgx.Rows.
func (r *rows) Close() {
	if err := r.w.onConn(func() error { r.Rows.Close(); return nil }); err != nil {
		r.err = err
	}
}

// Err implements pgx.Rows.
func (r *rows) Err() error {
	if r.err != nil {
		return r.err
	}
	return r.Rows.Err()
}

// row does what pgx's own does.
type row struct{ rows pgx.Rows }

// Scan implements pgx.Row.
func (r row) Scan(dest ...any) error {
	if err := r.rows.Err(); err != nil {
		return err
	}
	defer r.rows.Close()
	for _, d := range dest {
		if _, ok := d.(*pgtype.DriverBytes); ok {
			return errors.New("cannot scan into *pgtype.DriverBytes from QueryRow")
		}
	}
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

type results struct {
	pgx.BatchResults
	w *within
}

// Exec implements pgx.BatchResults.
func (r *results) Exec() (tag pgconn.CommandTag, err error) {
	err = r.w.onConn(func() (err error) {
		tag, err = r.BatchResults.Exec()
		return err
	})
	return tag, err
}

// Query implements pgx.BatchResults.
func (r *results) Query() (pgx.Rows, error) {
	all := &rows{w: r.w}
	err := r.w.onConn(func() (err error) {
		all.Rows, err = r.BatchResults.Query()
		return err
	})
	if all.Rows == nil {
		return failedRows(err), err
	}
	return all, err
}

// QueryRow implements pgx.BatchResults.
func (r *results) QueryRow() pgx.Row {
	all, _ := r.Query()
	return row{all}
}

// Close implements pgx.BatchResults.
func (r *results) Close() error { return r.w.onConn(r.BatchResults.Close) }
