package stomp

import (
	"context"
	"fmt"

	"github.com/go-stomp/stomp/v3/frame"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/bundle"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// Conn is one connection to a broker: a network connection for publishing, and one
// for each Receiver. When one of them breaks, all end.
type Conn struct {
	broker    *Broker
	sockets   *bundle.Of[*socket]
	publisher *socket
}

var _ broker.Conn = (*Conn)(nil)

// open adds a network connection to c.
func (c *Conn) open(ctx context.Context, client string, message func(*frame.Frame)) (*socket, error) {
	s, err := c.broker.handshake(ctx, client)
	if err != nil {
		return nil, err
	}
	s.message = message
	s.ended = func(err error) { c.ended(s, err) }
	if err := c.sockets.Add(s, s.start); err != nil {
		s.conn.Close()
		return nil, err
	}
	return s, nil
}

// ended ends c when s has ended by itself, for the reason err.
func (c *Conn) ended(s *socket, err error) {
	if !c.sockets.Forget(s) {
		return
	}
	for _, other := range c.sockets.End(err) {
		other.fail(err)
	}
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.sockets.Done() }

// Err is why the connection ended; see broker.Conn.
func (c *Conn) Err() error { return c.sockets.Err() }

// Close says goodbye to the broker, for no longer than ctx allows and 5 s, so that
// it has read the acknowledgements, and ends everything.
func (c *Conn) Close(ctx context.Context) error {
	c.sockets.Close(func(s *socket) {
		s.close(ctx)
		s.running.Wait()
	})
	c.publisher.running.Wait()
	return nil
}

// Subscribe begins to receive on a network connection of its own. A durable
// subscription of a topic is known to the broker by its client id, which is made
// of Group and topic: a second subscriber with both the same is refused while the
// first is there.
func (c *Conn) Subscribe(ctx context.Context, sub broker.Subscription) (broker.Receiver, error) {
	client, err := jmsbroker.Client(&sub)
	if err != nil {
		return nil, fmt.Errorf("stomp: subscribe to %q: %w", sub.Destination, err)
	}
	r := &Receiver{conn: c, subscription: sub, wake: make(chan struct{}, 1)}
	s, err := c.open(ctx, client, r.arrived)
	if err != nil {
		return nil, fmt.Errorf("stomp: subscribe to %q: %w", sub.Destination, err)
	}
	r.socket = s
	if err := r.subscribe(ctx); err != nil {
		c.sockets.Forget(s)
		s.fail(err)
		s.running.Wait()
		return nil, fmt.Errorf("stomp: subscribe to %q: %w", sub.Destination, err)
	}
	return r, nil
}

// Kind is the kind of the broker at the other end, or AnyKind where it does not say.
func (c *Conn) Kind() Kind { return c.publisher.kind }
