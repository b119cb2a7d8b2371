package journey

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// lockedText is text that several goroutines write.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// handles makes a consumer of the destination and counts what it handles.
func (w *world) handles(destination string, topic bool) *atomic.Int64 {
	w.t.Helper()
	in := w.newInbox(&w.inboxOptions)
	var handled atomic.Int64
	in.HandleWith(destination, waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error {
		handled.Add(1)
		return nil
	}, &inbox.HandleOptions{Topic: topic})
	w.runs(in.Run)
	return &handled
}

func TestOutboxesOfOneNameDoNotTakeEachOthersReceipts(t *testing.T) {
	t.Parallel()
	b := memory.New(nil)
	worlds := []*world{newWorld(t, databases[0], b), newWorld(t, databases[0], b)}
	var relays []*relay.Relay
	for i, w := range worlds {
		w.handles(fmt.Sprint("orders", i), false)
		relays = append(relays, w.relay())
		w.runs(relays[i].Run)
	}
	for range 10 {
		for i, w := range worlds {
			batch := make([]waybill.Message, 30)
			for k := range batch {
				batch[k] = waybill.Message{Destination: fmt.Sprint("orders", i)}
			}
			w.commit(batch...)
		}
	}
	for i, w := range worlds {
		w.emptied(30 * time.Second)
		if s := relays[i].Stats(); s.Receipts < 300 || s.Receipts-s.Copies > 300 || s.Strange > 0 || s.Twins > 0 {
			t.Errorf("outbox %d: got %+v, want its own receipts alone", i, s)
		}
	}
	if worlds[0].receiptQueue() == worlds[1].receiptQueue() {
		t.Error("got one receipt queue for two outboxes, want one each")
	}
}

func TestARelayTellsOfAnotherOneWithItsIdentity(t *testing.T) {
	t.Parallel()
	b := memory.New(nil)
	w, staging := newWorld(t, databases[0], b), newWorld(t, databases[0], b)
	queue, err := store.NewQueue(w.producer, w.database.dialect, "")
	if err != nil {
		t.Fatal(err)
	}
	identity, err := queue.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	staging.exec(staging.producer, `UPDATE qoutbox SET identity = '`+identity+`'`)
	one, other := w.relay(), staging.relay()
	w.runs(one.Run)
	w.runs(other.Run)
	w.waits("one of them hears the other", time.Minute, func() bool { return one.Stats().Twins+other.Stats().Twins > 0 })
	w.waits("the table tells of it", time.Second, func() bool {
		return w.number(w.producer, `SELECT twin_at FROM qoutbox`)+w.number(staging.producer, `SELECT twin_at FROM qoutbox`) > 0
	})
	for _, r := range []*relay.Relay{one, other} {
		if s := r.Stats(); (s.Twins > 0) != (s.Twin != "") || s.Malformed > 0 {
			t.Errorf("got %+v, want the other's name and no malformed receipt", s)
		}
	}
}

func TestAHelloIsNoReceiptAndThatOfAPredecessorIsNoNews(t *testing.T) {
	t.Parallel()
	w := newWorld(t, databases[0], memory.New(nil))
	var log lockedText
	w.relayOptions.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r := w.relay()
	p := w.peer()
	hello := func(h wire.Hello) { p.publish(wire.EncodeHello(w.receiptQueue(), h)) }
	hello(wire.Hello{Holder: "before", Began: 1, Now: time.Now().Add(-time.Hour).UnixMicro()})
	hello(wire.Hello{Holder: "just before", Began: 1, Now: time.Now().UnixMicro()})
	p.publish(broker.Message{Destination: w.receiptQueue(), Headers: []broker.Header{{Name: "waybill", Value: "later.v9"}}, Body: []byte("what a later version says")})
	p.publish(broker.Message{Destination: w.receiptQueue(), Headers: []broker.Header{{Name: "waybill", Value: "hello.v1"}}, Body: []byte("no JSON")})
	w.runs(r.Run)
	p.says(waybill.NewID(), "done", "")
	w.waits("the receipt behind them is read", 5*time.Second, func() bool { return r.Stats().Receipts == 1 })
	if s := r.Stats(); s.Malformed > 0 || s.Twins > 0 {
		t.Fatalf("got %+v, want neither malformed receipts nor twins", s)
	}
	for range 3 {
		hello(wire.Hello{Holder: "a copy's relay", Began: 1, Now: time.Now().Add(time.Minute).UnixMicro()})
	}
	w.waits("the twin is heard", 5*time.Second, func() bool { return r.Stats().Twins == 3 })
	if s := r.Stats(); s.Twin != "a copy's relay" {
		t.Errorf("got the twin %q, want its name", s.Twin)
	}
	if n := strings.Count(log.String(), "another relay has this outbox's identity"); n != 1 {
		t.Errorf("the log tells %d times of a twin that was heard three times at once, want 1", n)
	}
}

func TestTheFloorTellsNoMessagesID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, databases[0], memory.New(nil))
	w.runs(w.relay().Run)
	id := waybill.NewID()
	w.commit(waybill.Message{ID: id, Destination: "secret"})
	public := w.peer().subscribe(broker.Subscription{Destination: "public"})
	lowest := waybill.LowestID(id.Time()).String()
	w.waits("the floor is that of the pending row", 10*time.Second, func() bool {
		w.commit(waybill.Message{Destination: "public"})
		floor := header(t, public.next(), "floor")
		if floor == id.String() {
			t.Fatal("the floor tells another destination's message's id, with which its consumer could end it")
		}
		return floor == lowest
	})
}

func TestReceiptsForRowsThatWereNeverThereAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, databases[0], memory.New(nil))
	r := w.relay()
	w.runs(r.Run)
	p := w.peer()
	received := p.subscribe(broker.Subscription{Destination: "orders"})
	id := waybill.NewID()
	w.commit(waybill.Message{ID: id, Destination: "orders"})
	received.next()
	received.next() // a copy: a second receipt is to be expected
	for range 3 {
		p.says(id, "done", "")
	}
	w.emptied(5 * time.Second)
	p.says(id, "done", "")
	p.says(waybill.NewID(), "done", "")
	p.says(waybill.NewID(), "done", "")
	w.waits("all are read", 5*time.Second, func() bool { return r.Stats().Receipts >= 6 })
	w.waits("two of them were strange", 5*time.Second, func() bool { return r.Stats().Strange == 2 })
}

func TestAQueueAndATopicOfOneNameHaveOptionsOfTheirOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, databases[0], memory.New(nil))
	w.relayOptions.Destinations = map[string]relay.Destination{"prices": {Confirm: waybill.Accepted}}
	w.relayOptions.Topics = map[string]relay.Destination{"prices": {}}
	w.runs(w.relay().Run)
	handled := w.handles("prices", true)
	w.commit(waybill.Message{Destination: "prices"}) // nobody receives it: it goes when the broker has it
	w.emptied(5 * time.Second)
	w.commit(waybill.Message{Destination: "prices", Topic: true})
	w.emptied(5 * time.Second)
	if handled.Load() != 1 {
		t.Errorf("the topic's message was handled %d times, want once before its row went", handled.Load())
	}
}

func TestAReceiptThatKnowsTheIDAndNotTheIdentityConfirmsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, databases[0], memory.New(nil))
	r := w.relay()
	w.runs(r.Run)
	p := w.peer()
	received := p.subscribe(broker.Subscription{Destination: "orders"})
	id := waybill.NewID()
	w.commit(waybill.Message{ID: id, Destination: "orders"})
	received.next()
	done := []waybill.Receipt{{ID: id, Outcome: waybill.Done}}
	for _, queue := range []string{waybill.ReceiptQueue("waybill", ""), waybill.ReceiptQueue("waybill", "0000000000000000")} {
		p.publish(wire.EncodeReceipts(queue, "mallory", done))
	}
	received.next() // a copy: nothing has confirmed it
	if s := r.Stats(); s.Receipts > 0 || w.left() != 1 {
		t.Fatalf("got %+v and %d rows, want no receipt and the row", s, w.left())
	}
	p.says(id, "done", "")
	w.emptied(5 * time.Second)
}

func TestAStrangersFloorHasNothingOfAnOutboxForgotten(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.inboxOptions.PruneEvery, w.inboxOptions.Retention = 50*time.Millisecond, time.Hour
		w.consumes(waybill.Once, w.record)
		p := w.peer()
		now := time.Now()
		done, waiting := waybill.NewIDAt(now.Add(-3*time.Hour)), waybill.NewIDAt(now.Add(-2*time.Hour))
		header := func(name, value string) broker.Header { return broker.Header{Name: name, Value: value} }
		ours := header("receiptTo", waybill.ReceiptQueue("peer", "7q3mk2xw9d4hznsb6t5vfc8a"))
		p.publish(arrival(done, "orders", "k1", 1, ours, header("floor", done.String())))
		w.waits("it is handled", 60*time.Second, func() bool { return w.effects() == 1 })
		high := header("floor", waybill.NewID().String())
		forged := `SELECT count(*) FROM n_horizon WHERE message_id IS NOT NULL AND floor = '` + high.Value + `'`
		for i, receiptTo := range []string{"", "ack.peer", "ack.peer.0000000000000000"} {
			p.publish(arrival(waybill.NewID(), "orders", fmt.Sprint("forged", i), 1, header("receiptTo", receiptTo), high))
		}
		w.waits("what is below the strangers' floors is forgotten", 60*time.Second, func() bool { return w.number(w.consumer, forged) > 0 })
		p.publish(arrival(done, "orders", "k1", 1, ours))
		p.publish(arrival(waiting, "orders", "k2", 1, ours))
		w.waits("what waited is handled", 60*time.Second, func() bool { return w.effects() == 5 })
		if n := w.number(w.consumer, `SELECT count(*) FROM n1_record WHERE message_id = '`+done.String()+`'`); n != 1 {
			t.Errorf("got %d records of what was done, want it kept", n)
		}
	})
}

func TestEachConsumersReceiptForATopicIsToBeExpected(t *testing.T) {
	t.Parallel()
	w := newWorld(t, databases[0], memory.New(nil))
	r := w.relay()
	w.runs(r.Run)
	p := w.peer()
	received := p.subscribe(broker.Subscription{Destination: "prices", Topic: true, Group: "shop"})
	id := waybill.NewID()
	w.commit(waybill.Message{ID: id, Destination: "prices", Topic: true})
	received.next()
	for range 3 { // of three consumers: the first lets the row go
		p.says(id, "done", "")
	}
	p.says(waybill.NewID(), "done", "")
	w.emptied(5 * time.Second)
	w.waits("the one that nobody has sent is strange, and no other", 5*time.Second, func() bool { return r.Stats().Receipts == 4 && r.Stats().Strange == 1 })
}
