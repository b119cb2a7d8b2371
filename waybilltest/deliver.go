package waybilltest

import (
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
)

// Consumer is a handler, and the database that it works in.
type Consumer struct {
	// DB has the consumer's tables (waybill init --side consumer, or store.Migrate), and
	// the service's own.
	DB      *sql.DB
	Dialect store.Dialect
	Level   waybill.Level
	Handler inbox.Handler
	// BatchHandler is in the place of Handler. It gets one message at a time.
	BatchHandler inbox.BatchHandler
	// Options are the inbox's. Default Consumer "waybilltest", and a Logger whose warnings are
	// shown where a check fails.
	Options inbox.Options
	// Reset makes the service's own tables as they were before any message. Twice and Crashing
	// call it first, so that they judge their own messages alone, and OutOfOrder, which needs
	// it, before each order. Behind it the consumer has records of its own.
	Reset func() error
}

// Verdict is what became of a message that was delivered.
type Verdict int

// The verdicts.
const (
	Applied Verdict = iota + 1 // the handler ran, and its transaction has committed
	Skipped                    // a duplicate, or at level Latest an older state: the handler did not run
	Retry                      // the handler failed, and the producer would send the message again
	Refused                    // the message is rejected
)

// String returns the verdict's name in lower case.
func (v Verdict) String() string {
	return [...]string{"none", "applied", "skipped", "retry", "refused"}[v]
}

// Delivered is a message as it was delivered, and what became of it.
type Delivered struct {
	Message waybill.Message
	Verdict Verdict
	// Error is why, for Retry and Refused.
	Error string
}

// Deliver has an inbox take messages to one destination, one after the other, as it would
// take them from a relay, and returns what became of each. It works with every database,
// and outside of a bubble, where the database is a server. Where they are zero, ID is a new
// one, TimeStamp grows from message to message, and Destination is "waybilltest"; give the
// same message, with an ID, twice to see that it takes effect once. It takes no more than
// the first message's destination.
func Deliver(t testing.TB, c Consumer, messages ...waybill.Message) []Delivered {
	t.Helper()
	if len(messages) == 0 {
		return nil
	}
	messages = asSent(t, messages)
	d := c.begin(t, &messages[0], nil)
	defer d.end()
	all := make([]Delivered, len(messages))
	for i := range messages {
		all[i] = d.deliver(&messages[i])
	}
	return all
}

// asSent are messages to one destination with what Send gives them.
func asSent(t testing.TB, messages []waybill.Message) []waybill.Message {
	t.Helper()
	all := slices.Clone(messages)
	destination, topic := or(all[0].Destination, "waybilltest"), all[0].Topic
	for i := range all {
		m := &all[i]
		m.Destination = or(m.Destination, destination)
		if m.Destination != destination || m.Topic != topic {
			t.Fatalf("waybilltest: message %d is to %s, and the first one to %s: give messages to one destination", i, place(m.Destination, m.Topic), place(destination, topic))
		}
		if m.ID.IsZero() {
			m.ID = waybill.NewID()
		}
		m.TimeStamp = or(m.TimeStamp, time.Now().UnixMicro()+int64(i))
	}
	return all
}

// deliveries is an inbox that takes messages, and the one who sends them.
type deliveries struct {
	log     logged
	peer    *peer
	running *part[*inbox.Inbox]
	ran     atomic.Int64 // calls of the handler
}

// begin starts an inbox for messages to the destination of the one given; around may be nil,
// and is put around the handler.
func (c *Consumer) begin(t testing.TB, m *waybill.Message, around func(inbox.BatchHandler) inbox.BatchHandler) *deliveries {
	t.Helper()
	handler := c.BatchHandler
	switch {
	case c.Handler != nil && c.BatchHandler != nil:
		t.Fatal("waybilltest: the Consumer has a Handler and a BatchHandler: give one of them")
	case c.Handler != nil:
		handler = func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
			return c.Handler(ctx, tx, messages[0])
		}
	case c.BatchHandler == nil:
		t.Fatal("waybilltest: the Consumer has neither a Handler nor a BatchHandler")
	}
	if around != nil {
		handler = around(handler)
	}
	b := memory.New(nil)
	o := c.Options
	o.Consumer = or(o.Consumer, "waybilltest")
	d := &deliveries{}
	o.Logger = or(o.Logger, slog.New(slog.NewTextHandler(&d.log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	in, err := inbox.New(c.DB, c.Dialect, b, &o)
	if err != nil {
		t.Fatal(err)
	}
	d.peer = newPeer(t, b)
	in.HandleBatchWith(m.Destination, c.Level, func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
		d.ran.Add(1)
		return handler(ctx, tx, messages)
	}, &inbox.HandleOptions{Topic: m.Topic})
	if m.Topic {
		d.peer.subscribed(m.Destination, o.Consumer)
	}
	d.running = runPart(in, in.Run)
	return d
}

func (d *deliveries) end() { d.running.stop() }

// reset begins a check with the service's own tables as they were and, so that nothing in them
// is from then on known, with records of its own: those of a consumer by another name.
func (c *Consumer) reset(t testing.TB, name string) {
	t.Helper()
	if c.Reset == nil {
		return
	}
	if err := c.Reset(); err != nil {
		t.Fatalf("waybilltest: Consumer.Reset: %v", err)
	}
	c.Options.Consumer = or(name, "waybilltest") + "-" + waybill.NewID().String()
}

// deliver delivers a message, and waits for its receipt.
func (d *deliveries) deliver(m *waybill.Message) Delivered {
	d.peer.t.Helper()
	before := d.ran.Load()
	r := d.peer.deliver(m, d.running)
	of := Delivered{Message: *m, Verdict: Skipped, Error: r.Error}
	switch {
	case r.Outcome == waybill.Retry:
		of.Verdict = Retry
	case r.Outcome == waybill.Rejected:
		of.Verdict = Refused
	case d.ran.Load() > before:
		of.Verdict = Applied
	}
	return of
}

// peer sends messages as a relay does, and takes their receipts.
type peer struct {
	t        testing.TB
	conn     broker.Conn
	receipts broker.Receiver
	queue    string
}

func newPeer(t testing.TB, b *memory.Broker) *peer {
	t.Helper()
	conn, err := b.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, conn: conn, queue: waybill.ReceiptPrefix + "waybilltest"}
	if p.receipts, err = conn.Subscribe(t.Context(), broker.Subscription{Destination: p.queue, Prefetch: 10}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return p
}

// subscribed has the broker keep a topic's messages for a consumer from now on.
func (p *peer) subscribed(topic, consumer string) {
	p.t.Helper()
	r, err := p.conn.Subscribe(p.t.Context(), broker.Subscription{Destination: topic, Topic: true, Group: consumer, Prefetch: 1})
	if err == nil {
		err = r.Close(p.t.Context())
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// deliver sends a message and returns its receipt.
func (p *peer) deliver(m *waybill.Message, consumer *part[*inbox.Inbox]) waybill.Receipt {
	p.t.Helper()
	row := store.Row{
		MessageID: m.ID, Destination: m.Destination, Topic: m.Topic, Key: m.Key, Sequence: or(m.Sequence, 1), TimeStamp: m.TimeStamp,
		Body: m.Body, Failures: m.Failures,
	}
	if len(m.Headers) > 0 {
		text, err := json.Marshal(m.Headers)
		if err != nil {
			p.t.Fatal(err)
		}
		row.Headers = string(text)
	}
	sent, err := wire.Encode(&row, m.Attempt, wire.Origin{Producer: or(m.Producer, "waybilltest"), ReceiptTo: p.queue})
	if err != nil {
		p.t.Fatalf("waybilltest: this message can be no message: %v", err)
	}
	results, err := p.conn.Publish(p.t.Context(), []broker.Message{sent}, waybill.Durable)
	if err != nil || results[0].Fate != broker.Confirmed {
		p.t.Fatalf("waybilltest: the broker does not take the message: %v %+v", err, results)
	}
	// The inbox may end, and then no receipt comes.
	ctx, cancel := context.WithCancelCause(p.t.Context())
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-consumer.done:
			cancel(consumer.err)
		case <-stop:
		}
	}()
	for {
		deliveries, err := p.receipts.Receive(ctx, 1)
		if err != nil {
			p.t.Fatalf("waybilltest: no receipt came: %v", context.Cause(ctx))
		}
		if err := p.receipts.Settle(ctx, deliveries, broker.Ack); err != nil {
			p.t.Fatal(err)
		}
		_, receipts, _, _ := wire.DecodeReceipts(&deliveries[0].Message)
		for _, r := range receipts {
			if r.ID == m.ID {
				return r
			}
		}
	}
}
