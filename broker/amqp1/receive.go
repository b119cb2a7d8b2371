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

// Receiver receives from one destination. See broker.Receiver.
type Receiver struct {
	conn         *Conn
	wire         *wire
	link         *amqp.Receiver
	subscription broker.Subscription

	mu     sync.Mutex
	credit int // what the broker may still send, with what has come and waits here
	owed   int // what may be added to credit: Prefetch without credit and what is unsettled
	most   int // of credit
	closed bool
}

var _ broker.Receiver = (*Receiver)(nil)

// pageSize bounds the credit for ActiveMQ Classic. It reads its queues by pages of
// 200 messages and, with credit for more, stops after two of them until it is given
// credit again or something is settled.
const pageSize = 200

// token is what Settle needs to know of a delivery.
type token struct {
	receiver *Receiver
	message  *amqp.Message
	settled  bool // guarded by receiver.mu
}

// attach opens the link and gives the first credit.
func (r *Receiver) attach(ctx context.Context) error {
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
		if r.wire.kind == jmsbroker.Artemis {
			options.SourceCapabilities = append(options.SourceCapabilities, "shared")
		}
	}
	name := address(r.wire.kind, sub.Destination, sub.Topic)
	var err error
	r.link, err = r.wire.session.NewReceiver(ctx, name, options)
	var said *amqp.Error
	if errors.As(err, &said) && said.Condition == amqp.ErrCondIllegalState {
		// Artemis does not receive from a queue where it knows a topic of that name, nor
		// the other way round, until somebody has wished to send there.
		maker, makeErr := r.wire.session.NewSender(ctx, name, &amqp.SenderOptions{TargetCapabilities: []string{capability(sub.Topic)}})
		if makeErr != nil {
			return err
		}
		_ = maker.Close(ctx)
		if !sub.Topic {
			name += "::" + name // its queue of its own name, and no subscription of the topic
		}
		r.link, err = r.wire.session.NewReceiver(ctx, name, options)
	}
	if err != nil {
		return err
	}
	r.owed, r.most = sub.Prefetch, sub.Prefetch
	if r.wire.kind == jmsbroker.Classic {
		r.most = min(r.most, pageSize)
	}
	return r.lend()
}

// Receive waits for messages and returns what has arrived; see broker.Receiver.
func (r *Receiver) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	if err := r.ended(ctx); err != nil {
		return nil, err
	}
	m, err := r.link.Receive(ctx, nil)
	if err != nil {
		if ended := r.ended(ctx); ended != nil {
			return nil, ended
		}
		var lost *amqp.ConnError
		if errors.As(err, &lost) {
			<-r.conn.Done()
			return nil, r.conn.Err()
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
	err = r.lend()
	r.mu.Unlock()
	_ = err // the link has ended: the next call says so
	return deliveries, nil
}

// ended says why nothing more will be received, or returns nil.
func (r *Receiver) ended(ctx context.Context) error {
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

// lend gives the broker the credit that is owed, in portions worth a frame. r.mu is
// held, or r not in use yet.
func (r *Receiver) lend() error {
	n := min(r.owed, r.most-r.credit)
	if n <= 0 || r.credit > 0 && n < (r.most+3)/4 {
		return nil
	}
	r.owed -= n
	r.credit += n
	return r.link.IssueCredit(uint32(n))
}

// Settle accepts the deliveries, or hands them back as failed, or rejects them. It
// does not wait for the broker.
func (r *Receiver) Settle(ctx context.Context, deliveries []broker.Delivery, d broker.Disposition) error {
	settle := r.link.AcceptMessage
	switch d {
	case broker.Ack:
	case broker.Requeue:
		settle = func(ctx context.Context, m *amqp.Message) error {
			// A failed delivery counts, so that the broker's limit of tries holds.
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
		r.owed++
		r.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.lend(); err != nil {
		return fmt.Errorf("amqp1: settle: %w", err)
	}
	return nil
}

// Close ends the subscription; see broker.Receiver. The link is not closed but
// falls with its session: closing it would delete a durable subscription.
func (r *Receiver) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	if r.conn.wires.Forget(r.wire) {
		r.wire.close(ctx)
	}
	return nil
}
