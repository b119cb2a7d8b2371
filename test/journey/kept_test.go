package journey

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/store"
)

// foreignMessage is a message of a producer that knows nothing of receipts: with an id of its
// own, or none where that is zero.
func foreignMessage(destination, body string, id waybill.ID, more ...broker.Header) broker.Message {
	m := broker.Message{Destination: destination, Body: []byte(body), Headers: more}
	if !id.IsZero() {
		m.Headers = append(m.Headers, broker.Header{Name: "messageId", Value: id.String()})
	}
	return m
}

// keeper is what commands use.
func (w *world) keeper() *store.Keeper {
	w.t.Helper()
	k, err := store.NewKeeper(w.consumer, w.database.dialect, "", "")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(k.CloseIdle)
	return k
}

// kept returns what is kept of one status, or of any.
func (w *world) kept(status int) []store.Kept {
	w.t.Helper()
	all, err := w.keeper().List(context.Background(), "", status, 0, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// resend has all rejected messages handled again, in the order in which they were kept.
func (w *world) resend() {
	w.t.Helper()
	for _, k := range w.kept(store.Rejected) {
		if _, found, err := w.keeper().Resend(context.Background(), k.MessageID, false); err != nil || !found {
			w.t.Fatalf("resend %s: got %v, error %v", k.MessageID, found, err)
		}
	}
}

var errNoOrder = errors.New("no such order")

func TestAForeignMessageThatIsRejectedIsKeptAndHandledAgain(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		var taken atomic.Bool
		w.consumes(waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			if !taken.Load() {
				return waybill.Permanent(errNoOrder)
			}
			if string(m.Body) != "precious\x00" || m.Headers["kind"] != "order" || m.Headers["content-type"] != "text/x" || m.Key != "k" {
				return waybill.Permanent(fmt.Errorf("it is %q with %v", m.Body, m.Headers))
			}
			return w.record(ctx, tx, m)
		})
		id := waybill.NewID()
		m := foreignMessage("orders", "precious\x00", id, broker.Header{Name: "kind", Value: "order"}, broker.Header{Name: "businessMark", Value: "k"})
		m.ContentType = "text/x"
		w.peer().publish(m)
		w.waits("it is kept", 10*time.Second, func() bool { return len(w.kept(store.Rejected)) == 1 })
		k := w.kept(store.Rejected)[0]
		if k.MessageID != id || k.Consumer != "tester" || k.Destination != "orders" || k.Key != "k" || !strings.Contains(k.Reason, "no such order") {
			t.Errorf("got %+v, want the message with the reason", k)
		}
		w.resend() // it is rejected once more
		w.waits("it is kept again", 10*time.Second, func() bool { all := w.kept(store.Rejected); return len(all) == 1 && all[0].Tries == 2 })
		taken.Store(true)
		w.resend()
		w.waits("it is handled", 10*time.Second, func() bool { return w.effects() == 1 })
		w.waits("it is kept no more", 10*time.Second, func() bool { return len(w.kept(store.AnyStatus)) == 0 })
	})
}

func TestWhatCannotBeUsedIsKeptWhole(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.consumes(waybill.Once, w.record)
		p := w.peer()
		for _, c := range []struct {
			header broker.Header
			reason string
		}{
			{broker.Header{Name: "messageId", Value: "8f14e45f-ceea-467f-9575-6f5a4f5a4f5a"}, "messageId"},
			{broker.Header{Name: "timeStamp", Value: "first"}, "timeStamp"},
			{broker.Header{Name: "receiptTo", Value: "orders"}, "receiptTo"},
			{broker.Header{Name: "businessMark", Value: strings.Repeat("k", 300)}, "businessMark"},
		} {
			before := len(w.kept(store.Rejected))
			m := foreignMessage("orders", "body of "+c.reason, waybill.NewID())
			if m.Headers = []broker.Header{c.header}; c.header.Name != "messageId" {
				m.Headers = append(m.Headers, broker.Header{Name: "messageId", Value: waybill.NewID().String()})
			}
			p.publish(m)
			w.waits(c.reason+": it is kept", 10*time.Second, func() bool { return len(w.kept(store.Rejected)) == before+1 })
			k := w.kept(store.Rejected)[before]
			if string(k.Body) != "body of "+c.reason || !strings.Contains(k.Headers, c.header.Value) || !strings.Contains(k.Reason, c.reason) || k.MessageID.IsZero() {
				t.Errorf("%s: got %+v, want the whole message", c.reason, k)
			}
		}
		w.wantEffects(0)
	})
}

// A handler of a message without an id of its own knows it by its id all the same.
func TestAMessageWithTheBrokersIdentityAloneTakesEffectOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, onSQLite, memory.New(nil))
	in := w.newInbox(&w.inboxOptions)
	in.Handle("orders", waybill.Once, w.record)
	p := w.peer()
	p.publish(foreignMessage("orders", "same", waybill.ID{}))
	p.publish(foreignMessage("orders", "same", waybill.ID{}))
	// Somebody has received them, and dies before he acknowledges them; so does the inbox.
	first := p.subscribe(broker.Subscription{Destination: "orders"})
	deliveries, err := first.receiver.Receive(context.Background(), 2)
	for err == nil && len(deliveries) < 2 {
		var more []broker.Delivery
		more, err = first.receiver.Receive(context.Background(), 2)
		deliveries = append(deliveries, more...)
	}
	if err == nil {
		err = first.receiver.Close(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	stop := w.runs(in.Run)
	w.waits("both are handled", 10*time.Second, func() bool { return w.effects() == 2 })
	stop()
	if n := w.number(w.consumer, `SELECT count(DISTINCT message_id) FROM done`); n != 2 {
		t.Errorf("two messages of one content have %d ids, want 2", n)
	}
	w.each(w.consumer, `SELECT message_id, destination, business_key, version FROM done`, func(id, _, _ string, _ int64) {
		parsed, err := waybill.ParseID(id)
		if err != nil || !parsed.IsV7() || time.Since(parsed.Time()).Abs() > time.Hour {
			t.Errorf("got the id %s, want a UUIDv7 of the broker's time", id)
		}
	})
}

// unsettled is a broker that loses what it is told of messages.
type unsettled struct {
	broker.Broker
	lose *atomic.Bool
}

func (b unsettled) Connect(ctx context.Context) (broker.Conn, error) {
	c, err := b.Broker.Connect(ctx)
	return &unsettledConn{c, b.lose}, err
}

type unsettledConn struct {
	broker.Conn
	lose *atomic.Bool
}

func (c *unsettledConn) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	r, err := c.Conn.Subscribe(ctx, s)
	return &unsettledReceiver{r, c.lose}, err
}

type unsettledReceiver struct {
	broker.Receiver
	lose *atomic.Bool
}

func (r *unsettledReceiver) Settle(ctx context.Context, d []broker.Delivery, what broker.Disposition) error {
	if r.lose.Load() {
		return nil
	}
	return r.Receiver.Settle(ctx, d, what)
}

func TestADeliveryWhoseAcknowledgementIsLostIsKeptOnceAndTakesEffectOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		var lose, accept atomic.Bool
		lose.Store(true)
		w := newWorld(t, d, unsettled{memory.New(nil), &lose})
		handler := func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			if !accept.Load() {
				return waybill.Permanent(errNoOrder)
			}
			return w.record(ctx, tx, m)
		}
		run := func(what string, done func(in *inbox.Inbox) bool) {
			t.Helper()
			in := w.newInbox(&w.inboxOptions)
			in.Handle("orders", waybill.Once, handler)
			stop := w.runs(in.Run)
			w.waits(what, 10*time.Second, func() bool { return done(in) })
			stop()
		}
		w.peer().publish(foreignMessage("orders", "no id", waybill.ID{}))
		w.peer().publish(foreignMessage("orders", "an id that is none", waybill.ID{}, broker.Header{Name: "messageId", Value: "7"}))
		for range 3 {
			run("both are rejected", func(in *inbox.Inbox) bool { return in.Stats().Kept == 2 })
		}
		all := w.kept(store.AnyStatus)
		if len(all) != 2 || all[0].Tries != 3 || all[1].Tries != 3 {
			t.Fatalf("got %+v, want each message once, after three tries", all)
		}
		accept.Store(true)
		w.resend()
		run("both are handled", func(*inbox.Inbox) bool { return len(w.kept(store.AnyStatus)) == 0 || w.effects() >= 2 })
		lose.Store(false)
		// The deliveries are still there: the one with an identity is known by its record.
		run("the last copies are acknowledged", func(in *inbox.Inbox) bool { return in.Stats().Duplicates+in.Stats().Kept >= 2 })
		w.wantEffects(2)
	})
}

func TestNothingIsAcknowledgedWhileItCannotBeKept(t *testing.T) {
	t.Parallel()
	b := memory.New(nil)
	w := newWorld(t, onSQLite, b)
	in := w.consumes(waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return waybill.Permanent(errNoOrder) })
	w.waits("it consumes", 10*time.Second, func() bool { return in.Stats().Connected })
	w.exec(w.consumer, `ALTER TABLE n_rejected RENAME TO elsewhere`)
	w.peer().publish(foreignMessage("orders", "precious", waybill.NewID()))
	w.waits("keeping it has failed", 10*time.Second, func() bool { return in.Stats().Troubles > 0 })
	if n := b.Depth("orders"); n != 1 {
		t.Errorf("the broker has %d messages, want the one that is kept nowhere else", n)
	}
	w.exec(w.consumer, `ALTER TABLE elsewhere RENAME TO n_rejected`)
	w.waits("it is kept", 30*time.Second, func() bool { return len(w.kept(store.Rejected)) == 1 })
	w.waits("it is acknowledged", 10*time.Second, func() bool { return b.Depth("orders") == 0 })
}

func TestKeptMessagesAreHandledInTheOrderInWhichTheyWereKept(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		var accept atomic.Bool
		var mu sync.Mutex
		var order []string
		w.consumes(waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			if !accept.Load() {
				return waybill.Permanent(errNoOrder)
			}
			mu.Lock()
			defer mu.Unlock()
			order = append(order, string(m.Body))
			return w.record(ctx, tx, m)
		})
		p := w.peer()
		for i := range 20 {
			p.publish(foreignMessage("orders", fmt.Sprint(i), waybill.NewID()))
		}
		w.waits("all are kept", 10*time.Second, func() bool { return len(w.kept(store.Rejected)) == 20 })
		var want []string
		for _, k := range w.kept(store.Rejected) {
			want = append(want, string(k.Body))
		}
		accept.Store(true)
		w.exec(w.consumer, `UPDATE n_rejected SET status = 0`) // all at once
		w.waits("all are handled", 10*time.Second, func() bool { return w.effects() == 20 })
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(order, want) {
			t.Errorf("handled %v, want %v", order, want)
		}
	})
}

func TestRetryAfterIsKeptToAndNotCountedWithoutAReceiptAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, onSQLite, memory.New(nil))
	w.inboxOptions.MaxTries = 2
	var mu sync.Mutex
	var calls []time.Time
	in := w.consumes(waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, time.Now())
		switch n := len(calls); {
		case n <= 4:
			return waybill.RetryAfter(300*time.Millisecond, errors.New("closed"))
		case n == 5:
			return errors.New("one failure")
		case n == 6:
			return waybill.RetryAfter(time.Hour, errors.New("closed until tomorrow"))
		}
		return w.record(ctx, tx, m)
	})
	w.peer().publish(foreignMessage("orders", "x", waybill.NewID()))
	w.waits("it waits for tomorrow", 20*time.Second, func() bool { return len(w.kept(store.Pending)) == 1 })
	mu.Lock()
	for i := 1; i <= 4; i++ {
		if took := calls[i].Sub(calls[i-1]); took < 300*time.Millisecond {
			t.Errorf("call %d came after %v, want 300 ms at least", i+1, took)
		}
	}
	mu.Unlock()
	k := w.kept(store.Pending)[0]
	if wait := k.NotBefore - k.TriedAt; wait < (59*time.Minute).Microseconds() || k.Failures != 1 {
		t.Errorf("it waits for %d µs after %d failures, want an hour and 1", wait, k.Failures)
	}
	w.exec(w.consumer, `UPDATE n_rejected SET not_before = 0`)
	w.waits("it is handled", 10*time.Second, func() bool { return w.effects() == 1 })
	if s := in.Stats(); s.Rejected != 0 {
		t.Errorf("got %d rejected, want none", s.Rejected)
	}
}

func TestRejectedMessagesGoToTheBrokersDeadLettersWhereThatIsAskedFor(t *testing.T) {
	t.Parallel()
	b := memory.New(nil)
	w := newWorld(t, onSQLite, b)
	w.inboxOptions.DeadLetter = true
	w.consumes(waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return waybill.Permanent(errNoOrder) })
	w.peer().publish(foreignMessage("orders", "x", waybill.NewID()))
	w.waits("it is a dead letter", 10*time.Second, func() bool { return len(b.DeadLetters("orders")) == 1 })
	if n := len(w.kept(store.AnyStatus)); n != 0 {
		t.Errorf("%d messages are kept, want none", n)
	}
}

// On each real broker a foreign message that is rejected is kept exactly once, and handled
// again when a person asks for it.
func TestEachBrokersForeignMessagesAreKeptOnceAndHandledAgain(t *testing.T) {
	t.Parallel()
	for _, server := range servers {
		for variable := range strings.FieldsSeq(server.variables) {
			t.Run(strings.ToLower(strings.TrimPrefix(variable, "WAYBILL_TEST_")), func(t *testing.T) {
				b, err := address.OpenBroker(testserver.Address(t, variable))
				if err != nil {
					t.Fatal(err)
				}
				w := newWorld(t, onSQLite, b)
				queue := "kept." + waybill.NewID().String()
				var accept atomic.Bool
				run := func() (stop func()) {
					in := w.newInbox(&w.inboxOptions)
					in.Handle(queue, waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
						if !accept.Load() {
							return waybill.Permanent(errNoOrder)
						}
						return w.record(ctx, tx, m)
					})
					return w.runs(in.Run)
				}
				stop := run()
				p := w.peer()
				p.publish(foreignMessage(queue, "named", waybill.NewID()))
				p.publish(foreignMessage(queue, "nameless", waybill.ID{}))
				p.publish(foreignMessage(queue, "misnamed", waybill.ID{}, broker.Header{Name: "messageId", Value: "7"}))
				w.waits("they are kept", time.Minute, func() bool { return len(w.kept(store.Rejected)) == 3 })
				stop()
				stop = run() // what was not acknowledged comes again
				p.publish(foreignMessage(queue, "last", waybill.NewID()))
				w.waits("the last one is kept", time.Minute, func() bool { return len(w.kept(store.Rejected)) >= 4 })
				bodies := map[string]int{}
				for _, k := range w.kept(store.AnyStatus) {
					bodies[string(k.Body)]++
				}
				for _, body := range []string{"named", "nameless", "misnamed", "last"} {
					if bodies[body] != 1 {
						t.Errorf("%q is kept %d times, want once", body, bodies[body])
					}
				}
				accept.Store(true)
				w.resend()
				w.waits("they are handled", time.Minute, func() bool { return w.effects() == 4 && len(w.kept(store.AnyStatus)) == 0 })
				stop()
			})
		}
	}
}
