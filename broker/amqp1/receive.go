package amqp1

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/Azure/go-amqp"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// receiver receives from one destination. See broker.Receiver.
type receiver struct {
	conn         *conn
	socket       *socket
	link         *amqp.Receiver
	subscription broker.Subscription

	mu        sync.Mutex
	credit    int // messages that the broker may send, with those that have come and wait here
	window    int // how many messages may be received and not settled
	available int // what may be added to credit: the window without credit and what is unsettled
	most      int // of credit
	closed    bool
}

var _ broker.Receiver = (*receiver)(nil)

// pageSize bounds the credit for ActiveMQ Classic, which reads its queues in pages of 200
// messages. With credit for more, it stops after two pages until it gets credit again or
// something is settled.
const pageSize = 200

// token is what Settle needs to know of a delivery.
type token struct {
	receiver *receiver
	message  *amqp.Message
	settled  bool // guarded by receiver.mu
}

// attach opens the link and gives the first credit.
func (r *receiver) attach(ctx context.Context) error {
	sub := r.subscription
	options := &amqp.ReceiverOptions{
		Credit:             -1,
		SettlementMode:     amqp.ReceiverSettleModeFirst.Ptr(),
		SourceCapabilities: []string{capability(sub.Topic)},
	}
	if sub.Topic {
		options.Name = jmsbroker.Name(sub.Destination)
		options.SourceDurability = amqp.DurabilityUnsettledState
		options.SourceExpiryPolicy = amqp.ExpiryPolicyNever
		if r.socket.kind == jmsbroker.Artemis {
			options.SourceCapabilities = append(options.SourceCapabilities, "shared")
		}
	}
	name := jmsbroker.AMQPAddress(r.socket.kind, sub.Destination, sub.Topic)
	var err error
	r.link, err = r.socket.session.NewReceiver(ctx, name, options)
	var said *amqp.Error
	if errors.As(err, &said) && said.Condition == amqp.ErrCondIllegalState {
		// Where Artemis knows a topic of this name, it lets nobody receive from the queue,
		// and the other way round, until somebody has opened a link to send there.
		maker, makeErr := r.socket.session.NewSender(ctx, name, &amqp.SenderOptions{TargetCapabilities: []string{capability(sub.Topic)}})
		if makeErr != nil {
			return err
		}
		_ = maker.Close(ctx)
		if !sub.Topic {
			name += "::" + name // the queue of this name, and no subscription of the topic
		}
		r.link, err = r.socket.session.NewReceiver(ctx, name, options)
	}
	if err != nil {
		return err
	}
	return r.resize(sub.FirstWindow())
}

// resize gives credit for a window. It needs r.mu, where r is in use already. Credit that
// was given is not taken back: after a window gets smaller, none is given until so much is
// settled.
func (r *receiver) resize(window int) error {
	r.available += window - r.window
	r.window, r.most = window, window
	if r.socket.kind == jmsbroker.Classic {
		r.most = min(r.most, pageSize)
	}
	return r.issueCredit()
}

// Resize changes the credit; see broker.Resizer.
func (r *receiver) Resize(window int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		_ = r.resize(max(window, 1)) // where the link has ended, Receive says so
	}
}

// Receive waits for messages and returns what has arrived; see broker.Receiver.
func (r *receiver) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	if err := r.ended(ctx); err != nil {
		return nil, err
	}
	m, err := r.link.Receive(ctx, nil)
	if err != nil {
		if ended := r.ended(ctx); ended != nil {
			return nil, ended
		}
		return nil, fmt.Errorf("amqp1: receive from %q: %w", r.subscription.Destination, err)
	}
	var deliveries []broker.Delivery
	for m != nil {
		d := decode(m, &r.subscription)
		d.Token = &token{receiver: r, message: m}
		deliveries = append(deliveries, d)
		if len(deliveries) >= limit {
			break
		}
		m = r.link.Prefetched()
	}
	r.mu.Lock()
	r.credit -= len(deliveries)
	err = r.issueCredit()
	r.mu.Unlock()
	_ = err // the link has ended, and the next call says so
	return deliveries, nil
}

// ended says why nothing more will be received, or returns nil.
func (r *receiver) ended(ctx context.Context) error {
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return broker.ErrClosed
	}
	select {
	case <-r.conn.Done():
		return r.conn.Err()
	default:
		return ctx.Err()
	}
}

// issueCredit gives the broker what credit is available, once that is worth a frame. It
// needs r.mu, where r is in use already.
func (r *receiver) issueCredit() error {
	n := min(r.available, r.most-r.credit)
	if n <= 0 || r.credit > 0 && n < (r.most+3)/4 {
		return nil
	}
	r.available -= n
	r.credit += n
	return r.link.IssueCredit(uint32(n))
}

// Settle accepts the deliveries, gives them back as failed or rejects them, without
// waiting for the broker.
func (r *receiver) Settle(ctx context.Context, deliveries []broker.Delivery, d broker.Disposition) error {
	settle := r.link.AcceptMessage
	switch d {
	case broker.Ack:
	case broker.Requeue:
		settle = func(ctx context.Context, m *amqp.Message) error {
			// A failed delivery is counted, so the broker's own limit of tries applies.
			return r.link.ModifyMessage(ctx, m, &amqp.ModifyMessageOptions{DeliveryFailed: true})
		}
	case broker.DeadLetter:
		settle = func(ctx context.Context, m *amqp.Message) error { return r.link.RejectMessage(ctx, m, nil) }
	default:
		return fmt.Errorf("amqp1: disposition %d: %w", int(d), errors.ErrUnsupported)
	}
	for i := range deliveries {
		t, ok := deliveries[i].Token.(*token)
		if !ok || t.receiver != r {
			return fmt.Errorf("amqp1: settle: delivery %d is not of this subscription of %q", i, r.subscription.Destination)
		}
		r.mu.Lock()
		again := t.settled
		t.settled = true
		r.mu.Unlock()
		if again {
			continue
		}
		if err := settle(ctx, t.message); err != nil {
			if ended := r.ended(ctx); ended != nil {
				err = ended
			}
			return fmt.Errorf("amqp1: settle: %w", err)
		}
		r.mu.Lock()
		r.available++
		r.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.issueCredit(); err != nil {
		return fmt.Errorf("amqp1: settle: %w", err)
	}
	return nil
}

// Close ends the subscription; see broker.Receiver. The link ends with its session and is
// not closed, which would delete a durable subscription.
func (r *receiver) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	if r.conn.sockets.Forget(r.socket) {
		r.socket.close(ctx)
	}
	return nil
}
