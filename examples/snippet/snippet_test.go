package snippet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
	"github.com/waybill-go/waybill/waybilltest"
)

// newService is an order service on SQLite.
func newService(t *testing.T) *Service {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "shop.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s, err := NewService(t.Context(), db, sqlite.Dialect())
	if err != nil {
		t.Fatal(err)
	}
	s.tenant = "acme"
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, state TEXT)`); err != nil {
		t.Fatal(err)
	}
	return s
}

func newOutbox(t *testing.T) *outbox.Outbox {
	t.Helper()
	out, err := outbox.New(sqlite.Dialect(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// begin begins a transaction that ends with the test.
func (s *Service) begin(t *testing.T) *sql.Tx {
	t.Helper()
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback() })
	return tx
}

func TestPlacingAnOrderSendsIt(t *testing.T) {
	shop := newService(t)
	tx := shop.begin(t)
	if err := shop.Place(t.Context(), tx, Order{ID: 7, Item: "book"}); err != nil {
		t.Fatal(err)
	}
	waybilltest.RequireSent(t, tx, waybilltest.Match{
		Destination: "orders", Key: "7", JSON: map[string]any{"id": 7, "item": "book"}, Count: 1,
	})
	waybilltest.RequireNotSent(t, tx, waybilltest.Match{Destination: "refunds"})
}

func TestShippingCommitsTheMessageWithTheChange(t *testing.T) {
	shop := newService(t)
	if err := shop.Ship(t.Context(), "7"); err != nil {
		t.Fatal(err)
	}
	waybilltest.RequireSent(t, shop.db, waybilltest.Match{Destination: "orders", Key: "7", Body: []byte("shipped"), Count: 1})
}

func TestAReminderIsDelayed(t *testing.T) {
	shop := newService(t)
	tx := shop.begin(t)
	if err := shop.Remind(t.Context(), tx, "7"); err != nil {
		t.Fatal(err)
	}
	sent := waybilltest.Sent(t, tx)
	if len(sent) != 1 || time.Until(sent[0].NotBefore) < 2*24*time.Hour {
		t.Errorf("sent %+v, want one message that is due in three days", sent)
	}
}

func TestAllMessagesHaveTheirTenant(t *testing.T) {
	shop := newService(t)
	tx := shop.begin(t)
	if err := shop.send(t.Context(), tx, waybill.Message{Destination: "orders", Headers: map[string]string{"kind": "placed"}}); err != nil {
		t.Fatal(err)
	}
	waybilltest.RequireSent(t, tx, waybilltest.Match{Headers: map[string]string{"tenant": "acme", "kind": "placed"}})
}

// ship is what the shipping service's handler makes of an order in the tests of outages.
func ship(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO shipments (order_id) VALUES ($1)`, m.Key)
	return err
}

func TestAnOutageOfADayShipsEachOrderOnce(t *testing.T) {
	waybilltest.Run(t, func(t *testing.T, w *waybilltest.World) {
		w.Exec(`CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, state TEXT)`)
		w.Exec(`CREATE TABLE shipments (order_id TEXT PRIMARY KEY)`)
		w.Handle("orders", waybill.Once, ship)
		shop := &Service{out: newOutbox(t)}

		w.Disturb(0.3)               // the broker loses, repeats and reorders three in ten
		w.BrokerDown(24 * time.Hour) // and cannot be reached for a day
		w.Do(func(tx *sql.Tx) error { return shop.Place(t.Context(), tx, Order{ID: 7, Item: "book"}) })
		w.RestartConsumer()
		w.Settle() // until no message is on its way

		w.RequireApplied(waybilltest.Match{Destination: "orders", Key: "7", Count: 1})
	})
}

func TestAnOlderStateIsSkipped(t *testing.T) {
	db := shippingDB(t)
	newer := waybill.Message{ID: waybill.NewID(), Destination: "orders", Key: "7", TimeStamp: 2, Body: []byte("delivered")}
	older := waybill.Message{ID: waybill.NewID(), Destination: "orders", Key: "7", TimeStamp: 1, Body: []byte("shipped")}
	got := waybilltest.Deliver(t, waybilltest.Consumer{
		DB: db, Dialect: sqlite.Dialect(), Level: waybill.Latest, Handler: KeepState,
	}, newer, older, newer)
	want := []waybilltest.Verdict{waybilltest.Applied, waybilltest.Skipped, waybilltest.Skipped}
	for i, d := range got {
		if d.Verdict != want[i] {
			t.Errorf("message %d was %v, want %v", i, d.Verdict, want[i])
		}
	}
}

func TestAnOrdersStateIsRightHoweverItComes(t *testing.T) {
	db := shippingDB(t)
	shipping := waybilltest.Consumer{
		DB: db, Dialect: sqlite.Dialect(), Level: waybill.Latest, Handler: KeepState,
		Reset: func() error { _, err := db.Exec(`DELETE FROM shipments`); return err },
	}
	check := func() error {
		var state string
		err := db.QueryRow(`SELECT state FROM shipments WHERE order_id = '7'`).Scan(&state)
		if err == nil && state != "delivered" {
			err = fmt.Errorf("got the state %q, want delivered", state)
		}
		return err
	}
	shipped := waybill.Message{Key: "7", Body: []byte("shipped")}
	delivered := waybill.Message{Key: "7", Body: []byte("delivered")}
	waybilltest.Twice(t, shipping, check, shipped, delivered)
	waybilltest.OutOfOrder(t, shipping, check, shipped, delivered)
	waybilltest.Crashing(t, shipping, check, shipped, delivered)
}

func TestABatchOfStatesIsWrittenAtOnce(t *testing.T) {
	waybilltest.Run(t, func(t *testing.T, w *waybilltest.World) {
		w.Exec(`CREATE TABLE shipments (order_id TEXT PRIMARY KEY, state TEXT)`)
		w.HandleBatch("orders", waybill.Latest, KeepAll)
		for i := range 50 {
			w.Send(waybill.Message{Destination: "orders", Key: fmt.Sprint(i % 20), Body: fmt.Append(nil, "state ", i)})
		}
		w.Send(waybill.Message{Destination: "orders", Key: "stateless"})
		w.Settle()
		var newest int
		if err := w.DB.QueryRow(`SELECT count(*) FROM shipments WHERE state = 'state ' || (order_id + CASE WHEN order_id + 0 < 10 THEN 40 ELSE 20 END)`).Scan(&newest); err != nil || newest != 20 {
			t.Errorf("got the newest state of %d orders (%v), want 20", newest, err)
		}
		if all := w.Rejected(); len(all) != 1 || all[0].Key != "stateless" {
			t.Errorf("%+v are rejected, want the one without a state", all)
		}
	})
}

// shippingDB is the shipping service's database.
func shippingDB(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "shipping.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Consumer); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE shipments (order_id TEXT PRIMARY KEY, state TEXT)`); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestErrorsSayWhatBecomesOfAMessage(t *testing.T) {
	for item, is := range map[string]func(error) bool{
		"book":  func(err error) bool { return err == nil },
		"":      func(err error) bool { var p *waybill.PermanentError; return errors.As(err, &p) },
		"piano": func(err error) bool { var r *waybill.RetryError; return errors.As(err, &r) && r.After == 24*time.Hour },
		"fog":   func(err error) bool { return errors.Is(err, errAway) },
	} {
		if err := Deliver(t.Context(), nil, nil, Order{Item: item}); !is(err) {
			t.Errorf("%q: got the error %v", item, err)
		}
	}
}

func TestEachKindHasItsHandler(t *testing.T) {
	var ran []string
	note := func(kind string) inbox.Handler {
		return func(context.Context, *sql.Tx, *waybill.Message) error { ran = append(ran, kind); return nil }
	}
	var log strings.Builder
	h := Logged(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))(Kinds(note("placed"), note("cancelled")))
	for kind, refused := range map[string]bool{"placed": false, "cancelled": false, "lost": true} {
		err := h(t.Context(), nil, &waybill.Message{Headers: map[string]string{"kind": kind}})
		if (err != nil) != refused {
			t.Errorf("the kind %s: got the error %v", kind, err)
		}
	}
	if len(ran) != 2 || strings.Count(log.String(), "msg=handled") != 3 {
		t.Errorf("%v were handled, and the log is\n%s", ran, log.String())
	}
}

func TestAPoolHasBounds(t *testing.T) {
	shop := newService(t)
	Pool(shop.db)
	if got := shop.db.Stats().MaxOpenConnections; got != 40 {
		t.Errorf("got a pool of %d connections, want 40", got)
	}
}

// remover is a connection that notes what it is to remove.
type remover struct {
	broker.Conn
	removed broker.Subscription
}

func (r *remover) Remove(_ context.Context, s broker.Subscription) error {
	r.removed = s
	return nil
}

func TestASubscriptionIsRemoved(t *testing.T) {
	var conn remover
	if err := Unsubscribe(t.Context(), &conn); err != nil || conn.removed.Group != "shop" {
		t.Errorf("removed %+v, with the error %v", conn.removed, err)
	}
}
