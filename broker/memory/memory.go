// Package memory is a broker in the memory of one process, for tests and examples. Call
// New and give the Broker to relays and inboxes:
//
//	b := memory.New(nil)
//
// It keeps queues and topics for as long as the process lives, and can be told to fail:
// SetFaults has it lose, repeat, reorder, delay, refuse or leave in doubt a share of the
// messages; Break cuts the connections; Down and Up stop and start it; Hold has it hang
// until Release; Wipe loses all that it keeps. Depth, DeadLetters and Stats tell what it
// has and what the faults did. All of them may be called at any time. The same Seed and
// the same calls in the same order give the same faults.
//
// It starts no goroutines.
package memory

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/option"
)

// Options configure a Broker; nil and the zero value hold the defaults.
type Options struct {
	// Seed makes the faults repeatable. Default 1.
	Seed uint64
	// MaxMessage is the greatest body in bytes; a larger one is Unacceptable.
	// Default 0: no limit.
	MaxMessage int
	// MaxDepth is the greatest number of messages that one queue, or one group of a
	// topic, holds; what comes beyond it is Refused. Default 0: no limit.
	MaxDepth int
	// NoCreate refuses messages to queues that nobody has subscribed to and that
	// Declare has not made. Default: a queue is made with its first message.
	NoCreate bool
}

// Broker is a broker in memory. It is safe for concurrent use.
type Broker struct {
	options Options
	faults  atomic.Pointer[[]Fault]
	stats   stats
	diceMu  sync.Mutex
	dice    *rand.Rand

	// mu guards the fields below. It is taken before the lock of a queue.
	mu     sync.RWMutex
	queues map[string]*queue
	topics map[string]map[string]*queue // by name and group
	conns  map[*conn]struct{}
	down   bool
	gate   chan struct{} // closed by Release; nil but during a Hold
}

var _ broker.Broker = (*Broker)(nil)

// New returns a broker without queues.
func New(o *Options) *Broker {
	b := &Broker{
		options: *option.Copy(o),
		queues:  map[string]*queue{},
		topics:  map[string]map[string]*queue{},
		conns:   map[*conn]struct{}{},
	}
	option.SetDefault(&b.options.Seed, 1)
	b.dice = rand.New(rand.NewPCG(b.options.Seed, 0x776179))
	return b
}

// Capabilities declares everything that a broker can do; Persistent holds from Down to Up,
// and not beyond the end of the process.
func (b *Broker) Capabilities() broker.Capabilities {
	return broker.Capabilities{
		Name:         "memory",
		Persistent:   true,
		Ordered:      true,
		Topics:       true,
		SharedTopics: true,
		Requeue:      true,
		DeadLetter:   true,
		MaxMessage:   b.options.MaxMessage,
		MustExist:    true,
		Unroutable:   b.options.NoCreate,
		Identity:     true,
	}
}

// errDown is what Connect returns between Down and Up.
var errDown = errors.New("waybill: the memory broker is down; it comes back with Up")

// Connect opens a connection, at once. Between Down and Up it is an error; during a Hold
// it waits for Release.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	if err := b.wait(ctx, nil); err != nil {
		return nil, fmt.Errorf("connect to the memory broker: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return nil, errDown
	}
	c := &conn{b: b, done: make(chan struct{}), receivers: map[*receiver]struct{}{}}
	b.conns[c] = struct{}{}
	return c, nil
}

// wait returns at once, or during a Hold when the broker is released, ctx ends or done is
// closed. Its error is the context's.
func (b *Broker) wait(ctx context.Context, done <-chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for {
		b.mu.RLock()
		gate := b.gate
		b.mu.RUnlock()
		if gate == nil {
			return nil
		}
		select {
		case <-gate:
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// queue returns the queue with this name, made on demand; nil where it does not
// exist and create is false.
func (b *Broker) queue(name string, create bool) *queue {
	b.mu.RLock()
	q := b.queues[name]
	b.mu.RUnlock()
	if q != nil || !create {
		return q
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if q = b.queues[name]; q == nil {
		q = newQueue(b, name)
		b.queues[name] = q
	}
	return q
}

// group returns the queue of one group of a topic, made on demand.
func (b *Broker) group(topic, group string) *queue {
	b.mu.Lock()
	defer b.mu.Unlock()
	groups := b.topics[topic]
	if groups == nil {
		groups = map[string]*queue{}
		b.topics[topic] = groups
	}
	q := groups[group]
	if q == nil {
		q = newQueue(b, topic)
		groups[group] = q
	}
	return q
}

// targets appends to qs the queues that a message goes to. ok is false where it
// names a queue that does not exist and is not to be made.
func (b *Broker) targets(qs []*queue, m *broker.Message) (_ []*queue, ok bool) {
	if !m.Topic {
		q := b.queue(m.Destination, !b.options.NoCreate && !m.MustExist)
		if q == nil {
			return qs, false
		}
		return append(qs, q), true
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, q := range b.topics[m.Destination] {
		qs = append(qs, q)
	}
	return qs, true
}
