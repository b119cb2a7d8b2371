// Package ormtest tries the examples, each on the databases that it is for.
package ormtest

import (
	"cmp"
	"context"
	"database/sql"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/waybilltest"
)

// Database is a fresh database with Waybill's tables and those of orders and shipments.
type Database struct {
	Name    string // postgres, mysql or sqlite
	Address string // postgres://…, mysql://… or sqlite:…
	DB      *sql.DB
	Dialect store.Dialect
	Outbox  *outbox.Outbox
}

// Shop is what an example does.
type Shop struct {
	// Place places an order and sends it.
	Place func(ctx context.Context, id int64, item string) error
	// Ship handles its message.
	Ship inbox.Handler
	// DB is what the inbox works on. Default: Database.DB.
	DB *sql.DB
}

// Orders tries a shop on each of the databases.
func Orders(t *testing.T, databases []string, open func(t *testing.T, d Database) Shop) {
	for _, name := range databases {
		t.Run(name, func(t *testing.T) {
			d := fresh(t, name)
			shop := open(t, d)
			if err := shop.Place(t.Context(), 7, "a book"); err != nil {
				t.Fatal(err)
			}
			waybilltest.RequireSent(t, d.DB, waybilltest.Match{
				Destination: "orders", Key: "7", JSON: map[string]any{"id": 7, "item": "a book"}, Count: 1,
			})
			if err := shop.Place(t.Context(), 7, "another book"); err == nil {
				t.Error("an order was placed twice, want an error of its key")
			}
			waybilltest.RequireSent(t, d.DB, waybilltest.Match{Count: 1})

			consumer := waybilltest.Consumer{DB: cmp.Or(shop.DB, d.DB), Dialect: d.Dialect, Level: waybill.Latest, Handler: shop.Ship}
			sent := waybilltest.Sent(t, d.DB)[0]
			older, newer := sent, sent
			older.ID, older.TimeStamp = waybill.NewID(), sent.TimeStamp-1
			newer.ID, newer.TimeStamp, newer.Body = waybill.NewID(), sent.TimeStamp+1, []byte(`{"id": 7, "item": "two books"}`)
			broken := waybill.Message{Destination: "orders", Key: "8", Body: []byte("{")}
			got := waybilltest.Deliver(t, consumer, sent, sent, older, newer, broken)
			for i, want := range []waybilltest.Verdict{waybilltest.Applied, waybilltest.Skipped, waybilltest.Skipped, waybilltest.Applied, waybilltest.Refused} {
				if got[i].Verdict != want {
					t.Errorf("delivery %d: got %s (%s), want %s", i, got[i].Verdict, got[i].Error, want)
				}
			}
			var n int
			var item string
			if err := d.DB.QueryRowContext(t.Context(), `SELECT COUNT(*), MIN(item) FROM shipments`).Scan(&n, &item); err != nil {
				t.Fatal(err)
			}
			if n != 1 || item != "two books" {
				t.Errorf("got %d shipments, of %q, want one of two books", n, item)
			}
		})
	}
}

// fresh makes a database of its own, and drops it in the end.
func fresh(t *testing.T, name string) Database {
	t.Helper()
	at := "sqlite:" + filepath.Join(t.TempDir(), "shop.db")
	if name != "sqlite" {
		at = onServer(t, name)
	}
	db, dialect, err := address.OpenDatabase(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if err := store.Migrate(t.Context(), db, dialect, "", side); err != nil {
			t.Fatal(err)
		}
	}
	run(t, db, `CREATE TABLE orders (id BIGINT PRIMARY KEY, item VARCHAR(100) NOT NULL)`)
	run(t, db, `CREATE TABLE shipments (order_id BIGINT PRIMARY KEY, item VARCHAR(100) NOT NULL)`)
	out, err := outbox.New(dialect, nil)
	if err != nil {
		t.Fatal(err)
	}
	return Database{Name: name, Address: at, DB: db, Dialect: dialect, Outbox: out}
}

func onServer(t *testing.T, name string) string {
	t.Helper()
	at := testserver.Address(t, "WAYBILL_TEST_"+strings.ToUpper(name))
	admin, _, err := address.OpenDatabase(at)
	if err != nil {
		t.Fatal(err)
	}
	own := "orm_" + strings.ReplaceAll(waybill.NewID().String(), "-", "")
	run(t, admin, "CREATE DATABASE "+own)
	t.Cleanup(func() {
		force := ""
		if name == "postgres" {
			force = " WITH (FORCE)"
		}
		run(t, admin, "DROP DATABASE "+own+force)
		admin.Close()
	})
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + own
	return u.String()
}

func run(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.ExecContext(context.WithoutCancel(t.Context()), query); err != nil {
		t.Errorf("%s: %v", query, err)
	}
}
