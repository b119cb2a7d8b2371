// Package servertest is what the tests of several adapters ask of real servers,
// beside the conformance suite: how connections are let in, with TLS and
// credentials (Door), and what a server does that the seam does not show.
package servertest

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/internal/restart"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// Open returns an adapter's Broker for an address.
type Open func(t testing.TB, address string) broker.Broker

// patience bounds what these tests wait for.
const patience = 30 * time.Second

// Harness is the conformance suite's for the server whose address a variable such
// as WAYBILL_TEST_RABBITMQ has. The caller adds what is the adapter's own.
func Harness(t testing.TB, variable string, open Open) brokertest.Harness {
	t.Helper()
	h := HarnessAt(testserver.Address(t, variable), open)
	h.Server = testserver.Version(variable)
	hooks := restart.Of(testserver.Service(variable))
	h.Restart, h.Stop, h.Start = hooks.Restart, hooks.Stop, hooks.Start
	return h
}

// HarnessAt is the conformance suite's for the server at an address.
func HarnessAt(address string, open Open) brokertest.Harness {
	return brokertest.Harness{
		Open: func(t testing.TB) broker.Broker { return open(t, address) },
		OpenLink: func(t testing.TB) (broker.Broker, brokertest.Link) {
			through, link := Through(t, address)
			return open(t, through), link
		},
	}
}

// Through returns an address that leads to the server of another over a Link.
func Through(t testing.TB, address string) (through string, link brokertest.Link) {
	t.Helper()
	return change(t, address, func(u *url.URL, _ url.Values) { u.Host, link = brokertest.Proxy(t, u.Host) }), link
}

// change returns an address with a part of it changed.
func change(t testing.TB, address string, part func(u *url.URL, query url.Values)) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	part(u, query)
	u.RawQuery = query.Encode()
	return u.String()
}

// connect opens a connection that is closed with the test.
func connect(ctx context.Context, t testing.TB, b broker.Broker) broker.Conn {
	t.Helper()
	c, err := b.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(ctx)) })
	return c
}

// publish publishes one durable message whose messageId and body are its queue's
// name, and wants it confirmed.
func publish(ctx context.Context, t testing.TB, c broker.Conn, queue string) {
	t.Helper()
	m := broker.Message{Destination: queue, Body: []byte(queue), Headers: []broker.Header{{Name: "messageId", Value: queue}}}
	results, err := c.Publish(ctx, []broker.Message{m}, waybill.Durable)
	if err != nil || results[0].Fate != broker.Confirmed {
		t.Fatalf("%v, %v; want confirmed", results, err)
	}
}

// receive returns one message of a queue.
func receive(ctx context.Context, t testing.TB, c broker.Conn, queue string) (broker.Receiver, []broker.Delivery) {
	t.Helper()
	r, err := c.Subscribe(ctx, broker.Subscription{Destination: queue, Prefetch: 1})
	if err != nil {
		t.Fatal(err)
	}
	deliveries, err := r.Receive(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	return r, deliveries
}

// DeadLetter sees to it that a message settled as DeadLetter comes to the queue
// where the server keeps such messages.
func DeadLetter(t *testing.T, b broker.Broker, deadLetters string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := connect(ctx, t, b)
	queue := "dead-" + waybill.NewID().String()
	publish(ctx, t, c, queue)
	r, deliveries := receive(ctx, t, c, queue)
	if err := r.Settle(ctx, deliveries, broker.DeadLetter); err != nil {
		t.Fatal(err)
	}
	dead, err := c.Subscribe(ctx, broker.Subscription{Destination: deadLetters, Prefetch: 100})
	if err != nil {
		t.Fatal(err)
	}
	for {
		deliveries, err := dead.Receive(ctx, 100)
		if err != nil {
			t.Fatalf("the dead letter is not in %s: %v", deadLetters, err)
		}
		if err := dead.Settle(ctx, deliveries, broker.Ack); err != nil {
			t.Fatal(err)
		}
		for i := range deliveries {
			if id, _ := deliveries[i].Header("messageId"); id == queue {
				return
			}
		}
	}
}

// Silence sees to it that an idle connection lives for as long as it is told to,
// which is longer than silence is borne, and ends when nothing passes any more. It
// returns the reason. b's connections go through link and beat quickly.
func Silence(t *testing.T, b broker.Broker, link brokertest.Link, lives time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lives+patience)
	defer cancel()
	c := connect(ctx, t, b)
	if _, err := c.Subscribe(ctx, broker.Subscription{Destination: "silence", Prefetch: 10}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Done():
		t.Fatalf("an idle connection ended: %v", c.Err())
	case <-time.After(lives):
	}
	link.Hold()
	defer link.Release()
	select {
	case <-c.Done():
	case <-ctx.Done():
		t.Fatal("a connection lives on though nothing comes from the other end")
	}
	err := c.Err()
	if err == nil || errors.Is(err, broker.ErrClosed) {
		t.Errorf("it ended with %v; want the reason", err)
	}
	return err
}
