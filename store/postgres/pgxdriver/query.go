package pgxdriver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/waybill-go/waybill/store"
)

// Transaction is what Tx makes: it sends, and tests read in it what was sent
// (waybilltest.RequireSent).
type Transaction interface {
	store.Tx
	// QueryContext is that of *sql.Tx, of one query at a time.
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// QueryContext implements Transaction. database/sql alone makes a *sql.Rows, from what a
// driver reads: here a driver whose only connection is the transaction.
func (t transaction) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	db := sql.OpenDB(reader(t))
	defer db.Close()                            // the rows are read nevertheless
	return db.QueryContext(ctx, query, args...) //nolint:sqlclosecheck // its caller closes them
}

// reader is a driver that reads in a transaction.
type reader struct{ tx pgx.Tx }

func (r reader) Connect(context.Context) (driver.Conn, error) { return r, nil }
func (reader) Driver() driver.Driver                          { return nil }
func (reader) Close() error                                   { return nil }

func (reader) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }
func (reader) Begin() (driver.Tx, error)           { return nil, errors.ErrUnsupported }

// QueryContext implements driver.QueryerContext.
func (r reader) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	all := []any{pgx.QueryResultFormats{pgx.TextFormatCode}} // which database/sql makes anything of
	for _, a := range args {
		all = append(all, a.Value)
	}
	rows, err := r.tx.Query(ctx, query, all...)
	if err != nil {
		return nil, err
	}
	return textRows{rows}, nil
}

// textRows are rows as text, but for bytea.
type textRows struct{ rows pgx.Rows }

// Columns implements driver.Rows.
func (r textRows) Columns() (names []string) {
	for _, f := range r.rows.FieldDescriptions() {
		names = append(names, f.Name)
	}
	return names
}

// Close implements driver.Rows.
func (r textRows) Close() error {
	r.rows.Close()
	return r.rows.Err()
}

// Next implements driver.Rows.
func (r textRows) Next(dest []driver.Value) error {
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	fields := r.rows.FieldDescriptions()
	for i, raw := range r.rows.RawValues() {
		text := string(raw)
		switch {
		case raw == nil:
			dest[i] = nil
		case fields[i].DataTypeOID == pgtype.ByteaOID:
			bytes, err := hex.DecodeString(strings.TrimPrefix(text, `\x`)) // bytea_output = hex, the default
			if err != nil {
				return err
			}
			dest[i] = bytes
		default:
			dest[i] = text
		}
	}
	return nil
}
