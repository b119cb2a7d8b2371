package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-go/waybill/broker"
)

// Receiver receives from one destination, on a channel of its own. See
// broker.Receiver.
type Receiver struct {
	conn         *Conn
	link         *link
	ch           *amqp.Channel
	closes       chan *amqp.Error
	cancels      chan string
	subscription broker.Subscription
	wake         chan struct{} // has room for one: something has arrived
	done         chan struct{} // closed when err is set
	pumped       chan struct{} // closed when nothing will arrive any more

	mu       sync.Mutex
	arrivals []broker.Delivery // with the tag as Token until Receive returns them
	err      error

	settling ledger
}

var _ broker.Receiver = (*Receiver)(nil)

// token is what Settle needs to know of a delivery.
type token struct {
	receiver *Receiver
	tag      uint64
	settled  bool // guarded by receiver.settling.mu
}

// subscribe makes what the subscription needs and begins to consume.
func (c *Conn) subscribe(l *link, sub broker.Subscription) (*Receiver, error) {
	b := c.broker
	queue := entity(sub.Destination)
	if sub.Topic {
		queue = groupQueue(sub.Destination, sub.Group)
	}
	if !b.options.NoDeclare {
		c.declaring.Lock()
		var err error
		if sub.Topic {
			err = b.bind(l, sub.Destination, sub.Group)
		} else {
			err = b.declareQueue(l, queue)
		}
		c.declaring.Unlock()
		if err != nil {
			return nil, err
		}
	}
	ch, err := l.amqp.Channel()
	if err != nil {
		return nil, err
	}
	r := &Receiver{
		conn: c, link: l, ch: ch, subscription: sub,
		closes: ch.NotifyClose(make(chan *amqp.Error, 1)), cancels: ch.NotifyCancel(make(chan string, 1)),
		wake: make(chan struct{}, 1), done: make(chan struct{}), pumped: make(chan struct{}),
	}
	r.settling.next = 1
	if err := ch.Qos(min(sub.Prefetch, math.MaxUint16), 0, false); err != nil {
		ch.Close()
		return nil, err
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		ch.Close()
		return nil, describe(err, "queue", queue)
	}
	if err := c.add(r); err != nil || !c.start(func() { r.pump(deliveries) }) {
		ch.Close()
		return nil, c.Err()
	}
	return r, nil
}

// pump takes what the library hands over one by one to where Receive finds it
// together. The broker sends no more than Prefetch.
func (r *Receiver) pump(deliveries <-chan amqp.Delivery) {
	defer close(r.pumped)
	for in := range deliveries {
		d := decode(&in, &r.subscription)
		d.Token = in.DeliveryTag
		r.mu.Lock()
		r.arrivals = append(r.arrivals, d)
		r.mu.Unlock()
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	if r.link.amqp.IsClosed() {
		<-r.conn.done
		r.end(r.conn.Err())
		return
	}
	select {
	case <-r.cancels:
		r.end(fmt.Errorf("rabbitmq: the broker ended the subscription of %q: its queue was deleted or is not available", r.subscription.Destination))
	case err := <-r.closes:
		if err != nil {
			r.end(fmt.Errorf("rabbitmq: the broker ended the subscription of %q: %w", r.subscription.Destination, err))
		}
	}
}

// end ends the subscription for the reason err, once.
func (r *Receiver) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
		r.arrivals = nil
		close(r.done)
	}
}

// failure is why the subscription has ended, or nil.
func (r *Receiver) failure() error {
	r.mu.Lock()
	err := r.err
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return r.conn.Err()
}

// Receive waits for messages and returns what has arrived; see broker.Receiver.
func (r *Receiver) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	for {
		if err := r.failure(); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if deliveries := r.take(max(limit, 1)); len(deliveries) > 0 {
			return deliveries, nil
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
		case <-r.done:
		case <-r.conn.done:
		}
	}
}

// take takes up to limit messages that have arrived.
func (r *Receiver) take(limit int) []broker.Delivery {
	r.mu.Lock()
	var taken []broker.Delivery
	if len(r.arrivals) <= limit {
		taken, r.arrivals = r.arrivals, nil
	} else {
		taken = make([]broker.Delivery, limit)
		copy(taken, r.arrivals)
		rest := copy(r.arrivals, r.arrivals[limit:])
		clear(r.arrivals[rest:])
		r.arrivals = r.arrivals[:rest]
	}
	r.mu.Unlock()
	tokens := make([]token, len(taken))
	for i := range taken {
		tag, _ := taken[i].Token.(uint64)
		tokens[i] = token{receiver: r, tag: tag}
		taken[i].Token = &tokens[i]
	}
	return taken
}

// Close ends the subscription; see broker.Receiver.
func (r *Receiver) Close(ctx context.Context) error {
	r.end(broker.ErrClosed)
	if !r.conn.forget(r) {
		return nil
	}
	_, err := within(ctx, r.conn, func() (struct{}, error) {
		r.ch.Close()
		<-r.pumped
		return struct{}{}, nil
	}, func(struct{}) {})
	if err != nil && r.conn.Err() == nil {
		return fmt.Errorf("rabbitmq: close the subscription of %q: %w", r.subscription.Destination, err)
	}
	return nil
}

// leave ends the subscription when its connection does.
func (r *Receiver) leave() {
	r.end(broker.ErrClosed)
	r.ch.Close()
}

// abandon ends a subscription that came too late for who asked for it.
func (r *Receiver) abandon() {
	r.end(broker.ErrClosed)
	if r.conn.forget(r) {
		r.conn.start(func() { r.ch.Close() })
	}
}

// Settle acknowledges the deliveries, or gives them back, without waiting for the
// broker. DeadLetter gives them to the queue's dead-letter exchange.
func (r *Receiver) Settle(_ context.Context, deliveries []broker.Delivery, d broker.Disposition) error {
	if err := r.failure(); err != nil {
		return fmt.Errorf("rabbitmq: settle: %w", err)
	}
	var say func(tag uint64, multiple bool) error
	switch d {
	case broker.Ack:
		say = r.ch.Ack
	case broker.Requeue:
		say = func(tag uint64, multiple bool) error { return r.ch.Nack(tag, multiple, true) }
	case broker.DeadLetter:
		say = func(tag uint64, multiple bool) error { return r.ch.Nack(tag, multiple, false) }
	default:
		return fmt.Errorf("rabbitmq: settle with disposition %d: %w", d, errors.ErrUnsupported)
	}
	tokens := make([]*token, len(deliveries))
	for i := range deliveries {
		t, ok := deliveries[i].Token.(*token)
		if !ok || t.receiver != r {
			return fmt.Errorf("rabbitmq: settle: delivery %d is not of this subscription of %q", i, r.subscription.Destination)
		}
		tokens[i] = t
	}
	if err := r.settling.settle(tokens, say); err != nil {
		if ended := r.conn.Err(); ended != nil {
			err = ended
		}
		return fmt.Errorf("rabbitmq: settle: %w", err)
	}
	return nil
}
