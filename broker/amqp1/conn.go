package amqp1

import (
	"context"
	"fmt"
	"sync"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/bundle"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// Conn is one connection to a broker: a network connection for publishing, and one
// for each Receiver. When one of them breaks, all end.
type Conn struct {
	broker    *Broker
	wires     *bundle.Of[*wire]
	publisher *wire
	links     links
	watchers  sync.WaitGroup
}

var _ broker.Conn = (*Conn)(nil)

// open adds a network connection to c.
func (c *Conn) open(ctx context.Context, container string) (*wire, error) {
	w, err := c.broker.dial(ctx, container)
	if err != nil {
		return nil, err
	}
	if err := c.wires.Add(w, func() { c.watchers.Go(func() { c.watch(w) }) }); err != nil {
		w.conn.Close()
		return nil, err
	}
	return w, nil
}

// watch ends c when w has ended by itself.
func (c *Conn) watch(w *wire) {
	<-w.conn.Done()
	if !c.wires.Forget(w) {
		return
	}
	cause := w.conn.Err()
	if cause == nil {
		cause = broker.ErrClosed
	} else {
		cause = fmt.Errorf("amqp1: %w", cause)
	}
	for _, other := range c.wires.End(cause) {
		other.net.fail(cause)
	}
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.wires.Done() }

// Err is why the connection ended; see broker.Conn.
func (c *Conn) Err() error { return c.wires.Err() }

// Close says goodbye to the broker, for no longer than ctx allows and 5 s, so that
// it has read the acknowledgements, and ends everything.
func (c *Conn) Close(ctx context.Context) error {
	c.wires.Close(func(w *wire) { w.close(ctx) })
	c.watchers.Wait()
	return nil
}

// Subscribe begins to receive on a network connection of its own. A durable
// subscription of a topic is known to the broker by its container id, which is made
// of Group and topic. Artemis lets several subscribers share it; Classic refuses a
// second one while the first is there.
func (c *Conn) Subscribe(ctx context.Context, sub broker.Subscription) (broker.Receiver, error) {
	container, err := jmsbroker.Client(&sub)
	if err != nil {
		return nil, fmt.Errorf("amqp1: subscribe to %q: %w", sub.Destination, err)
	}
	w, err := c.open(ctx, container)
	if err != nil {
		return nil, fmt.Errorf("amqp1: subscribe to %q: %w", sub.Destination, err)
	}
	r := &Receiver{conn: c, wire: w, subscription: sub}
	if err := r.attach(ctx); err != nil {
		c.wires.Forget(w)
		w.conn.Close()
		return nil, fmt.Errorf("amqp1: subscribe to %q: %w", sub.Destination, err)
	}
	return r, nil
}

// Kind is the kind of the broker at the other end, or AnyKind for any other.
func (c *Conn) Kind() Kind { return c.publisher.kind }
