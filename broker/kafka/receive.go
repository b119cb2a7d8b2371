package kafka

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/arrival"
)

// receiver receives from one destination, as a member of its consumer group. See
// broker.Receiver.
type receiver struct {
	conn         *conn
	client       *client
	name         string   // of the Kafka topic
	id           [16]byte // of the Kafka topic, where the cluster has ids
	idText       string
	subscription broker.Subscription
	arrivals     *arrival.Buffer
	room         chan struct{}  // has room for one: something was settled
	dirty        chan struct{}  // has room for one: there may be something to commit
	running      sync.WaitGroup // pump and commit

	committing sync.Mutex // held from reading positions until Kafka knows them

	mu          sync.Mutex
	assignments assignments
	window      int // how many may be unsettled
	unsettled   int // messages that the library has handed over and that are not settled
}

// fetchWait is how long a broker waits with the answer to a fetch that finds nothing. A
// partition that is assigned meanwhile is fetched after that.
const fetchWait = 500 * time.Millisecond

var _ broker.Receiver = (*receiver)(nil)

// Subscribe joins the destination's consumer group. It does not wait until the group
// has assigned partitions. See broker.Conn.
func (c *conn) Subscribe(ctx context.Context, sub broker.Subscription) (broker.Receiver, error) {
	if sub.Prefetch <= 0 {
		return nil, fmt.Errorf("kafka: subscribe to %q: Prefetch is %d", sub.Destination, sub.Prefetch)
	}
	if sub.Topic && sub.Group == "" {
		return nil, fmt.Errorf("kafka: subscribe to the topic %q: a topic needs a Group", sub.Destination)
	}
	d := destination{sub.Destination, sub.Topic}
	c.unresolve(d) // it may have been deleted, which is a reason to subscribe again
	name, err := c.resolve(ctx, lookupKey{destination: d})
	if err != nil {
		return nil, fmt.Errorf("kafka: subscribe to %q: %w", sub.Destination, err)
	}
	id, err := c.topicID(ctx, name)
	if err != nil && !isMissing(err) { // not every broker may know a topic that was just made
		return nil, fmt.Errorf("kafka: subscribe to %q: %w", sub.Destination, err)
	}
	r := &receiver{
		conn: c, name: name, id: id, idText: hex.EncodeToString(id[:]), subscription: sub, arrivals: arrival.NewBuffer(c), assignments: assignments{}, window: sub.FirstWindow(),
		room: make(chan struct{}, 1), dirty: make(chan struct{}, 1),
	}
	r.client, err = c.client(
		kgo.ConsumerGroup(groupOf(sub.Group, name, sub.Topic)),
		kgo.ConsumeTopics(name),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxBytes(16<<20),
		kgo.FetchMaxWait(fetchWait),
		kgo.KeepRetryableFetchErrors(),
		kgo.SessionTimeout(c.broker.options.SessionTimeout),
		kgo.HeartbeatInterval(max(c.broker.options.SessionTimeout/15, 200*time.Millisecond)),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(), // until what was polled is noted
		kgo.OnPartitionsRevoked(r.revoked),
		kgo.OnPartitionsLost(r.lost),
	)
	if err != nil {
		return nil, fmt.Errorf("kafka: subscribe to %q: %w", sub.Destination, err)
	}
	if err := c.add(r); err != nil {
		r.client.kill()
		r.client.CloseAllowingRebalance()
		return nil, fmt.Errorf("kafka: subscribe to %q: %w", sub.Destination, err)
	}
	return r, nil
}

// add adds a receiver and starts it, unless c has ended.
func (c *conn) add(r *receiver) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.receivers[r] = struct{}{}
	r.running.Go(r.pump)
	r.running.Go(r.commit)
	return nil
}

// pump takes what the library has fetched, while less than the window is not settled.
func (r *receiver) pump() {
	ctx, cancel := r.alive()
	defer cancel()
	for ctx.Err() == nil {
		r.mu.Lock()
		room := r.window - r.unsettled
		r.mu.Unlock()
		if room <= 0 {
			select {
			case <-r.room:
			case <-ctx.Done():
			}
			continue
		}
		fetches := r.client.PollRecords(ctx, room)
		r.arrived(fetches)
		r.client.AllowRebalance()
		for _, problem := range fetches.Errors() {
			if ctx.Err() == nil {
				r.endIfFatal(ctx, problem.Err)
			}
		}
	}
}

// alive returns a context that ends with the subscription or its connection.
func (r *receiver) alive() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-r.arrivals.Done():
		case <-r.conn.done:
		case <-ctx.Done():
		}
		cancel()
	}()
	return ctx, cancel
}

// arrived notes records with the assignments of their partitions, and puts them where
// Receive finds them.
func (r *receiver) arrived(fetches kgo.Fetches) {
	n := fetches.NumRecords()
	if n == 0 {
		return
	}
	tokens, deliveries := make([]token, 0, n), make([]broker.Delivery, 0, n)
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.arrivals.Done():
		return
	default:
	}
	fetches.EachRecord(func(in *kgo.Record) {
		a := r.assignments[in.Partition]
		if a != nil && in.Offset < a.next {
			// The partition has lost its end and goes on from an earlier offset. What came
			// of that end cannot be settled, and its positions must not be committed.
			r.abandon(a)
			deliveries = slices.DeleteFunc(deliveries, a.has)
			a = nil
		}
		if a == nil {
			a = newAssignment(in.Offset, in.LeaderEpoch)
			r.assignments[in.Partition] = a
		}
		tokens = append(tokens, token{receiver: r, assignment: a, partition: in.Partition, offset: in.Offset,
			epoch: in.LeaderEpoch, time: in.Timestamp.UnixMilli()})
		k := &tokens[len(tokens)-1]
		a.add(k)
		d := decode(in, &r.subscription)
		d.Token = k
		deliveries = append(deliveries, d)
		r.unsettled++
	})
	r.arrivals.Add(deliveries...) // at once, so that Receive returns them together
}

// Identity is a record's place in its topic, and its time stamp; see broker.Identified.
func (k *token) Identity() broker.Identity {
	i := broker.Identity{Place: k.receiver.name, Part: k.partition, Number: uint64(k.offset)}
	if k.receiver.id != [16]byte{} { // else a topic that is made again has the same name, and other time stamps
		i.Place = k.receiver.idText
	}
	if k.time > 0 {
		i.Time = time.UnixMilli(k.time)
	}
	return i
}

// signal leaves a signal in a channel that has room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// endIfFatal ends the subscription over an error of the library that will not pass.
func (r *receiver) endIfFatal(ctx context.Context, err error) {
	switch {
	case isMissing(err):
		// A broker says so of a topic too that is new, and that it does not know yet.
		if r.conn.isGone(ctx, r.name, r.id) {
			r.arrivals.End(fmt.Errorf("kafka: the topic %q was deleted: %w", r.name, err))
		}
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.GroupAuthorizationFailed),
		errors.Is(err, kerr.InvalidSessionTimeout), errors.Is(err, kerr.InconsistentGroupProtocol),
		errors.Is(err, kerr.GroupMaxSizeReached), errors.Is(err, kgo.ErrMaxDecompress), errors.Is(err, kgo.ErrClientClosed):
		r.arrivals.End(fmt.Errorf("kafka: the subscription of %q: %w", r.subscription.Destination, err))
	}
}

// Receive waits for messages and returns what has arrived; see broker.Receiver. Those of
// one partition are in the order of publishing.
func (r *receiver) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	return r.arrivals.Receive(ctx, limit)
}

// Resize changes how many messages are taken of what the library has fetched; see
// broker.Resizer.
func (r *receiver) Resize(window int) {
	r.mu.Lock()
	r.window = max(window, 1)
	r.mu.Unlock()
	signal(r.room)
}

// Settle notes that the deliveries are settled. Their positions are committed soon, and
// before the subscription ends. Requeue and DeadLetter match errors.ErrUnsupported.
func (r *receiver) Settle(_ context.Context, deliveries []broker.Delivery, d broker.Disposition) error {
	if err := r.arrivals.Err(); err != nil {
		return fmt.Errorf("kafka: settle: %w", err)
	}
	if d != broker.Ack {
		return fmt.Errorf("kafka: settle with disposition %d: Kafka remembers positions and not messages: %w", d, errors.ErrUnsupported)
	}
	for i := range deliveries {
		if k, ok := deliveries[i].Token.(*token); !ok || k.receiver != r {
			return fmt.Errorf("kafka: settle: delivery %d is not of this subscription of %q", i, r.subscription.Destination)
		}
	}
	r.mu.Lock()
	for i := range deliveries {
		if k, _ := deliveries[i].Token.(*token); k.assignment.settle(k) {
			r.unsettled--
		}
	}
	r.mu.Unlock()
	signal(r.room)
	signal(r.dirty)
	return nil
}
