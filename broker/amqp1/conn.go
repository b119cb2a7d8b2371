package amqp1

import (
	"context"
	"fmt"
	"sync"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/bundle"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// conn is one connection to a broker: a network connection for publishing, and one for
// each receiver. When the first of them breaks, all end; any other one is a subscription's
// own, which ends with it alone. Acknowledgements have network
// connections of their own because a broker that is short of memory stops reading from
// those that publish: the acknowledgements would wait with the messages, and never free
// any memory. A durable subscription needs one in any case, since its container id belongs to
// it.
type conn struct {
	broker    *Broker
	sockets   *bundle.Of[*socket]
	publisher *socket
	links     links
	watchers  sync.WaitGroup // a goroutine for each of sockets
}

var _ broker.Conn = (*conn)(nil)

// open adds a network connection to c: first the one that publishes, then those of subscriptions.
func (c *conn) open(ctx context.Context, container string) (*socket, error) {
	s, err := c.broker.dial(ctx, container)
	if err != nil {
		return nil, err
	}
	publishes := c.publisher == nil
	if err := c.sockets.Add(s, func() { c.watchers.Go(func() { c.watch(s, publishes) }) }); err != nil {
		s.conn.Close()
		return nil, err
	}
	return s, nil
}

// watch waits for the end of s, and ends c when s has ended by itself and is the one that
// publishes.
func (c *conn) watch(s *socket, publishes bool) {
	<-s.conn.Done()
	if !c.sockets.Forget(s) || !publishes {
		return
	}
	cause := s.failure()
	for _, other := range c.sockets.End(cause) {
		other.buffered.fail(cause)
	}
}

// Done is closed when the connection has ended.
func (c *conn) Done() <-chan struct{} { return c.sockets.Done() }

// Err is why the connection ended; see broker.Conn.
func (c *conn) Err() error { return c.sockets.Err() }

// Close ends everything, but waits, for no longer than ctx allows and 5 s, until the
// broker has read the acknowledgements.
func (c *conn) Close(ctx context.Context) error {
	c.sockets.Close(func(s *socket) { s.close(ctx) })
	c.watchers.Wait()
	return nil
}

// Subscribe begins to receive on a network connection of its own. The broker knows a
// durable subscription of a topic by its container id, which is made of Group and topic.
// Artemis lets several subscribers share it; Classic refuses a second one while the first
// is there.
func (c *conn) Subscribe(ctx context.Context, sub broker.Subscription) (broker.Receiver, error) {
	if err := jmsbroker.CheckSubscription(&sub); err != nil {
		return nil, fmt.Errorf("amqp1: subscribe to %q: %w", sub.Destination, err)
	}
	s, err := c.open(ctx, jmsbroker.ClientID(&sub))
	if err != nil {
		return nil, fmt.Errorf("amqp1: subscribe to %q: %w", sub.Destination, err)
	}
	r := &receiver{conn: c, socket: s, subscription: sub}
	if err := r.attach(ctx); err != nil {
		c.sockets.Forget(s)
		s.conn.Close()
		return nil, fmt.Errorf("amqp1: subscribe to %q: %w", sub.Destination, err)
	}
	return r, nil
}

// Kind is the kind of the broker at the other end.
func (c *conn) Kind() jmsbroker.Kind { return c.publisher.kind }

// Protocol is what the connection speaks.
func (c *conn) Protocol() jmsbroker.Protocol { return jmsbroker.AMQP }
