package stomp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// windowBytes is what Artemis gets for each message of the window: it bounds the
// bytes of messages under way and not their number. Of small messages, more than the window
// may come; they wait in the receiver, and Receive returns no more than the window that are
// not settled.
const windowBytes = 1 << 10

// subscriptionID is the id of the one subscription of a network connection.
const subscriptionID = "1"

// receiver receives from one destination. See broker.Receiver.
type receiver struct {
	conn         *conn
	socket       *socket
	subscription broker.Subscription
	wake         chan struct{} // has room for one: something arrived or was settled
	stuck        sync.Once     // holds a message that it cannot settle

	mu        sync.Mutex
	id        string // of the subscription: the number of its turn
	window    int    // how many messages may be received and not settled
	turn      turn
	arrivals  []*frame.Frame
	unsettled int
	received  uint64 // messages that Receive has returned so far
	nudged    uint64 // received, when nudge was last called
}

var _ broker.Receiver = (*receiver)(nil)

// token is what Settle needs to know of a delivery.
type token struct {
	receiver *receiver
	ack      string
	id       string // the header message-id
	time     string // the header timestamp
	settled  bool   // guarded by receiver.mu
}

// subscribe sends SUBSCRIBE and waits for its receipt.
func (r *receiver) subscribe(ctx context.Context, id string, most int) error {
	sub := r.subscription
	f := frame.New(frame.SUBSCRIBE,
		frame.Id, id,
		frame.Destination, jmsbroker.STOMPAddress(r.socket.kind, sub.Destination, sub.Topic),
		frame.Ack, "client-individual")
	if r.socket.kind == jmsbroker.Artemis {
		// A window of one byte lets one message through at a time.
		window := 1
		if most > 1 {
			window = most * windowBytes
		}
		f.Header.Add("subscription-type", routing(sub.Topic))
		f.Header.Add("consumer-window-size", strconv.Itoa(window))
		if sub.Topic {
			f.Header.Add("durable-subscription-name", jmsbroker.Name(sub.Destination))
		}
	} else {
		f.Header.Add("activemq.prefetchSize", strconv.Itoa(most))
		if sub.Topic {
			f.Header.Add("activemq.subscriptionName", jmsbroker.Name(sub.Destination))
		}
	}
	r.mu.Lock()
	r.id, r.window = id, most
	r.mu.Unlock()
	r.socket.subscribed.Store(id)
	return r.socket.ask(ctx, f)
}

// arrived takes a message from the socket's reader. It never blocks: the broker
// sends no more than it was told to.
func (r *receiver) arrived(f *frame.Frame) {
	if r.subscription.Topic && f.Header.Get("destination-type") == routing(false) {
		// Where a queue and a topic have one name, Artemis subscribes to the queue.
		if r.conn.sockets.Forget(r.socket) {
			r.socket.fail(fmt.Errorf("stomp: the broker has a queue and a topic of the name %q, and over STOMP it mistakes the one for the other: rename one of them, or %w", r.subscription.Destination, jmsbroker.ErrElsewhere))
		}
		return
	}
	r.mu.Lock()
	if f.Header.Get(frame.Subscription) == r.id {
		r.arrivals = append(r.arrivals, f)
	}
	r.mu.Unlock()
	r.signal()
}

// signal wakes Receive.
func (r *receiver) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Receive waits for messages and returns what has arrived; see broker.Receiver.
func (r *receiver) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	for {
		select {
		case <-r.socket.done:
			return nil, r.socket.failure()
		case <-ctx.Done():
			return nil, ctx.Err()
		default:
		}
		late := r.turnOver()
		if arrivals := r.take(max(limit, 1)); len(arrivals) > 0 {
			if deliveries := r.deliveries(arrivals); len(deliveries) > 0 {
				return deliveries, nil
			}
			continue
		}
		if err := r.nudge(ctx); err != nil {
			continue // the context or the socket has ended
		}
		select {
		case <-r.wake:
		case <-late:
		case <-ctx.Done():
		case <-r.socket.done:
		}
	}
}

// deliveries turns frames into what Receive returns. What cannot be settled over STOMP is not
// handed over: it ends the subscription, after a while in which the messages behind it come.
func (r *receiver) deliveries(arrivals []*frame.Frame) []broker.Delivery {
	deliveries := make([]broker.Delivery, 0, len(arrivals))
	for _, f := range arrivals {
		d, err := r.delivery(f)
		if err == nil {
			deliveries = append(deliveries, d)
			continue
		}
		r.stuck.Do(func() { r.socket.run(func() { r.endSoon(err) }) })
	}
	return deliveries
}

// stuckTime is how long a subscription goes on that holds a message which it cannot settle.
const stuckTime = time.Second

// endSoon ends the subscription, and no other, for the reason err.
func (r *receiver) endSoon(err error) {
	timer := time.NewTimer(stuckTime)
	defer timer.Stop()
	select {
	case <-timer.C:
		if r.conn.sockets.Forget(r.socket) {
			r.socket.fail(err)
		}
	case <-r.socket.done:
	}
}

// pageSize is how many messages ActiveMQ Classic reads of a queue at a time.
const pageSize = 200

// nudge makes ActiveMQ Classic go on. Whatever Prefetch says, it stops after a page of
// messages until something wakes the queue, such as an acknowledgement. Where nothing is
// settled for long, nothing would come. Another subscriber wakes the queue too, even one
// that asks for no messages.
func (r *receiver) nudge(ctx context.Context) error {
	r.mu.Lock()
	stuck := r.socket.kind != jmsbroker.Artemis && !r.subscription.Topic && len(r.arrivals) == 0 &&
		r.unsettled >= pageSize && r.unsettled < r.window && r.nudged != r.received
	r.nudged = r.received
	r.mu.Unlock()
	if !stuck {
		return nil
	}
	b := newBatch()
	b.add(frame.New(frame.SUBSCRIBE, frame.Id, "nudge", frame.Ack, "client-individual", "activemq.prefetchSize", "0",
		frame.Destination, jmsbroker.STOMPAddress(r.socket.kind, r.subscription.Destination, false)))
	b.add(frame.New(frame.UNSUBSCRIBE, frame.Id, "nudge"))
	return r.socket.send(ctx, b)
}

// take removes up to limit messages, no more than may be unsettled, and returns them. A smaller
// window is kept to at once: while what was taken keeps the turn from coming, taking more would
// put it off for as long as there is something.
func (r *receiver) take(limit int) []*frame.Frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.turn.holds() {
		return nil
	}
	window := r.window
	if wanted := r.turn.wanted; wanted > 0 {
		window = min(window, wanted)
	}
	n := min(limit, len(r.arrivals), window-r.unsettled)
	if n <= 0 {
		return nil
	}
	taken := make([]*frame.Frame, n)
	copy(taken, r.arrivals)
	rest := copy(r.arrivals, r.arrivals[n:])
	clear(r.arrivals[rest:])
	r.arrivals = r.arrivals[:rest]
	r.unsettled += n
	r.received += uint64(n)
	return taken
}

// Settle acknowledges the deliveries, without waiting for the broker. DeadLetter is
// a NACK, for brokers of the kind Classic; Requeue matches errors.ErrUnsupported.
func (r *receiver) Settle(ctx context.Context, deliveries []broker.Delivery, d broker.Disposition) error {
	command := frame.ACK
	switch d {
	case broker.Ack:
	case broker.DeadLetter:
		if !r.conn.broker.Capabilities().DeadLetter {
			return fmt.Errorf("stomp: dead-letter without the kind classic: %w", errors.ErrUnsupported)
		}
		command = frame.NACK
	default:
		return fmt.Errorf("stomp: requeue: %w", errors.ErrUnsupported)
	}
	b := newBatch()
	r.mu.Lock()
	n := 0
	for i := range deliveries {
		t, ok := deliveries[i].Token.(*token)
		if !ok || t.receiver != r {
			r.mu.Unlock()
			return fmt.Errorf("stomp: settle: delivery %d is not of this subscription of %q", i, r.subscription.Destination)
		}
		if t.settled {
			continue // to acknowledge a message twice is an error
		}
		t.settled = true
		n++
		b.add(frame.New(command, frame.Id, t.ack))
	}
	r.unsettled -= n
	r.mu.Unlock()
	r.signal()
	if n == 0 {
		return nil
	}
	if err := r.socket.send(ctx, b); err != nil {
		return fmt.Errorf("stomp: settle: %w", err)
	}
	return nil
}

// Close ends the subscription; see broker.Receiver.
func (r *receiver) Close(ctx context.Context) error {
	if r.conn.sockets.Forget(r.socket) {
		r.socket.close(ctx)
	}
	r.socket.running.Wait()
	return nil
}
