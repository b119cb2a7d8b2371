// Package servertest is for the tests of several adapters, beside the conformance suite:
// Harness makes the suite's harness for a real server, Access tests who may connect, and
// SideBySide measures an adapter beside its client library.
package servertest

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/internal/restart"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// Open returns an adapter's Broker for an address.
type Open func(t testing.TB, address string) broker.Broker

// Harness is the conformance suite's harness for the server whose address is in a
// variable such as WAYBILL_TEST_RABBITMQ. The caller adds what only its adapter needs.
func Harness(t testing.TB, variable string, open Open) brokertest.Harness {
	t.Helper()
	h := HarnessAt(testserver.Address(t, variable), open)
	h.Server = testserver.Version(variable)
	hooks := restart.Of(testserver.Service(variable))
	h.Restart, h.Stop, h.Start = hooks.Restart, hooks.Stop, hooks.Start
	return h
}

// HarnessAt is the conformance suite's harness for the server at an address.
func HarnessAt(address string, open Open) brokertest.Harness {
	return brokertest.Harness{
		Open: func(t testing.TB) broker.Broker { return open(t, address) },
		OpenLink: func(t testing.TB) (broker.Broker, brokertest.Link) {
			through, link := Through(t, address)
			return open(t, through), link
		},
	}
}

// Through returns an address that leads to the server of the given one through a Link.
func Through(t testing.TB, address string) (through string, link brokertest.Link) {
	t.Helper()
	return change(t, address, func(u *url.URL, _ url.Values) { u.Host, link = brokertest.Proxy(t, u.Host) }), link
}

// change returns an address as part has changed it.
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

// WrongAddresses checks that New of an adapter takes none of the addresses, and that its
// error contains the text beside the address and no password, of which each begins with
// s3c.
func WrongAddresses(t *testing.T, open func(address string) error, wrong map[string]string) {
	t.Helper()
	for address, want := range wrong {
		t.Run(address, func(t *testing.T) {
			err := open(address)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("New: %v; want an error with %q", err, want)
			}
			if err != nil && strings.Contains(err.Error(), "s3c") {
				t.Errorf("New: %v; want no password in it", err)
			}
		})
	}
}

// Within returns the context of a test that should take no longer than limit.
func Within(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// Fates publishes durable messages and checks what becomes of each. Of several messages
// that are all to have one fate, it is enough to give it once.
func Fates(ctx context.Context, t testing.TB, c broker.Conn, ms []broker.Message, want ...broker.Fate) []broker.Result {
	t.Helper()
	results, err := c.Publish(ctx, ms, waybill.Durable)
	if err != nil || len(results) != len(ms) {
		t.Fatalf("Publish: %d results, error %v; want %d and none", len(results), err, len(ms))
	}
	for i, result := range results {
		fate := want[min(i, len(want)-1)]
		if result.Fate != fate || (result.Err == nil) != (fate == broker.Confirmed) {
			t.Errorf("message %d of %d bytes to %q is %v, error %v; want %v", i, len(ms[i].Body), ms[i].Destination, result.Fate, result.Err, fate)
		}
	}
	return results
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

// publish publishes one durable message, whose messageId and body are the name of its
// queue, and fails the test unless it is Confirmed.
func publish(ctx context.Context, t testing.TB, c broker.Conn, queue string) {
	t.Helper()
	m := broker.Message{Destination: queue, Body: []byte(queue), Headers: []broker.Header{{Name: "messageId", Value: queue}}}
	results, err := c.Publish(ctx, []broker.Message{m}, waybill.Durable)
	if err != nil || results[0].Fate != broker.Confirmed {
		t.Fatalf("Publish: %v, %v; want confirmed", results, err)
	}
}

// receive subscribes to a queue and returns one message.
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

// DeadLetter checks that a message that is settled as DeadLetter comes to the queue where
// the server keeps such messages.
func DeadLetter(t *testing.T, b broker.Broker, deadLetters string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience.Limit)
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

// Silence checks that an idle connection is still there after the time idle, and ends
// when nothing passes through its link; it returns the reason. b's connections go through
// the link, and end after less than idle without a heartbeat.
func Silence(t *testing.T, b broker.Broker, link brokertest.Link, idle time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), idle+patience.Limit)
	defer cancel()
	c := connect(ctx, t, b)
	if _, err := c.Subscribe(ctx, broker.Subscription{Destination: "silence", Prefetch: 10}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Done():
		t.Fatalf("an idle connection ended: %v; want it open", c.Err())
	case <-time.After(idle):
	}
	link.Hold()
	defer link.Release()
	select {
	case <-c.Done():
	case <-ctx.Done():
		t.Fatal("a connection goes on although nothing comes from the other end; want it ended")
	}
	err := c.Err()
	if err == nil || errors.Is(err, broker.ErrClosed) {
		t.Errorf("it ended with %v; want the reason", err)
	}
	return err
}
