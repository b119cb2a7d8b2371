package memory

import (
	"context"
	"fmt"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// conn is a connection.
type conn struct {
	b    *Broker
	done chan struct{}

	mu        sync.Mutex // taken before the broker's and a queue's
	err       error
	receivers map[*receiver]struct{}
}

// Publish keeps copies of the messages. It returns at once, but during a Hold.
func (c *conn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	results := make([]broker.Result, len(messages))
	if err := c.b.wait(ctx, c.done); err != nil {
		fill(results, err)
		return results, nil
	}
	if err := c.Err(); err != nil {
		fill(results, err)
		return results, err
	}
	var targets []*queue
	for at := 0; at < len(messages); {
		first := &messages[at]
		end := at + 1
		for end < len(messages) && messages[end].Destination == first.Destination && messages[end].Topic == first.Topic && messages[end].MustExist == first.MustExist {
			end++
		}
		run, fates := messages[at:end], results[at:end]
		at = end
		var ok bool
		if targets, ok = c.b.targets(targets[:0], first); !ok {
			for i := range fates {
				fates[i] = broker.Result{Fate: broker.Refused, Err: fmt.Errorf("the memory broker has no queue %q and makes none: %w", first.Destination, broker.ErrNoQueue)}
			}
			continue
		}
		c.b.keep(targets, run, fates, transport == waybill.Transient)
	}
	// A connection that was cut meanwhile has not carried the broker's answer.
	if err := c.Err(); err != nil {
		fill(results, err)
		return results, err
	}
	return results, nil
}

// fill makes every result Unknown, for the reason err.
func fill(results []broker.Result, err error) {
	for i := range results {
		results[i] = broker.Result{Fate: broker.Unknown, Err: err}
	}
}

// keep puts messages of one destination into its queues, as far as the faults let it,
// and sets their results.
func (b *Broker) keep(targets []*queue, run []broker.Message, fates []broker.Result, transient bool) {
	fault := b.fault(run[0].Destination)
	var copies slab
	for i := range run {
		copies.expect(&run[i])
	}
	kept := make([]keptMessage, 0, len(run))
	for i := range run {
		fates[i].Fate = broker.Confirmed
		if most := b.options.MaxMessage; most > 0 && len(run[i].Body) > most {
			fates[i] = broker.Result{Fate: broker.Unacceptable, Err: fmt.Errorf("its body of %d bytes is over the memory broker's %d", len(run[i].Body), most)}
			continue
		}
		k := keptMessage{at: i}
		if fault != nil {
			k.decision = b.decide(fault, len(kept))
			switch {
			case k.refuse:
				fates[i] = broker.Result{Fate: broker.Refused, Err: errRefused}
			case k.doubt:
				fates[i] = broker.Result{Fate: broker.Unknown, Err: errDoubt}
			}
			if k.refuse || k.lose {
				continue
			}
		}
		k.message = run[i]
		copies.own(&k.message)
		kept = append(kept, k)
	}
	for _, q := range targets {
		b.put(q, kept, fates, transient)
	}
	b.stats.published.Add(int64(len(run)))
}

// keptMessage is a message that is to be kept, its position in the batch and its faults.
type keptMessage struct {
	message broker.Message
	at      int
	decision
}

// put adds messages to one queue, as far as it has room.
func (b *Broker) put(q *queue, kept []keptMessage, fates []broker.Result, transient bool) {
	var items []item
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range kept {
		k := &kept[i]
		if most := b.options.MaxDepth; most > 0 && q.depth() >= most {
			fates[k.at] = broker.Result{Fate: broker.Refused, Err: fmt.Errorf("%q is full: the memory broker was set up to hold %d messages", q.name, most)}
			continue
		}
		copies := 1
		if k.repeat {
			copies = 2
		}
		for range copies {
			if len(items) == 0 {
				items = make([]item, min(2*(len(kept)-i), slabItems))
			}
			it := &items[0]
			items = items[1:]
			it.message, it.transient, it.at = k.message, transient, now
			q.put(it, k.decision)
		}
	}
	q.wake()
}

// Subscribe begins to receive, at once.
func (c *conn) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	if err := c.b.wait(ctx, c.done); err != nil {
		return nil, err
	}
	if s.Prefetch <= 0 {
		return nil, fmt.Errorf("subscribe to %q: Prefetch is %d and has to be above 0", s.Destination, s.Prefetch)
	}
	var q *queue
	if s.Topic {
		q = c.b.group(s.Destination, s.Group)
	} else {
		q = c.b.queue(s.Destination, true)
	}
	r := &receiver{c: c, q: q, prefetch: s.FirstWindow(), woken: make(chan struct{}, 1), done: make(chan struct{})}
	r.list.prev, r.list.next = &r.list, &r.list
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	c.receivers[r] = struct{}{}
	q.mu.Lock()
	q.receivers[r] = struct{}{}
	q.mu.Unlock()
	return r, nil
}

// Done is closed when the connection has ended.
func (c *conn) Done() <-chan struct{} { return c.done }

// Err is why the connection ended.
func (c *conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection. It does not wait: there are no goroutines.
func (c *conn) Close(context.Context) error {
	c.end(broker.ErrClosed)
	return nil
}

// end ends the connection and its receivers and reports whether it was open.
func (c *conn) end(reason error) bool {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return false
	}
	c.err = reason
	for r := range c.receivers {
		r.end(reason)
	}
	c.receivers = nil
	c.mu.Unlock()
	c.b.mu.Lock()
	delete(c.b.conns, c)
	c.b.mu.Unlock()
	close(c.done)
	return true
}
