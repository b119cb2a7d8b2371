package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store/sqlite"
)

// busy is an error as SQLite's drivers have it.
type busy struct{}

func (busy) Error() string { return "database is locked" }
func (busy) Code() int     { return 5 }

func sent(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM qmessage`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestInTxRunsAgainWhatHasLostToAnotherTransactionIfItIsTold(t *testing.T) {
	for _, c := range []struct {
		name  string
		o     *outbox.TxOptions
		lost  int
		err   error
		calls int
	}{
		{"once by default", nil, 1, waybill.ErrConflict, 1},
		{"until it wins", &outbox.TxOptions{Tries: 5}, 2, nil, 3},
		{"as often as it may", &outbox.TxOptions{Tries: 3}, 9, waybill.ErrConflict, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := open(t)
			out := must(outbox.New(sqlite.Dialect(), nil))
			calls := 0
			err := out.InTxWith(t.Context(), db, func(tx *sql.Tx) error {
				calls++
				if err := out.Send(t.Context(), tx, waybill.Message{Destination: "orders"}); err != nil {
					return err
				}
				if calls <= c.lost {
					return busy{}
				}
				return nil
			}, c.o)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || calls != c.calls {
				t.Errorf("got %v after %d calls, want %v after %d", err, calls, c.err, c.calls)
			}
			if n, want := sent(t, db), map[bool]int{true: 1}[c.err == nil]; n != want {
				t.Errorf("got %d messages, want %d", n, want)
			}
		})
	}
}

func TestNothingIsSentBehindATransactionsEnd(t *testing.T) {
	end := map[string]func(ctx context.Context, tx *sql.Tx){
		"rolled back by the database": func(ctx context.Context, tx *sql.Tx) {
			_, _ = tx.ExecContext(ctx, `INSERT OR ROLLBACK INTO stock VALUES (1)`)
		},
		"ROLLBACK":    func(ctx context.Context, tx *sql.Tx) { _, _ = tx.ExecContext(ctx, `ROLLBACK`) },
		"tx.Rollback": func(_ context.Context, tx *sql.Tx) { _ = tx.Rollback() },
		"tx.Commit":   func(_ context.Context, tx *sql.Tx) { _ = tx.Commit() },
	}
	for name, end := range end {
		t.Run(name, func(t *testing.T) {
			db := open(t)
			out := must(outbox.New(sqlite.Dialect(), nil))
			if _, err := db.ExecContext(t.Context(), `CREATE TABLE stock (n INTEGER PRIMARY KEY)`); err != nil {
				t.Fatal(err)
			}
			for _, returns := range []error{nil, errors.New("the order is not valid")} {
				err := out.InTx(t.Context(), db, func(tx *sql.Tx) error {
					if _, err := tx.ExecContext(t.Context(), `INSERT INTO stock VALUES (1)`); err != nil {
						return err
					}
					end(t.Context(), tx)
					if err := out.Send(t.Context(), tx, waybill.Message{Destination: "orders"}); !errors.Is(err, waybill.ErrTxEnded) {
						t.Errorf("Send: got %v, want %v", err, waybill.ErrTxEnded)
					}
					_, _ = tx.ExecContext(t.Context(), `INSERT INTO stock VALUES (2)`)
					return returns
				})
				if want := returns; want == nil && !errors.Is(err, waybill.ErrTxEnded) || want != nil && !errors.Is(err, want) {
					t.Errorf("InTx: got %v, want %v", err, want)
				}
				var orders int
				if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM stock`).Scan(&orders); err != nil {
					t.Fatal(err)
				}
				if n := sent(t, db); n != 0 || orders != 0 {
					t.Errorf("got %d messages and %d orders, want none", n, orders)
				}
			}
		})
	}
}

func TestSendSaysSoWhereNoTransactionIsOpen(t *testing.T) {
	db := open(t)
	out := must(outbox.New(sqlite.Dialect(), nil))
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	if err := out.Send(t.Context(), tx, waybill.Message{Destination: "orders"}); !errors.Is(err, waybill.ErrTxEnded) {
		t.Errorf("got %v, want %v", err, waybill.ErrTxEnded)
	}
	_ = tx.Rollback()
	if n := sent(t, db); n != 0 {
		t.Errorf("got %d messages, want none", n)
	}
}
