// Package pigeon is a broker adapter outside Waybill's own module: the least that an
// adapter is made of, and the conformance suite that it passes. Its broker is a map in
// memory; a real adapter has a client library in its place.
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
	changed chan struct{}                // closed, and made anew, when something is to be had
}

var _ broker.Broker = (*Broker)(nil)

// New returns a broker without queues.
func New() *Broker {
	return &Broker{waiting: map[string][]broker.Delivery{}, changed: make(chan struct{})}
}

// Capabilities declares only what the suite is to hold us to.
func (b *Broker) Capabilities() broker.Capabilities {
	return broker.Capabilities{Name: "pigeon", Ordered: true, Requeue: true}
}

// Connect always succeeds.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &conn{b: b, done: make(chan struct{}), receivers: map[*receiver]bool{}}, nil
}

// put adds deliveries to a queue: at its end, or back at its beginning. mu is held.
func (b *Broker) put(destination string, back bool, deliveries ...broker.Delivery) {
	if back {
		b.waiting[destination] = slices.Concat(deliveries, b.waiting[destination])
	} else {
		b.waiting[destination] = append(b.waiting[destination], deliveries...)
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

type conn struct {
	b    *Broker
	done chan struct{} // guarded by b.mu, like all that follows
	err  error

	receivers map[*receiver]bool
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
			m.Body, m.Headers = slices.Clone(m.Body), slices.Clone(m.Headers) // the caller's
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

type receiver struct {
	c           *conn
	destination string
	prefetch    int
	held        []broker.Delivery // received and not settled, in order; guarded by b.mu
	closed      bool
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
			for i := range got { // the caller's to keep and change; ours may come again
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
	b.put(r.destination, true, back...) // and room for more
	return nil
}

func (r *receiver) Close(context.Context) error {
	r.c.b.mu.Lock()
	defer r.c.b.mu.Unlock()
	r.end()
	return nil
}

// end gives back what is not settled. mu is held.
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
