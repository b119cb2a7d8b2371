package memory

import (
	"errors"
	"sync/atomic"

	"github.com/waybill-go/waybill/broker"
)

// errBroken is why a connection ends that Break has cut.
var errBroken = errors.New("waybill: the connection to the memory broker broke")

// Break cuts every connection. What was received and not settled comes again. New
// connections can be opened at once.
func (b *Broker) Break() {
	for _, c := range b.connections() {
		if c.end(errBroken) {
			b.stats.broken.Add(1)
		}
	}
}

// Down stops the broker: it cuts every connection, lets no new one in and loses
// the messages that were published Transient, as a broker does that is stopped.
func (b *Broker) Down() {
	b.mu.Lock()
	b.down = true
	b.mu.Unlock()
	b.Break()
	for _, q := range b.all() {
		b.stats.wiped.Add(int64(q.lose(func(it *item) bool { return it.transient })))
	}
}

// Up starts the broker again after Down, with the durable messages that it had.
func (b *Broker) Up() {
	b.mu.Lock()
	b.down = false
	b.mu.Unlock()
}

// Hold makes the broker hang: connections stay, and calls on them, and of Connect, wait
// until Release or the end of their contexts.
func (b *Broker) Hold() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gate == nil {
		b.gate = make(chan struct{})
	}
}

// Release ends a Hold.
func (b *Broker) Release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gate != nil {
		close(b.gate)
		b.gate = nil
	}
}

// Wipe loses every message that the broker keeps, also those that are received
// and not settled, and returns how many. Connections and subscriptions stay.
func (b *Broker) Wipe() int {
	lost := 0
	for _, q := range b.all() {
		lost += q.lose(func(*item) bool { return true })
	}
	b.stats.wiped.Add(int64(lost))
	return lost
}

// Declare makes queues, for a broker with NoCreate.
func (b *Broker) Declare(queues ...string) {
	for _, name := range queues {
		b.queue(name, true)
	}
}

// Depth counts the messages that a queue keeps, with those that are received and
// not settled.
func (b *Broker) Depth(name string) int {
	q := b.queue(name, false)
	if q == nil {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.depth()
}

// DeadLetters returns copies of the messages of a queue that were settled with
// DeadLetter.
func (b *Broker) DeadLetters(name string) []broker.Message {
	q := b.queue(name, false)
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	var copies slab
	messages := make([]broker.Message, len(q.dead))
	for i, it := range q.dead {
		messages[i] = it.message
		copies.own(&messages[i])
	}
	return messages
}

// connections are those that are open.
func (b *Broker) connections() []*conn {
	b.mu.RLock()
	defer b.mu.RUnlock()
	conns := make([]*conn, 0, len(b.conns))
	for c := range b.conns {
		conns = append(conns, c)
	}
	return conns
}

// all are the queues and the groups of the topics.
func (b *Broker) all() []*queue {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var queues []*queue
	for _, q := range b.queues {
		queues = append(queues, q)
	}
	for _, groups := range b.topics {
		for _, q := range groups {
			queues = append(queues, q)
		}
	}
	return queues
}

// Stats counts what has happened since the broker was made.
type Stats struct {
	Published int64 // messages given to Publish, whatever became of them; without those that NoCreate refused
	Delivered int64 // messages that Receive returned, each time that it did
	Settled   int64 // messages that were settled, with any Disposition

	Lost      int64 // not kept, by Fault.Lose
	Repeated  int64 // kept twice
	Reordered int64
	Delayed   int64
	Doubted   int64 // kept and reported Unknown
	Refused   int64 // by Fault.Refuse; those over MaxDepth are not counted
	Broken    int64 // connections cut by Break and Down
	Wiped     int64 // messages lost by Wipe and Down
}

// stats are the counters behind Stats.
type stats struct {
	published, delivered, settled                        atomic.Int64
	lost, repeated, reordered, delayed, doubted, refused atomic.Int64
	broken, wiped                                        atomic.Int64
}

// Stats returns the counts so far. Each is exact; they are not read at one instant.
func (b *Broker) Stats() Stats {
	s := &b.stats
	return Stats{
		Published: s.published.Load(), Delivered: s.delivered.Load(), Settled: s.settled.Load(),
		Lost: s.lost.Load(), Repeated: s.repeated.Load(), Reordered: s.reordered.Load(),
		Delayed: s.delayed.Load(), Doubted: s.doubted.Load(), Refused: s.refused.Load(),
		Broken: s.broken.Load(), Wiped: s.wiped.Load(),
	}
}
