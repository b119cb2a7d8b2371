package stomp

import (
	"context"
	"fmt"
	"sync"

	"github.com/go-stomp/stomp/v3/frame"

	"github.com/waybill-go/waybill/broker"
)

// Conn is one connection to a broker: a network connection for publishing, and one
// for each Receiver. When one of them breaks, all end.
type Conn struct {
	broker    *Broker
	publisher *socket
	done      chan struct{}

	mu      sync.Mutex
	err     error
	sockets map[*socket]struct{}
}

var _ broker.Conn = (*Conn)(nil)

// open adds a network connection to c.
func (c *Conn) open(ctx context.Context, client string, message func(*frame.Frame)) (*socket, error) {
	s, err := c.broker.handshake(ctx, client)
	if err != nil {
		return nil, err
	}
	s.message = message
	s.ended = func(err error) {
		if c.forget(s) {
			c.end(err)
		}
	}
	c.mu.Lock()
	err = c.err
	if err == nil {
		c.sockets[s] = struct{}{}
	}
	c.mu.Unlock()
	if err != nil {
		s.conn.Close()
		return nil, err
	}
	s.start()
	return s, nil
}

// forget removes a socket, whose end then is no longer the end of c. It reports
// whether c had it.
func (c *Conn) forget(s *socket) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.sockets[s]
	delete(c.sockets, s)
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
	left := c.sockets
	c.sockets = map[*socket]struct{}{}
	close(c.done)
	c.mu.Unlock()
	for s := range left {
		s.fail(err)
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
	open := c.sockets
	c.sockets = map[*socket]struct{}{}
	c.mu.Unlock()
	var closing sync.WaitGroup
	for s := range open {
		closing.Go(func() {
			s.close(ctx)
			s.running.Wait()
		})
	}
	closing.Wait()
	c.publisher.running.Wait()
	return nil
}

// Subscribe begins to receive on a network connection of its own. A durable
// subscription of a topic is known to the broker by its client id, which is made
// of Group and topic: a second subscriber with both the same is refused while the
// first is there.
func (c *Conn) Subscribe(ctx context.Context, sub broker.Subscription) (broker.Receiver, error) {
	if sub.Prefetch <= 0 {
		return nil, fmt.Errorf("stomp: subscribe to %q: Prefetch is %d", sub.Destination, sub.Prefetch)
	}
	if sub.Topic && sub.Group == "" {
		return nil, fmt.Errorf("stomp: subscribe to the topic %q: a topic needs a Group", sub.Destination)
	}
	r := &Receiver{conn: c, subscription: sub, wake: make(chan struct{}, 1)}
	client := ""
	if sub.Topic {
		client = sub.Group + "/" + sub.Destination
	}
	s, err := c.open(ctx, client, r.arrived)
	if err != nil {
		return nil, fmt.Errorf("stomp: subscribe to %q: %w", sub.Destination, err)
	}
	r.socket = s
	if err := r.subscribe(ctx); err != nil {
		c.forget(s)
		s.fail(err)
		s.running.Wait()
		return nil, fmt.Errorf("stomp: subscribe to %q: %w", sub.Destination, err)
	}
	return r, nil
}

// Kind is the kind of the broker at the other end, or AnyKind where it does not say.
func (c *Conn) Kind() Kind { return c.publisher.kind }
