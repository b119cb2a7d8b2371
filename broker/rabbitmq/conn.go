package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/recent"
)

// conn is one connection to a broker: a network connection for publishing and, from the
// first Subscribe on, another for receiving, or as many as it takes to have a channel for
// each subscription. When one of them breaks, all end. Receiving has its own because
// RabbitMQ, when it is short of memory, stops reading from those that publish:
// acknowledgements would wait with the messages.
type conn struct {
	broker    *Broker
	publisher *socket
	done      chan struct{}
	running   sync.WaitGroup // everything that start has started

	idle  chan *publisherChannel // those that nobody uses now
	fresh chan struct{}          // one item for each that may still be opened

	opening   chan struct{} // held by whoever adds to consumers
	consumers []*socket     // written with opening and mu held, read with either

	// declaring is held during a declaration: RabbitMQ may answer two declarations of one
	// quorum queue at the same time with an internal error, and end the connection.
	declaring sync.Mutex

	mu        sync.Mutex
	err       error
	receivers map[*receiver]struct{}
	declared  recent.Map[string, *declaration]
}

var _ broker.Conn = (*conn)(nil)

// newConn returns a conn without network connections.
func newConn(b *Broker) *conn {
	c := &conn{
		broker: b, done: make(chan struct{}),
		idle: make(chan *publisherChannel, maxPublisherChannels), fresh: make(chan struct{}, maxPublisherChannels),
		opening:   make(chan struct{}, 1),
		receivers: map[*receiver]struct{}{}, declared: recent.Map[string, *declaration]{Most: maxDeclared},
	}
	return c
}

// start runs f in a goroutine that Close waits for. Where c has ended, it does not, and
// reports false.
func (c *conn) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.running.Go(f)
	return true
}

// watch ends c when s ends. It reports false where c has ended already.
func (c *conn) watch(s *socket) bool {
	return c.start(func() { s.watch(c.end) })
}

// end ends c for the reason err, once.
func (c *conn) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	close(c.done)
	sockets := c.sockets()
	c.mu.Unlock()
	for _, s := range sockets {
		s.conn.kill()
	}
}

// sockets are the network connections. It needs c.mu.
func (c *conn) sockets() []*socket {
	return append([]*socket{c.publisher}, c.consumers...)
}

// Done is closed when the connection has ended.
func (c *conn) Done() <-chan struct{} { return c.done }

// Err is why the connection ended; see broker.Conn.
func (c *conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends everything, but waits, for no longer than ctx allows and 5 s, until the
// broker has read the acknowledgements.
func (c *conn) Close(ctx context.Context) error {
	c.mu.Lock()
	first := c.err == nil
	var receivers []*receiver
	if first {
		c.err = broker.ErrClosed
		close(c.done)
		for r := range c.receivers {
			receivers = append(receivers, r)
		}
	}
	sockets := c.sockets()
	c.mu.Unlock()

	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stop := context.AfterFunc(limited, func() {
		for _, s := range sockets {
			s.conn.kill()
		}
	})
	defer stop()
	if first {
		// The broker reads the acknowledgements on a channel before it answers the
		// channel's end; the end of a connection overtakes them.
		each(receivers, (*receiver).leave)
		deadline, _ := limited.Deadline()
		each(sockets, func(s *socket) { s.close(deadline) })
	}
	c.running.Wait()
	return nil
}

// each calls f with all items at the same time, and waits for the calls to return.
func each[T any](items []T, f func(T)) {
	var group sync.WaitGroup
	for _, item := range items {
		group.Go(func() { f(item) })
	}
	group.Wait()
}

// answer is the result of a conversation with the broker.
type answer[T any] struct {
	value T
	err   error
}

// within calls f, which talks with the broker and takes no context, and waits for no
// longer than ctx allows. What f returns later is passed to late, which must not wait.
func within[T any](ctx context.Context, c *conn, f func() (T, error), late func(T)) (T, error) {
	var none T
	answers := make(chan answer[T])
	if !c.start(func() {
		value, err := f()
		select {
		case answers <- answer[T]{value, err}:
		case <-ctx.Done():
			if err == nil {
				late(value)
			}
		}
	}) {
		return none, c.Err()
	}
	select {
	case a := <-answers:
		if ended := c.Err(); a.err != nil && ended != nil {
			return none, ended // the reason, where the library knows only that it is closed
		}
		return a.value, a.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

// consumerSocket returns a network connection for receiving by its number, or opens one more.
func (c *conn) consumerSocket(ctx context.Context, number int) (*socket, error) {
	select {
	case c.opening <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.done:
		return nil, c.Err()
	}
	defer func() { <-c.opening }()
	if number < len(c.consumers) {
		return c.consumers[number], c.Err()
	}
	s, err := c.broker.open(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	ended := c.err
	if ended == nil {
		c.consumers = append(c.consumers, s)
	}
	c.mu.Unlock()
	if ended != nil || !c.watch(s) {
		s.conn.kill()
		<-s.conn.done
		return nil, c.Err()
	}
	return s, nil
}

// Subscribe begins to receive, on a channel of its own. See broker.Conn. The protocol has
// room for a Prefetch of 65,535; a greater one is taken for that.
func (c *conn) Subscribe(ctx context.Context, sub broker.Subscription) (broker.Receiver, error) {
	if sub.Prefetch <= 0 {
		return nil, fmt.Errorf("rabbitmq: subscribe to %q: Prefetch is %d", sub.Destination, sub.Prefetch)
	}
	if sub.Topic && sub.Group == "" {
		return nil, fmt.Errorf("rabbitmq: subscribe to the topic %q: a topic needs a Group", sub.Destination)
	}
	for number := 0; ; number++ {
		s, err := c.consumerSocket(ctx, number)
		if err == nil {
			var r *receiver
			if r, err = c.subscribeOn(ctx, s, sub); err == nil {
				return r, nil
			}
		}
		// A network connection without a channel to spare says so at once.
		if !errors.Is(err, amqp.ErrChannelMax) {
			return nil, fmt.Errorf("rabbitmq: subscribe to %q: %w", sub.Destination, err)
		}
	}
}

// subscribeOn subscribes through one network connection.
func (c *conn) subscribeOn(ctx context.Context, s *socket, sub broker.Subscription) (*receiver, error) {
	// While a quorum queue has no leader, RabbitMQ may not answer a call about it.
	limited, cancel := context.WithTimeoutCause(ctx, answerTime, errNoAnswer)
	defer cancel()
	return within(limited, c, func() (*receiver, error) { return c.subscribe(limited, s, sub) }, (*receiver).abandon)
}

// forget removes a receiver, and reports whether it was there.
func (c *conn) forget(r *receiver) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.receivers[r]
	delete(c.receivers, r)
	return ok
}

// add adds a receiver, unless c has ended.
func (c *conn) add(r *receiver) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.receivers[r] = struct{}{}
	return nil
}

// answerTime bounds the conversation with the broker about a subscription.
const answerTime = 15 * time.Second

var errNoAnswer = fmt.Errorf("the broker did not answer in %v; a quorum queue may have no leader yet", answerTime)

// errUnknown is the reason of a fate that the broker did not tell.
var errUnknown = errors.New("rabbitmq: the message's fate is unknown")
