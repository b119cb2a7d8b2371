// Package memory is a broker in the memory of one process: the reference for what
// an adapter does, the broker of tests, and the one that can be told to fail.
//
// It keeps queues and topics, and forgets them with the process. Its controls may
// be used at any time while connections work: SetFaults makes it lose, repeat,
// reorder and delay messages while it confirms them all the same, as brokers do;
// Break cuts the connections, Down and Up take it away and bring it back, Hold
// makes it hang, and Wipe loses everything it keeps. Stats counts what the faults
// did. The same Seed and the same sequence of calls give the same faults.
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
)

// Options are the settings of a Broker. The zero value has every default.
type Options struct {
	// Seed makes the faults repeatable. Default 1.
	Seed uint64
	// MaxMessage is the greatest body in bytes; a larger one is Unacceptable.
	// Default 0, no limit.
	MaxMessage int
	// MaxDepth is the greatest number of messages that one queue, or one group of a
	// topic, holds; what comes beyond it is Refused. Default 0, no limit.
	MaxDepth int
	// NoCreate refuses messages to queues that nobody has subscribed to or named to
	// Declare. By default a queue is made on demand.
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
	gate   chan struct{} // closed by Release; nil where nothing is held
}

var _ broker.Broker = (*Broker)(nil)

// New makes an empty broker. Nil options mean the defaults.
func New(options *Options) *Broker {
	b := &Broker{
		queues: map[string]*queue{},
		topics: map[string]map[string]*queue{},
		conns:  map[*conn]struct{}{},
	}
	if options != nil {
		b.options = *options
	}
	if b.options.Seed == 0 {
		b.options.Seed = 1
	}
	b.dice = rand.New(rand.NewPCG(b.options.Seed, 0x776179))
	return b
}

// Capabilities says that this broker can do everything, for as long as its
// process lives.
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
		Unroutable:   b.options.NoCreate,
	}
}

// errDown is what a caller gets from a broker that is Down.
var errDown = errors.New("waybill: the memory broker is down; it comes back with Up")

// Connect opens a connection, at once, unless the broker is Down.
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

// wait returns at once, or while the broker is held when ctx or done ends.
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
// names a queue that does not exist.
func (b *Broker) targets(qs []*queue, destination string, topic bool) (_ []*queue, ok bool) {
	if !topic {
		q := b.queue(destination, !b.options.NoCreate)
		if q == nil {
			return qs, false
		}
		return append(qs, q), true
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, q := range b.topics[destination] {
		qs = append(qs, q)
	}
	return qs, true
}
