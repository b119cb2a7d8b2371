package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/waybill-go/waybill/broker"
)

// Conn is one connection to a broker: a network connection for publishing and, once
// somebody subscribes, another for receiving. When one of them breaks, both end.
type Conn struct {
	broker    *Broker
	publisher *link
	done      chan struct{}
	running   sync.WaitGroup // everything that start has started

	idle  chan *outlet  // publishing channels that nobody uses now
	fresh chan struct{} // how many more may be opened

	joining  chan struct{} // held by who opens consumer
	consumer *link         // guarded by joining to open, by mu to read

	// declaring lets one declaration at a time through: RabbitMQ may answer two of the
	// same quorum queue with an internal error, and end the connection.
	declaring sync.Mutex

	mu        sync.Mutex
	err       error
	receivers map[*Receiver]struct{}
	declared  map[string]*declaration
}

var _ broker.Conn = (*Conn)(nil)

func newConn(b *Broker) *Conn {
	c := &Conn{
		broker: b, done: make(chan struct{}),
		idle: make(chan *outlet, maxOutlets), fresh: make(chan struct{}, maxOutlets),
		joining:   make(chan struct{}, 1),
		receivers: map[*Receiver]struct{}{}, declared: map[string]*declaration{},
	}
	for range maxOutlets {
		c.fresh <- struct{}{}
	}
	return c
}

// start runs f in a goroutine that Close waits for, unless c has ended.
func (c *Conn) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.running.Go(f)
	return true
}

// watch ends c when l does.
func (c *Conn) watch(l *link) bool {
	return c.start(func() { l.watch(c.end) })
}

// end ends c for the reason err, once.
func (c *Conn) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	close(c.done)
	links := c.links()
	c.mu.Unlock()
	for _, l := range links {
		l.wire.kill()
	}
}

// links are the network connections; c.mu is held.
func (c *Conn) links() []*link {
	if c.consumer == nil {
		return []*link{c.publisher}
	}
	return []*link{c.publisher, c.consumer}
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
	first := c.err == nil
	var receivers []*Receiver
	if first {
		c.err = broker.ErrClosed
		close(c.done)
		for r := range c.receivers {
			receivers = append(receivers, r)
		}
	}
	links := c.links()
	c.mu.Unlock()

	polite, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stop := context.AfterFunc(polite, func() {
		for _, l := range links {
			l.wire.kill()
		}
	})
	defer stop()
	if first {
		// A channel that is closed has its acknowledgements behind it; a connection's
		// end overtakes them in the broker.
		each(receivers, (*Receiver).leave)
		deadline, _ := polite.Deadline()
		each(links, func(l *link) { l.close(deadline) })
	}
	c.running.Wait()
	return nil
}

// each does f with every item at once, and waits for all.
func each[T any](items []T, f func(T)) {
	var group sync.WaitGroup
	for _, item := range items {
		group.Go(func() { f(item) })
	}
	group.Wait()
}

// answer is what came of a conversation with the broker.
type answer[T any] struct {
	value T
	err   error
}

// within runs f, which talks with the broker and knows no context, for no longer
// than ctx allows. What f brings later is given to late, which must not wait.
func within[T any](ctx context.Context, c *Conn, f func() (T, error), late func(T)) (T, error) {
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

// join returns the network connection for receiving, which is opened by the first
// who asks.
func (c *Conn) join(ctx context.Context) (*link, error) {
	select {
	case c.joining <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.done:
		return nil, c.Err()
	}
	defer func() { <-c.joining }()
	if c.consumer != nil {
		return c.consumer, c.Err()
	}
	l, err := c.broker.open(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	ended := c.err
	if ended == nil {
		c.consumer = l
	}
	c.mu.Unlock()
	if ended != nil || !c.watch(l) {
		l.wire.kill()
		<-l.wire.done
		return nil, c.Err()
	}
	return l, nil
}

// Subscribe begins to receive, on a channel of its own. See broker.Conn. RabbitMQ
// counts to 65,535 at most; a greater Prefetch is that.
func (c *Conn) Subscribe(ctx context.Context, sub broker.Subscription) (broker.Receiver, error) {
	if sub.Prefetch <= 0 {
		return nil, fmt.Errorf("rabbitmq: subscribe to %q: Prefetch is %d", sub.Destination, sub.Prefetch)
	}
	if sub.Topic && sub.Group == "" {
		return nil, fmt.Errorf("rabbitmq: subscribe to the topic %q: a topic needs a Group", sub.Destination)
	}
	l, err := c.join(ctx)
	if err == nil {
		// RabbitMQ may leave a call to a quorum queue unanswered while that has no leader.
		limited, cancel := context.WithTimeoutCause(ctx, answerTime, errNoAnswer)
		defer cancel()
		var r *Receiver
		r, err = within(limited, c, func() (*Receiver, error) { return c.subscribe(l, sub) }, (*Receiver).abandon)
		if err == nil {
			return r, nil
		}
	}
	return nil, fmt.Errorf("rabbitmq: subscribe to %q: %w", sub.Destination, err)
}

// forget removes a receiver. It reports whether c had it.
func (c *Conn) forget(r *Receiver) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.receivers[r]
	delete(c.receivers, r)
	return ok
}

// add adds a receiver, unless c has ended.
func (c *Conn) add(r *Receiver) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.receivers[r] = struct{}{}
	return nil
}

// answerTime bounds a subscription's conversation with the broker.
const answerTime = 15 * time.Second

var errNoAnswer = fmt.Errorf("the broker did not answer in %v; a quorum queue may have no leader yet", answerTime)

// errUnknown is the reason for a fate that nobody told us.
var errUnknown = errors.New("rabbitmq: the message's fate is unknown")
