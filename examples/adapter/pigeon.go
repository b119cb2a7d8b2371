// Package pigeon is a broker adapter outside of Waybill's own module, with as little as an
// adapter can have. Its test runs the conformance suite. Its broker is a map in memory,
// where a real adapter has a client library.
package pigeon

import (
	"context"
	"errors"
	"slices"
	"sync"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// Broker keeps queues in memory. It is safe for concurrent use.
type Broker struct {
	mu      sync.Mutex
	waiting map[string][]broker.Delivery // by destination
	changed chan struct{}                // closed, and replaced, when waiting has changed
}

var _ broker.Broker = (*Broker)(nil)

// New returns a broker without queues.
func New() *Broker {
	return &Broker{waiting: map[string][]broker.Delivery{}, changed: make(chan struct{})}
}

// Capabilities declares what the suite will ask.
func (b *Broker) Capabilities() broker.Capabilities {
	return broker.Capabilities{Name: "pigeon", Ordered: true, Requeue: true}
}

// Connect returns a connection, unless ctx has ended.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &conn{b: b, done: make(chan struct{}), receivers: map[*receiver]bool{}}, nil
}

// put adds deliveries to a queue: at its end, or with back at its beginning. It needs mu.
func (b *Broker) put(destination string, back bool, deliveries ...broker.Delivery) {
	if back {
		b.waiting[destination] = slices.Concat(deliveries, b.waiting[destination])
	} else {
		b.waiting[destination] = append(b.waiting[destination], deliveries...)
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

// conn is a connection. Its pointer is comparable, as a broker.Conn has to be.
type conn struct {
	b    *Broker
	done chan struct{} // closed when err is set

	err       error              // guarded by b.mu
	receivers map[*receiver]bool // guarded by b.mu
}

func (c *conn) Publish(ctx context.Context, messages []broker.Message, _ waybill.Transport) ([]broker.Result, error) {
	results := make([]broker.Result, len(messages))
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	for i, m := range messages {
		switch {
		case c.err != nil:
			results[i].Err = c.err // Unknown, which is the zero Fate
		case ctx.Err() != nil:
			results[i].Err = ctx.Err()
		case m.Topic:
			results[i] = broker.Result{Fate: broker.Unacceptable, Err: errors.New("pigeon: there are no topics")}
		default:
			m.Body, m.Headers = slices.Clone(m.Body), slices.Clone(m.Headers) // these are the caller's
			c.b.put(m.Destination, false, broker.Delivery{Message: m, Token: new(int)})
			results[i].Fate = broker.Confirmed
		}
	}
	return results, c.err
}

func (c *conn) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	if s.Topic {
		return nil, errors.New("pigeon: there are no topics")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	r := &receiver{c: c, destination: s.Destination, prefetch: s.Prefetch}
	c.receivers[r] = true
	return r, nil
}

func (c *conn) Done() <-chan struct{} { return c.done }

func (c *conn) Err() error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return c.err
}

func (c *conn) Close(context.Context) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.err != nil {
		return nil
	}
	c.err = broker.ErrClosed
	close(c.done)
	for r := range c.receivers {
		r.end()
	}
	return nil
}

// receiver is a subscription of a queue.
type receiver struct {
	c           *conn
	destination string
	prefetch    int
	held        []broker.Delivery // received and not settled, in order; guarded by b.mu
	closed      bool              // guarded by b.mu
}

func (r *receiver) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	b := r.c.b
	for {
		b.mu.Lock()
		if r.closed {
			b.mu.Unlock()
			return nil, broker.ErrClosed
		}
		n := min(limit, r.prefetch-len(r.held), len(b.waiting[r.destination]))
		if n > 0 && ctx.Err() == nil {
			got := slices.Clone(b.waiting[r.destination][:n])
			b.waiting[r.destination] = b.waiting[r.destination][n:]
			r.held = append(r.held, got...)
			b.mu.Unlock()
			for i := range got { // the caller may change these, and ours may come again
				got[i].Body, got[i].Headers = slices.Clone(got[i].Body), slices.Clone(got[i].Headers)
			}
			return got, nil
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

func (r *receiver) Settle(_ context.Context, deliveries []broker.Delivery, d broker.Disposition) error {
	if d == broker.DeadLetter {
		return errors.ErrUnsupported
	}
	b := r.c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.closed {
		return broker.ErrClosed
	}
	settled := make(map[any]bool, len(deliveries))
	for _, x := range deliveries {
		settled[x.Token] = true
	}
	var back []broker.Delivery
	r.held = slices.DeleteFunc(r.held, func(x broker.Delivery) bool {
		if settled[x.Token] && d == broker.Requeue {
			x.Redelivered = true
			back = append(back, x)
		}
		return settled[x.Token]
	})
	b.put(r.destination, true, back...) // wakes Receive, too, since there is room again
	return nil
}

func (r *receiver) Close(context.Context) error {
	r.c.b.mu.Lock()
	defer r.c.b.mu.Unlock()
	r.end()
	return nil
}

// end gives back what is not settled. It needs mu.
func (r *receiver) end() {
	if r.closed {
		return
	}
	r.closed = true
	delete(r.c.receivers, r)
	for i := range r.held {
		r.held[i].Redelivered = true
	}
	r.c.b.put(r.destination, true, r.held...)
	r.held = nil
}
