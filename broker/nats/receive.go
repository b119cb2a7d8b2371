package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/waybill-go/waybill/broker"
)

// receiver is a subscription: a pull consumer that asks for no more messages than Prefetch
// leaves room for. Its pump reads what arrives.
type receiver struct {
	c        *conn
	p        *place
	consumer string
	next     string        // the subject to ask for messages on
	inbox    string        // the subject that the messages come to
	beat     time.Duration // how often a message that is not settled needs a heartbeat
	sub      *natsgo.Subscription
	arriving chan *natsgo.Msg
	arrived  chan struct{} // holds one signal for Receive
	wake     chan struct{} // holds one signal for the pump: there is room
	done     chan struct{} // closed when the subscription has ended
	exited   chan struct{} // closed when the pump has ended

	mu        sync.Mutex
	prefetch  int // how many may be on the list, with what was asked for
	err       error
	buffer    []*held   // arrived and not returned by Receive
	list      held      // both ends of the list of what is not settled, by its last heartbeat
	unsettled int       // how many are on the list
	asked     int       // messages that were asked for and have not arrived
	askedAt   time.Time // when messages were last asked for
	lastSign  time.Time // when the server last sent anything
}

// held is a message that is not settled.
type held struct {
	r          *receiver
	msg        *natsgo.Msg
	touched    time.Time // when it arrived or had its last heartbeat
	prev, next *held     // nil where it is settled
}

// The bodies of JetStream's acknowledgements.
var (
	ackAck      = []byte("+ACK")
	ackNak      = []byte("-NAK")
	ackProgress = []byte("+WPI")
)

// Subscribe finds or makes the stream and the consumer, and asks for messages.
func (c *conn) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	if s.Prefetch <= 0 {
		return nil, fmt.Errorf("subscribe to %q: Prefetch is %d and has to be above 0", s.Destination, s.Prefetch)
	}
	p := c.place(s.Destination, s.Topic)
	if err := c.find(ctx, p, true); err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", s.Destination, err)
	}
	name, ackWait, err := c.consumer(ctx, p, &s)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", s.Destination, err)
	}
	r := &receiver{
		c: c, p: p, prefetch: s.FirstWindow(),
		consumer: name,
		next:     c.api + "CONSUMER.MSG.NEXT." + p.stream + "." + name,
		inbox:    c.nc.NewInbox(),
		beat:     max(ackWait/3, 50*time.Millisecond),
		arriving: make(chan *natsgo.Msg, s.Prefetch+arrivingSpare),
		arrived:  make(chan struct{}, 1),
		wake:     make(chan struct{}, 1),
		done:     make(chan struct{}),
		exited:   make(chan struct{}),
	}
	r.list.prev, r.list.next = &r.list, &r.list
	if r.sub, err = c.nc.ChanSubscribe(r.inbox, r.arriving); err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", s.Destination, c.reason(err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	c.receivers[r] = struct{}{}
	go r.pump()
	return r, nil
}

// Receive returns what the pump has read.
func (r *receiver) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.mu.Lock()
		if r.err != nil {
			r.mu.Unlock()
			return nil, r.err
		}
		taken := r.takeArrived(limit)
		r.mu.Unlock()
		if len(taken) > 0 {
			deliveries := make([]broker.Delivery, len(taken))
			for i, h := range taken {
				r.deliver(&deliveries[i], h)
			}
			return deliveries, nil
		}
		select {
		case <-r.arrived:
		case <-r.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// takeArrived removes what has arrived, at most limit messages. It needs the lock.
func (r *receiver) takeArrived(limit int) (taken []*held) {
	if len(r.buffer) <= limit {
		taken, r.buffer = r.buffer, nil
		return taken
	}
	taken = slices.Clone(r.buffer[:limit])
	r.buffer = slices.Delete(r.buffer, 0, limit) // which keeps nothing of what was taken
	return taken
}

// deliver fills in a Delivery. The body and the headers' strings are this message's alone,
// as the client has made them.
func (r *receiver) deliver(d *broker.Delivery, h *held) {
	d.Destination, d.Topic = r.p.name, r.p.topic
	d.Body = h.msg.Data[:len(h.msg.Data):len(h.msg.Data)]
	readHeader(&d.Message, h.msg.Header)
	d.Redelivered, _ = ackSubject(h.msg.Reply)
	d.Token = h
}

// Identity is a message's place in its stream; see broker.Identified.
func (h *held) Identity() broker.Identity {
	at := ackTime(h.msg.Reply)
	if at.IsZero() {
		return broker.Identity{}
	}
	_, sequence := ackSubject(h.msg.Reply)
	return broker.Identity{Place: h.r.p.stream, Number: sequence, Time: at}
}

// ackSubject reads the subject that a message is acknowledged on:
// $JS.ACK.stream.consumer.delivered.streamSeq.consumerSeq.time.pending. After $JS.ACK there
// may be a domain and an account, and then another token at the end, too.
func ackSubject(reply string) (redelivered bool, sequence uint64) {
	var dots [12]int
	n := 0
	for i := 0; i < len(reply) && n < len(dots); i++ {
		if reply[i] == '.' {
			dots[n] = i
			n++
		}
	}
	first := 3 // the dot before the number of deliveries
	switch {
	case n < 8:
		return false, 0
	case n > 8:
		first = 5
	}
	sequence, _ = strconv.ParseUint(reply[dots[first+1]+1:dots[first+2]], 10, 64)
	return reply[dots[first]+1:dots[first+1]] != "1", sequence
}

// ackTime reads when the stream took a message, in ns since the Unix epoch: the last but one
// of the numbers of a subject that ackSubject reads. It tells the message from the one that
// had its number before the stream was made again.
func ackTime(reply string) time.Time {
	before := 7 // parts
	switch n := strings.Count(reply, "."); {
	case n < 8:
		return time.Time{}
	case n > 8:
		before = 9
	}
	for range before {
		_, reply, _ = strings.Cut(reply, ".")
	}
	number, _, _ := strings.Cut(reply, ".")
	ns, err := strconv.ParseInt(number, 10, 64)
	if err != nil || ns <= 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// Settle sends an acknowledgement for each message. JetStream does not answer them; where
// one is lost, its message comes again.
func (r *receiver) Settle(ctx context.Context, deliveries []broker.Delivery, d broker.Disposition) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var ack []byte
	switch d {
	case broker.Ack:
		ack = ackAck
	case broker.Requeue:
		ack = ackNak
	default:
		return fmt.Errorf("settle messages of %q: disposition %d: %w", r.p.name, int(d), errors.ErrUnsupported)
	}
	unknown := 0
	toSettle := make([]*held, 0, len(deliveries))
	r.mu.Lock()
	if r.err != nil {
		r.mu.Unlock()
		return r.err
	}
	for i := range deliveries {
		h, ok := deliveries[i].Token.(*held)
		if !ok || h.r != r || h.next == nil {
			unknown++
			continue
		}
		r.unlink(h)
		toSettle = append(toSettle, h)
	}
	room := r.room()
	r.mu.Unlock()
	if err := r.write(ctx, toSettle, ack); err != nil {
		return fmt.Errorf("settle messages of %q: %w", r.p.name, err)
	}
	if room > 0 {
		signal(r.wake)
	}
	if unknown > 0 {
		return fmt.Errorf("settle messages of %q: %d of %d were not received here or are settled already", r.p.name, unknown, len(deliveries))
	}
	return nil
}

// write sends the same acknowledgement for each message.
func (r *receiver) write(ctx context.Context, messages []*held, ack []byte) error {
	defer r.c.cutIfStuck(ctx)()
	for _, h := range messages {
		if err := r.c.nc.Publish(h.msg.Reply, ack); err != nil {
			return r.c.reason(err)
		}
	}
	return nil
}

// unlink takes a message from the list. It needs the lock.
func (r *receiver) unlink(h *held) {
	h.prev.next, h.next.prev = h.next, h.prev
	h.prev, h.next = nil, nil
	r.unsettled--
}

// link puts a message at the end of the list. It needs the lock.
func (r *receiver) link(h *held) {
	h.prev, h.next = r.list.prev, &r.list
	h.prev.next, h.next.prev = h, h
	r.unsettled++
}

// room is the number of messages that may be asked for. It needs the lock.
func (r *receiver) room() int { return r.prefetch - r.unsettled - r.asked }

// Resize changes how many messages are asked for; see broker.Resizer.
func (r *receiver) Resize(window int) {
	r.mu.Lock()
	r.prefetch = min(max(window, 1), cap(r.arriving)-arrivingSpare)
	r.mu.Unlock()
	signal(r.wake)
}

// Close gives back what is not settled.
func (r *receiver) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	if r.stop(broker.ErrClosed) {
		r.c.mu.Lock()
		delete(r.c.receivers, r)
		r.c.mu.Unlock()
		r.giveBack(ctx)
	}
	select {
	case <-r.exited:
	case <-ctx.Done():
	}
	return nil
}

// stop ends the subscription, once, and reports whether it was open.
func (r *receiver) stop(reason error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return false
	}
	r.err = reason
	close(r.done)
	return true
}

// giveBack ends the subscription at the server and gives back what is not settled, in the
// order of the stream, so that it comes again at once. It needs a call of stop before it.
func (r *receiver) giveBack(ctx context.Context) {
	select {
	case <-r.exited:
	case <-ctx.Done():
		return
	}
	if r.c.old {
		r.awaitQuiet(ctx)
	}
	// After Drain the server sends nothing more, and what it has sent has arrived when it
	// answers Flush.
	_ = r.sub.Drain()
	if r.c.nc.FlushWithContext(ctx) != nil {
		_ = r.sub.Unsubscribe()
		return
	}
	r.mu.Lock()
	for r.accept() != nil {
		continue // a status message, between others
	}
	back := make([]*held, 0, r.unsettled)
	for r.list.next != &r.list {
		h := r.list.next
		r.unlink(h)
		back = append(back, h)
	}
	r.buffer = nil
	r.mu.Unlock()
	if len(back) == 0 {
		return
	}
	slices.SortFunc(back, func(a, b *held) int {
		_, first := ackSubject(a.msg.Reply)
		_, second := ackSubject(b.msg.Reply)
		return cmp.Compare(first, second)
	})
	if r.c.old {
		// Asked for a consumer's state, a server drops the requests of subscriptions that
		// have ended.
		_, _ = r.c.js.Consumer(ctx, r.p.stream, r.consumer)
	}
	_ = r.write(ctx, back, ackNak)
}

// quietFor is how long an old server must have delivered nothing before a subscription ends
// while others have messages.
const quietFor = 100 * time.Millisecond

// awaitQuiet waits until an old server has nothing to deliver again on a request of this
// receiver. A server before 2.11 that is about to deliver a message again, and finds that
// the subscription behind the request has ended, keeps the message until its AckWait is
// over, and delivers another one twice. On a server under heavy load the wait may be too
// short; that costs only the delay and the copy.
func (r *receiver) awaitQuiet(ctx context.Context) {
	var delivered uint64
	since := time.Now()
	for {
		consumer, err := r.c.js.Consumer(ctx, r.p.stream, r.consumer)
		if err != nil {
			return
		}
		info := consumer.CachedInfo()
		r.mu.Lock()
		for r.accept() != nil {
			continue // a status message, between others
		}
		mine, asked := r.unsettled, r.asked
		r.mu.Unlock()
		// Without others, what is pending and not here is what waits to come again.
		if asked == 0 || info.NumAckPending <= mine {
			return
		}
		if info.Delivered.Consumer != delivered {
			delivered, since = info.Delivered.Consumer, time.Now()
		}
		if time.Since(since) > quietFor {
			return
		}
	}
}

// signal leaves a signal in a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
