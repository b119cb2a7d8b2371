package relay

import (
	"database/sql"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// version1 is the dialect of a program of version 1, as far as it makes tables.
type version1 struct{ store.Dialect }

func (d version1) Migrations(n store.Names) []store.Migration {
	return slices.DeleteFunc(d.Dialect.Migrations(n), func(m store.Migration) bool { return m.Version > 1 })
}

// openOlder opens an SQLite file with the producer's tables of version 1.
func openOlder(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "older.db")+"?_txlock=immediate&_pragma=busy_timeout(30000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := store.Migrate(t.Context(), db, version1{sqlite.Dialect()}, "", store.Producer); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestInTablesOfAnOlderVersionNamedConsumersCountInMemoryAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := openOlder(t)
		o := named(10)
		o.Producer, o.Logger = "waybill", slog.New(slog.DiscardHandler)
		r, err := New(db, sqlite.Dialect(), memory.New(nil), &o)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.queue.CheckSchema(t.Context()); err != nil {
			t.Fatal(err)
		}
		clock, err := r.queue.Clock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s := &steppedTerm{term: newTerm(r, identityOf(t, r), 0, clock), t: t, db: db}
		s.older, s.loops = r.queue.Older(), s.pump.loops()
		s.start = func(*lane) {}
		s.clock.run(true)
		s.insert(8, 1)
		ids := s.messages()
		s.passes(100 * time.Millisecond)
		s.say("shop", waybill.Done, ids[:7]...)
		s.passes(10 * time.Second) // longer than the time-out
		s.wantNumber("rows that one consumer has not confirmed", 8, countRows)
		s.say("audit", waybill.Done, ids[:6]...)
		s.wantNumber("rows when both have confirmed all but two", 2, countRows)
		s.say("audit", waybill.Rejected, ids[6])
		s.wantNumber("rows that one has rejected", 1, `SELECT count(*) FROM qmessage WHERE status = 2 AND last_error = 'audit: says audit'`)
		s.say("shop", waybill.Done, ids[7])
		s.say("audit", waybill.Done, ids[7])
		s.wantNumber("rows in the end", 1, countRows)
	})
}

func TestARelayGoesOnWithTablesThatAreUpgradedWhileItLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := openOlder(t)
		b := memory.New(nil)
		conn, err := b.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		receiver, err := conn.Subscribe(t.Context(), broker.Subscription{Destination: "orders", Group: "test", Prefetch: 10})
		if err != nil {
			t.Fatal(err)
		}
		r, err := New(db, sqlite.Dialect(), b, &Options{Producer: "shop", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- r.Run(t.Context()) }()
		next := func() (receiptTo string) {
			t.Helper()
			execute(t, db, `INSERT INTO qmessage (destination, message_content) VALUES ('orders', 'x')`)
			deliveries, err := receiver.Receive(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			m, err := wire.Decode(&deliveries[0].Message)
			if err != nil {
				t.Fatal(err)
			}
			// The consumer answers, so that no copy of this one comes.
			receipt := wire.EncodeReceipts(m.ReceiptTo, "test", []waybill.Receipt{{ID: m.Message.ID, Outcome: waybill.Done}})
			if _, err := conn.Publish(t.Context(), []broker.Message{receipt}, waybill.Durable); err != nil {
				t.Fatal(err)
			}
			return m.ReceiptTo
		}
		if got := next(); got != "ack.shop" {
			t.Errorf("got receipts to %q from tables of version 1, want ack.shop", got)
		}
		if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Producer); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // by the bubble's clock: the relay has renewed its lease
		queue, err := store.NewQueue(db, sqlite.Dialect(), "")
		if err != nil {
			t.Fatal(err)
		}
		identity, err := queue.Identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := next(), "ack.shop."+identity; got != want {
			t.Errorf("got receipts to %q from upgraded tables, want %q", got, want)
		}
		time.Sleep(time.Minute)
		var rows int
		if err := db.QueryRow(countRows).Scan(&rows); err != nil {
			t.Fatal(err)
		}
		if rows > 0 {
			t.Errorf("got %d rows in the end, want none", rows)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
		select {
		case err := <-done:
			t.Errorf("got a relay that has stopped with error %v, want one that runs", err)
		default:
		}
	})
}
