package amqp1

import (
	"context"
	"fmt"
	"sync"

	"github.com/waybill-go/waybill/broker"
)

// Conn is one connection to a broker: a network connection for publishing, and one
// for each Receiver. When one of them breaks, all end.
type Conn struct {
	broker    *Broker
	publisher *wire
	links     links
	done      chan struct{}
	watchers  sync.WaitGroup

	mu    sync.Mutex
	err   error
	wires map[*wire]struct{}
}

var _ broker.Conn = (*Conn)(nil)

// open adds a network connection to c.
func (c *Conn) open(ctx context.Context, container string) (*wire, error) {
	w, err := c.broker.dial(ctx, container)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	err = c.err
	if err == nil {
		c.wires[w] = struct{}{}
		c.watchers.Go(func() {
			<-w.conn.Done()
			if c.forget(w) {
				cause := w.conn.Err()
				if cause == nil {
					cause = broker.ErrClosed
				} else {
					cause = fmt.Errorf("amqp1: %w", cause)
				}
				c.end(cause)
			}
		})
	}
	c.mu.Unlock()
	if err != nil {
		w.conn.Close()
		return nil, err
	}
	return w, nil
}

// forget removes a network connection, whose end then is no longer the end of c.
// It reports whether c had it.
func (c *Conn) forget(w *wire) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.wires[w]
	delete(c.wires, w)
	return ok
}

// end ends c for the reason err, once.
func (c *Conn) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	left := c.wires
	c.wires = map[*wire]struct{}{}
	close(c.done)
	c.mu.Unlock()
	for w := range left {
		w.net.fail(err)
	}
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is why the connection ended; see broker.Conn.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close says goodbye to the broker, for no longer than ctx allows and 5 s, so that
// it has read the acknowledgements, and ends everything.
func (c *Conn) Close(ctx context.Context) error {
	c.mu.Lock()
	if c.err == nil {
		c.err = broker.ErrClosed
		close(c.done)
	}
	open := c.wires
	c.wires = map[*wire]struct{}{}
	c.mu.Unlock()
	var closing sync.WaitGroup
	for w := range open {
		closing.Go(func() { w.close(ctx) })
	}
	closing.Wait()
	c.watchers.Wait()
	return nil
}

// Subscribe begins to receive on a network connection of its own. A durable
// subscription of a topic is known to the broker by its container id, which is made
// of Group and topic. Artemis lets several subscribers share it; Classic refuses a
// second one while the first is there.
func (c *Conn) Subscribe(ctx context.Context, sub broker.Subscription) (broker.Receiver, error) {
	if sub.Prefetch <= 0 {
		return nil, fmt.Errorf("amqp1: subscribe to %q: Prefetch is %d", sub.Destination, sub.Prefetch)
	}
	if sub.Topic && sub.Group == "" {
		return nil, fmt.Errorf("amqp1: subscribe to the topic %q: a topic needs a Group", sub.Destination)
	}
	container := ""
	if sub.Topic {
		container = sub.Group + "/" + sub.Destination
	}
	w, err := c.open(ctx, container)
	if err != nil {
		return nil, fmt.Errorf("amqp1: subscribe to %q: %w", sub.Destination, err)
	}
	r := &Receiver{conn: c, wire: w, subscription: sub}
	if err := r.attach(ctx); err != nil {
		c.forget(w)
		w.conn.Close()
		return nil, fmt.Errorf("amqp1: subscribe to %q: %w", sub.Destination, err)
	}
	return r, nil
}

// Kind is the kind of the broker at the other end, or AnyKind for any other.
func (c *Conn) Kind() Kind { return c.publisher.kind }
