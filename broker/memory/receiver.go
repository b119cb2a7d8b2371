package memory

import (
	"context"
	"errors"
	"fmt"

	"github.com/waybill-go/waybill/broker"
)

// receiver is a subscription.
type receiver struct {
	c     *conn
	q     *queue
	woken chan struct{} // holds one signal
	done  chan struct{}

	// The queue's lock guards the fields below.
	err      error
	prefetch int // how many may be held
	waiting  bool
	held     int
	list     item // both ends of the list of what is held
}

// Receive takes what the queue has.
func (r *receiver) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	for {
		if err := r.c.b.wait(ctx, r.done); err != nil {
			return nil, err
		}
		r.q.mu.Lock()
		if r.err != nil {
			r.q.mu.Unlock()
			return nil, r.err
		}
		deliveries := r.q.take(r, limit)
		r.waiting = len(deliveries) == 0
		r.q.mu.Unlock()
		if len(deliveries) > 0 {
			var copies slab
			for i := range deliveries {
				copies.expect(&deliveries[i].Message)
			}
			for i := range deliveries {
				copies.own(&deliveries[i].Message)
			}
			r.c.b.stats.delivered.Add(int64(len(deliveries)))
			return deliveries, nil
		}
		select {
		case <-r.woken:
		case <-r.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Resize changes how many messages may be held.
func (r *receiver) Resize(window int) {
	r.q.mu.Lock()
	defer r.q.mu.Unlock()
	if r.prefetch = max(window, 1); r.waiting {
		r.q.wake()
	}
}

// Settle removes messages from the queue, or gives them back to it. What Wipe has lost
// meanwhile is passed over.
func (r *receiver) Settle(ctx context.Context, deliveries []broker.Delivery, d broker.Disposition) error {
	if err := r.c.b.wait(ctx, r.done); err != nil {
		return err
	}
	if d < broker.Ack || d > broker.DeadLetter {
		return fmt.Errorf("settle messages of %q: disposition %d: %w", r.q.name, int(d), errors.ErrUnsupported)
	}
	q := r.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	var back []*item
	unknown := 0
	for i := range deliveries {
		it, ok := deliveries[i].Token.(*item)
		if !ok || it.holder != r {
			if !ok || !it.wiped {
				unknown++
			}
			continue
		}
		q.release(it)
		switch d {
		case broker.Ack:
			it.message = broker.Message{} // the item may be in memory for as long as another one of its batch
		case broker.Requeue:
			back = append(back, it)
		case broker.DeadLetter:
			q.dead = append(q.dead, it)
		}
	}
	if back != nil {
		q.giveBack(back)
	}
	r.c.b.stats.settled.Add(int64(len(deliveries) - unknown))
	if r.waiting {
		q.wake()
	}
	if unknown > 0 {
		return fmt.Errorf("settle messages of %q: %d of %d were not received here or are settled already", q.name, unknown, len(deliveries))
	}
	return nil
}

// Close gives back what is not settled. It does not wait.
func (r *receiver) Close(context.Context) error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	delete(r.c.receivers, r)
	r.end(broker.ErrClosed)
	return nil
}

// end ends the subscription, once, for this reason.
func (r *receiver) end(reason error) {
	q := r.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.err != nil {
		return
	}
	r.err = reason
	delete(q.receivers, r)
	var back []*item
	for r.list.next != &r.list {
		it := r.list.next
		q.release(it)
		back = append(back, it)
	}
	q.giveBack(back)
	close(r.done)
}
