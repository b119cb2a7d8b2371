package rabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/arrival"
)

// receiver receives from one destination, on a channel of its own. See broker.Receiver.
type receiver struct {
	conn         *conn
	socket       *socket
	ch           *amqp.Channel
	queue        string
	tag          string        // of the consumer; the pump's
	calls        chan struct{} // has room for one, who talks on ch
	wanted       atomic.Int64  // the window that was asked for last
	resized      chan struct{} // has room for one: wanted has changed
	closes       chan *amqp.Error
	cancels      chan string
	subscription broker.Subscription
	arrivals     *arrival.Buffer // with the tag as Token until Receive returns them
	tags         deliveryTags
	pumped       chan struct{} // closed when nothing more will arrive
}

var _ broker.Receiver = (*receiver)(nil)

// token is what Settle needs to know of a delivery.
type token struct {
	receiver *receiver
	tag      uint64
	settled  bool // guarded by receiver.tags.mu
}

// subscribe declares what the subscription needs and begins to consume.
func (c *conn) subscribe(ctx context.Context, s *socket, sub broker.Subscription) (*receiver, error) {
	b := c.broker
	queue := entity(sub.Destination)
	if sub.Topic {
		queue = groupQueue(sub.Destination, sub.Group)
	}
	if !b.options.NoDeclare {
		c.declaring.Lock()
		var err error
		if sub.Topic {
			err = b.bind(s, sub.Destination, sub.Group)
		} else {
			err = b.declareQueue(s, queue)
		}
		c.declaring.Unlock()
		if err != nil {
			return nil, err
		}
	}
	ch, err := s.amqp.Channel()
	if err != nil {
		return nil, err
	}
	r := &receiver{
		conn: c, socket: s, ch: ch, queue: queue, subscription: sub, resized: make(chan struct{}, 1), calls: make(chan struct{}, 1),
		closes: ch.NotifyClose(make(chan *amqp.Error, 1)), cancels: ch.NotifyCancel(make(chan string, 1)),
		arrivals: arrival.NewBuffer(c), tags: deliveryTags{next: 1}, pumped: make(chan struct{}),
	}
	deliveries, err := r.consume(ctx, sub.FirstWindow())
	if err != nil {
		ch.Close()
		return nil, err
	}
	if err := c.add(r); err != nil || !c.start(func() { r.pump(deliveries) }) {
		ch.Close()
		return nil, c.Err()
	}
	return r, nil
}

// consume begins a consumer, which the broker sends no more messages that are not settled
// than the window has room for. Nobody else talks on the channel, but for who closes it when
// ctx has ended: on a channel that is closed, a call would end the connection.
func (r *receiver) consume(ctx context.Context, window int) (<-chan amqp.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := r.ch.Qos(min(window, math.MaxUint16), 0, false); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.tag = rand.Text()
	deliveries, err := r.ch.Consume(r.queue, r.tag, false, false, false, false, nil)
	return deliveries, describe(err, "queue", r.queue)
}

// Resize changes the window; see broker.Resizer.
func (r *receiver) Resize(window int) {
	r.wanted.Store(int64(max(window, 1)))
	select {
	case r.resized <- struct{}{}:
	default:
	}
}

// pump takes what the library hands over, one by one, to arrivals. The broker sends no
// more than the window has room for.
func (r *receiver) pump(deliveries <-chan amqp.Delivery) {
	defer close(r.pumped)
	var failed error // of a change of consumers
	for open := true; open; {
		var in amqp.Delivery
		select {
		case in, open = <-deliveries:
			if open {
				r.arrived(&in)
			}
		case <-r.resized:
			deliveries, failed = r.consumeAgain(deliveries, int(r.wanted.Load()))
			open = failed == nil
		}
	}
	if r.socket.amqp.IsClosed() {
		<-r.conn.done
		r.arrivals.End(r.conn.Err())
		return
	}
	if failed != nil && !r.ch.IsClosed() {
		r.giveUp(fmt.Errorf("rabbitmq: the subscription of %q: %w", r.subscription.Destination, failed))
		return
	}
	if err := r.reason(); err != nil {
		r.arrivals.End(fmt.Errorf("rabbitmq: the broker ended the subscription of %q: %w", r.subscription.Destination, err))
	}
}

var errCancelled = errors.New("its queue was deleted or is not available")

// reason waits for the reason why nothing more will arrive, which the library gives before:
// the broker has ended the channel, or only the consumer. It is nil where that was us. Both
// of the library's notices are closed with the channel, so that a closed one says nothing.
func (r *receiver) reason() error {
	select {
	case err := <-r.closes:
		return describeEnd(err)
	default:
	}
	select {
	case _, isCancelled := <-r.cancels:
		if isCancelled {
			return errCancelled
		}
		return describeEnd(<-r.closes)
	case err := <-r.closes:
		return describeEnd(err)
	}
}

// describeEnd adds to the broker's reason for the end of a channel what to do about it.
func describeEnd(err *amqp.Error) error {
	switch {
	case err == nil:
		return nil
	case err.Code == amqp.PreconditionFailed && strings.Contains(err.Reason, "acknowledgement") && strings.Contains(err.Reason, "timed out"):
		return fmt.Errorf("a message was not settled within the broker's consumer_timeout, which has to be longer than a handler may take: %w", err)
	}
	return err
}

func (r *receiver) arrived(in *amqp.Delivery) {
	d := decode(in, &r.subscription)
	d.Token = in.DeliveryTag
	r.arrivals.Add(d)
}

// consumeAgain ends the consumer and begins another one with another window, which a
// consumer cannot change. What the first one was sent stays ours, since that belongs to the
// channel. It waits no longer for the broker than Subscribe does.
func (r *receiver) consumeAgain(deliveries <-chan amqp.Delivery, window int) (<-chan amqp.Delivery, error) {
	r.calls <- struct{}{}
	defer func() { <-r.calls }()
	limited, cancel := context.WithTimeoutCause(context.Background(), answerTime, errNoAnswer)
	defer cancel()
	return within(limited, r.conn, func() (<-chan amqp.Delivery, error) {
		if err := r.ch.Cancel(r.tag, false); err != nil {
			return nil, err
		}
		for in := range deliveries {
			r.arrived(&in)
		}
		return r.consume(limited, window)
	}, func(<-chan amqp.Delivery) {})
}

// close ends the channel.
func (r *receiver) close() {
	r.calls <- struct{}{}
	defer func() { <-r.calls }()
	r.ch.Close()
}

// Receive waits for messages and returns what has arrived; see broker.Receiver.
func (r *receiver) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	deliveries, err := r.arrivals.Receive(ctx, limit)
	if err != nil {
		return nil, err
	}
	tokens := make([]token, len(deliveries))
	for i := range deliveries {
		tag, _ := deliveries[i].Token.(uint64)
		tokens[i] = token{receiver: r, tag: tag}
		deliveries[i].Token = &tokens[i]
	}
	return deliveries, nil
}

// Close ends the subscription; see broker.Receiver.
func (r *receiver) Close(ctx context.Context) error {
	r.arrivals.End(broker.ErrClosed)
	if !r.conn.forget(r) {
		return nil
	}
	limited, cancel := context.WithTimeoutCause(ctx, answerTime, errNoAnswer)
	defer cancel()
	_, err := within(limited, r.conn, func() (struct{}, error) {
		r.close()
		<-r.pumped
		return struct{}{}, nil
	}, func(struct{}) {})
	if err != nil && r.conn.Err() == nil {
		return fmt.Errorf("rabbitmq: close the subscription of %q: %w", r.subscription.Destination, err)
	}
	return nil
}

// leave ends the subscription when its connection does.
func (r *receiver) leave() {
	r.arrivals.End(broker.ErrClosed)
	r.close()
}

// abandon ends a subscription whose Subscribe has returned without it.
func (r *receiver) abandon() { r.giveUp(broker.ErrClosed) }

// giveUp ends the subscription for the reason err, and nobody waits for the broker: where that
// answers at all, it gives what is not settled to others then.
func (r *receiver) giveUp(err error) {
	mine := r.conn.forget(r) // first: who is told of the end calls Close
	r.arrivals.End(err)
	if mine {
		r.conn.start(r.close)
	}
}

// Settle acknowledges the deliveries or gives them back, without waiting for the broker.
// With DeadLetter they go to the queue's dead-letter exchange, if it is declared with one.
func (r *receiver) Settle(_ context.Context, deliveries []broker.Delivery, d broker.Disposition) error {
	if err := r.arrivals.Err(); err != nil {
		return fmt.Errorf("rabbitmq: settle: %w", err)
	}
	var send func(tag uint64, multiple bool) error
	switch d {
	case broker.Ack:
		send = r.ch.Ack
	case broker.Requeue:
		send = func(tag uint64, multiple bool) error { return r.ch.Nack(tag, multiple, true) }
	case broker.DeadLetter:
		if !r.conn.broker.hasDeadLetters() {
			return fmt.Errorf("rabbitmq: settle: no queue is declared with x-dead-letter-exchange: %w", errors.ErrUnsupported)
		}
		send = func(tag uint64, multiple bool) error { return r.ch.Nack(tag, multiple, false) }
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
	if err := r.tags.settle(tokens, send); err != nil {
		if ended := r.conn.Err(); ended != nil {
			err = ended
		}
		return fmt.Errorf("rabbitmq: settle: %w", err)
	}
	return nil
}
