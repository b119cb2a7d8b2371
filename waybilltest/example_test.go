package waybilltest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
	"github.com/waybill-go/waybill/waybilltest"
)

// printed is a test that prints what ends it: an example has no *testing.T of its own.
type printed struct{ testing.TB }

func (printed) Helper()                        {}
func (printed) Context() context.Context       { return context.Background() }
func (printed) Cleanup(func())                 {}
func (t printed) Fatalf(f string, args ...any) { t.Fatal(fmt.Sprintf(f, args...)) }
func (printed) Fatal(args ...any)              { fmt.Println(args...); runtime.Goexit() }

// test runs a test with a database that has Waybill's tables for consumers, and one of the
// service's own, and says how it ended.
func test(f func(t testing.TB, db *sql.DB)) {
	dir, err := os.MkdirTemp("", "waybilltest")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	db, dialect, err := address.OpenDatabase("sqlite:" + filepath.Join(dir, "shipping.db"))
	if err != nil {
		panic(err)
	}
	defer db.Close()
	if err := store.Migrate(context.Background(), db, dialect, "", store.Consumer); err != nil {
		panic(err)
	}
	if _, err := db.Exec(`CREATE TABLE shipments (order_id TEXT PRIMARY KEY, state TEXT); CREATE TABLE labels (order_id TEXT)`); err != nil {
		panic(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(printed{}, db)
		fmt.Println("passed")
	}()
	<-done
}

// rows says how many rows of shipments and labels there are.
func rows(db *sql.DB) (text string) {
	err := db.QueryRow(`SELECT (SELECT count(*) FROM shipments) || ' shipments, ' || (SELECT count(*) FROM labels) || ' labels'`).Scan(&text)
	if err != nil {
		panic(err)
	}
	return text
}

// What a handler does outside of its transaction happens twice where a process dies in between.
func ExampleTwice() {
	test(func(t testing.TB, db *sql.DB) {
		mails := 0
		shipping := waybilltest.Consumer{DB: db, Dialect: sqlite.Dialect(), Level: waybill.Once, Handler: func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			mails++ // sent at once
			_, err := tx.ExecContext(ctx, `INSERT INTO shipments VALUES (?, 'packed')`, m.Key)
			return err
		}}
		waybilltest.Twice(t, shipping, func() error {
			if mails != 1 {
				return fmt.Errorf("got %d mails and %s, want 1 mail", mails, rows(db))
			}
			return nil
		}, waybill.Message{Key: "7"})
	})
	// Output:
	// waybilltest: the effect is wrong: got 2 mails and 1 shipments, 0 labels, want 1 mail
	//   message 0: handled and rolled back, then handled and committed
	//   a copy of each: skipped
}

// A handler that writes the state that it is told needs level Latest: with Once an older state
// that comes late is written over a newer one.
func ExampleOutOfOrder() {
	for _, level := range []waybill.Level{waybill.Once, waybill.Latest} {
		fmt.Println("level", level)
		test(func(t testing.TB, db *sql.DB) {
			shipping := waybilltest.Consumer{DB: db, Dialect: sqlite.Dialect(), Level: level, Handler: func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO shipments VALUES (?, ?) ON CONFLICT (order_id) DO UPDATE SET state = excluded.state`, m.Key, string(m.Body))
				return err
			}, Reset: func() error {
				_, err := db.Exec(`DELETE FROM shipments`)
				return err
			}}
			waybilltest.OutOfOrder(t, shipping, func() error {
				var state string
				err := db.QueryRow(`SELECT state FROM shipments`).Scan(&state)
				if err == nil && state != "sent" {
					err = fmt.Errorf("got the state %q, want the last one, sent", state)
				}
				return err
			}, waybill.Message{Key: "7", Body: []byte("packed")}, waybill.Message{Key: "7", Body: []byte("sent")})
		})
	}
	// Output:
	// level once
	// waybilltest: the effect is wrong: got the state "packed", want the last one, sent
	//   in this order:
	//   message 1: applied
	//   message 0: applied
	// level latest
	// passed
}

// A handler that takes any error for an order that is there already loses its label, where
// what failed was something else.
func ExampleCrashing() {
	handler := func(strict bool) func(context.Context, *sql.Tx, *waybill.Message) error {
		return func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			if _, err := tx.ExecContext(ctx, `INSERT INTO shipments VALUES (?, 'packed') ON CONFLICT DO NOTHING`, m.Key); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO labels VALUES (?)`, m.Key); err != nil && strict {
				return err
			}
			return nil
		}
	}
	id, err := waybill.ParseID("019a8f3c-5b00-7000-8000-000000000007")
	if err != nil {
		panic(err)
	}
	for _, strict := range []bool{false, true} {
		test(func(t testing.TB, db *sql.DB) {
			shipping := waybilltest.Consumer{DB: db, Dialect: sqlite.Dialect(), Level: waybill.Once, Handler: handler(strict)}
			waybilltest.Crashing(t, shipping, func() error {
				if got := rows(db); got != "1 shipments, 1 labels" {
					return errors.New("there are " + got)
				}
				return nil
			}, waybill.Message{ID: id, Destination: "orders", Key: "7"})
		})
	}
	// Output:
	// waybilltest: the handler of message 0 has returned nil although its statement 2 (INSERT INTO labels VALUES (?)) had failed: what it does besides would be committed without that
	//   019a8f3c-5b00-7000-8000-000000000007 "orders" key "7", sequence 0 body ""
	// passed
}
