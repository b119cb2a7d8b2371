package brokertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// rig is what a case works with: the broker under test, and what is to be done with it. Its
// methods fail the test where something that has to work does not; they are for the test's
// own goroutine.
type rig struct {
	testing.TB
	h    *Harness
	caps broker.Capabilities
	b    broker.Broker
	ctx  context.Context // ends with the test
}

func newRig(t testing.TB, h *Harness) *rig {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	b := h.Open(t)
	return &rig{TB: t, h: h, b: b, caps: b.Capabilities(), ctx: ctx}
}

// run, with counter, makes names that no other test uses on the same server.
var (
	run     = "bt-" + strings.ToLower(rand.Text()[:8])
	counter atomic.Int64
)

// name returns a destination that is new.
func (r *rig) name() string { return fmt.Sprintf("%s-%d", run, counter.Add(1)) }

// patient returns a context that ends after the harness's Patience.
func (r *rig) patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.ctx, r.h.Patience)
}

// connect opens a connection, which is closed when the test ends.
func (r *rig) connect() broker.Conn {
	r.Helper()
	return r.connectTo(r.b)
}

// connectTo is connect with another Broker.
func (r *rig) connectTo(b broker.Broker) broker.Conn {
	r.Helper()
	ctx, cancel := r.patient()
	defer cancel()
	c, err := b.Connect(ctx)
	if err != nil {
		r.Fatalf("Connect: %v; want a connection", err)
	}
	r.Cleanup(func() { r.close(c) })
	return c
}

// closer is a Conn or a Receiver.
type closer interface {
	Close(ctx context.Context) error
}

// close closes a Conn or Receiver.
func (r *rig) close(c closer) {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), r.h.Patience)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		r.Errorf("Close: %v; want no error", err)
	}
}

// subscribe begins to receive from a queue.
func (r *rig) subscribe(c broker.Conn, queue string, prefetch int) broker.Receiver {
	r.Helper()
	return r.subscribeTo(c, broker.Subscription{Destination: queue, Prefetch: prefetch})
}

// subscribeTo begins to receive from any destination.
func (r *rig) subscribeTo(c broker.Conn, s broker.Subscription) broker.Receiver {
	r.Helper()
	ctx, cancel := r.patient()
	defer cancel()
	receiver, err := c.Subscribe(ctx, s)
	if err != nil {
		r.Fatalf("Subscribe to %q: %v; want a receiver", s.Destination, err)
	}
	return receiver
}

// message makes a message with a body that names it and Waybill's headers.
func message(queue string, body string) broker.Message {
	return broker.Message{
		Destination: queue,
		Headers: []broker.Header{
			{Name: "messageId", Value: waybill.NewID().String()},
			{Name: "producer", Value: "brokertest"},
			{Name: "attempt", Value: "0"},
		},
		Body: []byte(body),
	}
}

// messages makes n messages with the bodies prefix-0, prefix-1 and so on.
func messages(queue, prefix string, n int) []broker.Message {
	ms := make([]broker.Message, n)
	for i := range ms {
		ms[i] = message(queue, fmt.Sprintf("%s-%d", prefix, i))
	}
	return ms
}

// oneEach checks that there is one result for each message.
func (r *rig) oneEach(results []broker.Result, ms []broker.Message) {
	r.Helper()
	if len(results) != len(ms) {
		r.Fatalf("Publish: got %d results, want %d", len(results), len(ms))
	}
}

// unknown checks that every message is Unknown, with a reason.
func (r *rig) unknown(results []broker.Result, ms []broker.Message) {
	r.Helper()
	r.oneEach(results, ms)
	for i, result := range results {
		if result.Fate != broker.Unknown || result.Err == nil {
			r.Fatalf("message %d is %v, error %v; want unknown with a reason", i, result.Fate, result.Err)
		}
	}
}

// fates checks the fate of every message: one that is not Confirmed has a reason.
func (r *rig) fates(results []broker.Result, want func(i int) broker.Fate) {
	r.Helper()
	for i, result := range results {
		if fate := want(i); result.Fate != fate || (result.Err != nil) != (fate != broker.Confirmed) {
			r.Errorf("message %d is %v, error %v; want %v", i, result.Fate, result.Err, fate)
		}
	}
}

// publish publishes durable messages, each of which has to be Confirmed.
func (r *rig) publish(c broker.Conn, ms ...broker.Message) {
	r.Helper()
	r.publishAs(c, waybill.Durable, ms...)
}

// publishAs publishes messages, each of which has to be Confirmed.
func (r *rig) publishAs(c broker.Conn, transport waybill.Transport, ms ...broker.Message) {
	r.Helper()
	ctx, cancel := r.patient()
	defer cancel()
	if err := publishAll(ctx, c, transport, ms); err != nil {
		r.Fatal(err)
	}
}

// publishAll publishes and returns an error unless each message is Confirmed. It may be
// called in any goroutine.
func publishAll(ctx context.Context, c broker.Conn, transport waybill.Transport, ms []broker.Message) error {
	results, err := c.Publish(ctx, ms, transport)
	if err != nil {
		return fmt.Errorf("Publish: %w", err)
	}
	if len(results) != len(ms) {
		return fmt.Errorf("Publish: got %d results, want %d", len(results), len(ms))
	}
	for i, result := range results {
		if result.Fate != broker.Confirmed {
			return fmt.Errorf("Publish: message %d of %d to %q is %v, want confirmed: %w", i, len(ms), ms[i].Destination, result.Fate, result.Err)
		}
		if result.Err != nil {
			return fmt.Errorf("Publish: message %d of %d is confirmed with an error, want none: %w", i, len(ms), result.Err)
		}
	}
	return nil
}

// receive receives exactly n messages, or fails the test; it settles none.
func (r *rig) receive(receiver broker.Receiver, n int) []broker.Delivery {
	r.Helper()
	ctx, cancel := r.patient()
	defer cancel()
	var all []broker.Delivery
	for len(all) < n {
		deliveries, err := receiver.Receive(ctx, n-len(all))
		if err != nil {
			if len(deliveries) > 0 {
				r.Errorf("Receive returned %d messages with the error %v, want none", len(deliveries), err)
			}
			r.Fatalf("Receive: %v after %d messages, want %d", err, len(all), n)
		}
		if len(deliveries) == 0 {
			r.Fatal("Receive returned no messages and no error, want one of the two")
		}
		if len(deliveries) > n-len(all) {
			r.Fatalf("Receive returned %d messages, want at most its limit of %d", len(deliveries), n-len(all))
		}
		all = append(all, deliveries...)
	}
	return all
}

// settle settles messages.
func (r *rig) settle(receiver broker.Receiver, deliveries []broker.Delivery, d broker.Disposition) {
	r.Helper()
	ctx, cancel := r.patient()
	defer cancel()
	if err := receiver.Settle(ctx, deliveries, d); err != nil {
		r.Fatalf("Settle of %d messages: %v; want no error", len(deliveries), err)
	}
}

// drain receives and acknowledges n messages, in pieces of at most limit, and
// returns their bodies.
func (r *rig) drain(receiver broker.Receiver, n, limit int) []string {
	r.Helper()
	var got []string
	for len(got) < n {
		deliveries := r.receiveSome(receiver, min(limit, n-len(got)))
		r.settle(receiver, deliveries, broker.Ack)
		got = append(got, bodies(deliveries)...)
	}
	return got
}

// receiveSome receives at least one message.
func (r *rig) receiveSome(receiver broker.Receiver, limit int) []broker.Delivery {
	r.Helper()
	ctx, cancel := r.patient()
	defer cancel()
	deliveries, err := receiver.Receive(ctx, limit)
	if err != nil {
		r.Fatalf("Receive: %v; want a message", err)
	}
	return deliveries
}

// nothing checks that no message comes for a while.
func (r *rig) nothing(receiver broker.Receiver) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.ctx, r.h.Quiet)
	defer cancel()
	deliveries, err := receiver.Receive(ctx, 10)
	if len(deliveries) > 0 {
		r.Fatalf("received %q, want nothing", bodies(deliveries))
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		r.Fatalf("Receive: %v; want the context's error", err)
	}
}

// left checks that a queue holds exactly the messages with these bodies, in
// any order, and empties it over a new connection.
func (r *rig) left(queue string, want []string) {
	r.Helper()
	c := r.connect()
	receiver := r.subscribe(c, queue, 1000)
	r.same(r.drain(receiver, len(want), 1000), want)
	r.nothing(receiver)
	r.close(c)
}

// same checks that two lists hold the same bodies, in any order.
func (r *rig) same(got, want []string) {
	r.Helper()
	count := map[string]int{}
	for _, body := range want {
		count[body]++
	}
	for _, body := range got {
		count[body]--
	}
	var missing, extra []string
	for body, n := range count {
		switch {
		case n > 0:
			missing = append(missing, body)
		case n < 0:
			extra = append(extra, body)
		}
	}
	if len(missing)+len(extra) > 0 {
		r.Fatalf("got %d messages, want %d; missing: %s; too many: %s", len(got), len(want), some(missing), some(extra))
	}
}

// ordered checks that two lists are equal.
func (r *rig) ordered(got, want []string) {
	r.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			r.Fatalf("message %d is %q, want %q", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		r.Fatalf("got %d messages, want %d", len(got), len(want))
	}
}

// ended waits until a channel is closed, for no longer than the harness's Patience.
func (r *rig) ended(done <-chan struct{}, what string) {
	r.Helper()
	select {
	case <-done:
	case <-time.After(r.h.Patience):
		r.Fatalf("%s: not after %v; want it sooner", what, r.h.Patience)
	}
}

// soon calls f, which has to return within the harness's Patience.
func (r *rig) soon(what string, f func()) {
	r.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	r.ended(done, what)
}

func bodies(deliveries []broker.Delivery) []string {
	bodies := make([]string, len(deliveries))
	for i := range deliveries {
		bodies[i] = string(deliveries[i].Body)
	}
	return bodies
}

func bodiesOf(ms []broker.Message) []string {
	bodies := make([]string, len(ms))
	for i := range ms {
		bodies[i] = string(ms[i].Body)
	}
	return bodies
}

// some prints the first few of a list.
func some(list []string) string {
	slices.Sort(list)
	if len(list) > 10 {
		return fmt.Sprintf("%d, such as %.40q", len(list), list[:10])
	}
	return fmt.Sprintf("%.40q", list)
}
