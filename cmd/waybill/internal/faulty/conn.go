package faulty

import (
	"context"
	"slices"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// conn is a connection of the other broker's, with faults where it publishes.
type conn struct {
	broker.Conn
	b *Broker

	mu     sync.Mutex
	held   map[*time.Timer]string // the destinations of the messages that are held back
	busy   sync.WaitGroup         // messages that are held back or being passed on
	closed bool
}

// passing is a message that goes on to the other broker.
type passing struct {
	from    int // its place in the caller's batch
	message broker.Message
	swap    bool
}

// shortly is for how long the last message of a batch is held back, to change places with
// the next batch's first.
const shortly = 20 * time.Millisecond

// lateTimeout bounds the publishing of a message that was held back.
const lateTimeout = 10 * time.Second

// Publish passes messages on, as far as no fault is in the way. What is lost or
// held back is Confirmed with the rest, and Unknown where the connection broke.
func (c *conn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	results := make([]broker.Result, len(messages))
	out := make([]passing, 0, len(messages)+4)
	for i, m := range messages {
		f := c.b.decide(m.Destination)
		results[i].Fate = broker.Confirmed
		switch {
		case f.lose:
			c.b.count(m.Destination, func(t *Tally) { t.Lost++ })
		case f.hold > 0:
			c.b.count(m.Destination, func(t *Tally) { t.Held++ })
			c.hold(m, f.hold, transport)
		case f.repeat:
			c.b.count(m.Destination, func(t *Tally) { t.Repeated++ })
			out = append(out, passing{from: i, message: m}, passing{from: i, message: m})
		default:
			out = append(out, passing{from: i, message: m, swap: f.reorder})
		}
	}
	out = c.reorder(out, transport)

	var err error
	if len(out) > 0 {
		passed := make([]broker.Message, len(out))
		for i := range out {
			passed[i] = out[i].message
		}
		var fates []broker.Result
		fates, err = c.Conn.Publish(ctx, passed, transport)
		for i := range min(len(fates), len(out)) {
			results[out[i].from] = fates[i]
		}
	}
	for i := range results {
		if err != nil && results[i].Fate == broker.Confirmed {
			results[i] = broker.Result{Fate: broker.Unknown, Err: err}
		}
		if results[i].Fate == broker.Confirmed || results[i].Fate == broker.Unknown {
			c.b.count(messages[i].Destination, func(t *Tally) { t.Published++ })
		}
	}
	return results, err
}

// reorder lets the messages that are to swap change places with a later one.
func (c *conn) reorder(out []passing, transport waybill.Transport) []passing {
	for i := len(out) - 1; i >= 0; i-- {
		if !out[i].swap {
			continue
		}
		c.b.count(out[i].message.Destination, func(t *Tally) { t.Reordered++ })
		out[i].swap = false
		if later := len(out) - 1 - i; later > 0 {
			j := i + 1 + c.b.place(later)
			out[i], out[j] = out[j], out[i]
			continue
		}
		c.hold(out[i].message, shortly, transport)
		out = out[:i]
	}
	return out
}

// hold keeps a copy of a message and passes it on after a while.
func (c *conn) hold(m broker.Message, delay time.Duration, transport waybill.Transport) {
	m.Headers, m.Body = slices.Clone(m.Headers), slices.Clone(m.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.b.count(m.Destination, func(t *Tally) { t.Lost++ })
		return
	}
	c.busy.Add(1)
	var timer *time.Timer
	timer = time.AfterFunc(delay, func() {
		defer c.busy.Done()
		c.mu.Lock()
		delete(c.held, timer)
		closed := c.closed
		c.mu.Unlock()
		if closed || !c.passOn(m, transport) {
			c.b.count(m.Destination, func(t *Tally) { t.Lost++ })
		}
	})
	c.held[timer] = m.Destination
}

// passOn publishes a message that was held back, and reports whether the other
// broker has taken it.
func (c *conn) passOn(m broker.Message, transport waybill.Transport) bool {
	ctx, cancel := context.WithTimeout(context.Background(), lateTimeout)
	defer cancel()
	results, err := c.Conn.Publish(ctx, []broker.Message{m}, transport)
	return err == nil && len(results) == 1 && results[0].Fate == broker.Confirmed
}

// Close closes the other broker's connection. What is held back is lost.
func (c *conn) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	for timer, destination := range c.held {
		if timer.Stop() {
			c.b.count(destination, func(t *Tally) { t.Lost++ })
			c.busy.Done()
		}
	}
	clear(c.held)
	c.mu.Unlock()
	err := c.Conn.Close(ctx)
	idle := make(chan struct{})
	go func() {
		c.busy.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	return err
}
