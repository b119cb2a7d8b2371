package stomp

import (
	"context"
	"fmt"

	"github.com/go-stomp/stomp/v3/frame"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/bundle"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// conn is one connection to a broker: a network connection for publishing, and one for
// each receiver. When the first of them breaks, all end; any other one is a subscription's
// own, which ends with it alone. Acknowledgements have network
// connections of their own because a broker that is short of memory stops reading from
// those that publish: the acknowledgements would wait with the messages, and never free
// any memory. A durable subscription needs one in any case, since its client id belongs to
// it.
type conn struct {
	broker    *Broker
	sockets   *bundle.Of[*socket]
	publisher *socket
}

var _ broker.Conn = (*conn)(nil)

// open adds a network connection to c: the one that publishes, with neither a client id nor
// a function for messages, or that of a subscription.
func (c *conn) open(ctx context.Context, client string, message func(*frame.Frame)) (*socket, error) {
	s, err := c.broker.handshake(ctx, client)
	if err != nil {
		return nil, err
	}
	s.message = message
	s.ended = func(err error) { c.ended(s, err) }
	if c.publisher != nil {
		s.ended = func(error) { c.sockets.Forget(s) }
	}
	if err := c.sockets.Add(s, s.start); err != nil {
		s.conn.Close()
		return nil, err
	}
	return s, nil
}

// ended ends c when the connection that publishes has ended by itself, for the reason err.
func (c *conn) ended(s *socket, err error) {
	if !c.sockets.Forget(s) {
		return
	}
	for _, other := range c.sockets.End(err) {
		other.fail(err)
	}
}

// Done is closed when the connection has ended.
func (c *conn) Done() <-chan struct{} { return c.sockets.Done() }

// Err is why the connection ended; see broker.Conn.
func (c *conn) Err() error { return c.sockets.Err() }

// Close ends everything, but waits, for no longer than ctx allows and 5 s, until the
// broker has read the acknowledgements.
func (c *conn) Close(ctx context.Context) error {
	c.sockets.Close(func(s *socket) {
		s.close(ctx)
		s.running.Wait()
	})
	c.publisher.running.Wait()
	return nil
}

// Subscribe begins to receive on a network connection of its own. The broker knows a
// durable subscription of a topic by its client id, which is made of Group and topic: it
// refuses a second subscriber with the same ones while the first is there.
func (c *conn) Subscribe(ctx context.Context, sub broker.Subscription) (broker.Receiver, error) {
	if err := jmsbroker.CheckSubscription(&sub); err != nil {
		return nil, fmt.Errorf("stomp: subscribe to %q: %w", sub.Destination, err)
	}
	r := &receiver{conn: c, subscription: sub, wake: make(chan struct{}, 1)}
	s, err := c.open(ctx, jmsbroker.ClientID(&sub), r.arrived)
	if err != nil {
		return nil, fmt.Errorf("stomp: subscribe to %q: %w", sub.Destination, err)
	}
	r.socket = s
	if err := r.subscribe(ctx, subscriptionID, sub.FirstWindow()); err != nil {
		c.sockets.Forget(s)
		s.fail(err)
		s.running.Wait()
		return nil, fmt.Errorf("stomp: subscribe to %q: %w", sub.Destination, err)
	}
	return r, nil
}

// Kind is the kind of the broker at the other end.
func (c *conn) Kind() jmsbroker.Kind { return c.publisher.kind }

// Protocol is what the connection speaks.
func (c *conn) Protocol() jmsbroker.Protocol { return jmsbroker.STOMP }
