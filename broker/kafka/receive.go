package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill-go/waybill/broker"
)

// Receiver receives from one destination, as a member of its consumer group. See
// broker.Receiver.
type Receiver struct {
	conn         *Conn
	client       *client
	name         string   // of the Kafka topic
	id           [16]byte // of the Kafka topic, where the cluster has ids
	subscription broker.Subscription
	wake         chan struct{}  // has room for one: something has arrived
	room         chan struct{}  // has room for one: something was settled
	dirty        chan struct{}  // has room for one: there may be something to commit
	done         chan struct{}  // closed when err is set
	running      sync.WaitGroup // pump and commit

	committing sync.Mutex // held from looking at positions until Kafka knows them

	mu        sync.Mutex
	err       error
	arrivals  []broker.Delivery
	tracks    tracks
	unsettled int // handed over by the library and not settled
}

// fetchWait is how long a broker holds a fetch that finds nothing. A partition that is
// assigned meanwhile waits for it to end.
const fetchWait = 500 * time.Millisecond

var _ broker.Receiver = (*Receiver)(nil)

// Subscribe joins the destination's consumer group. It does not wait until the group
// has assigned partitions. See broker.Conn.
func (c *Conn) Subscribe(ctx context.Context, sub broker.Subscription) (broker.Receiver, error) {
	if sub.Prefetch <= 0 {
		return nil, fmt.Errorf("kafka: subscribe to %q: Prefetch is %d", sub.Destination, sub.Prefetch)
	}
	if sub.Topic && sub.Group == "" {
		return nil, fmt.Errorf("kafka: subscribe to the topic %q: a topic needs a Group", sub.Destination)
	}
	at := place{sub.Destination, sub.Topic}
	c.unresolve(at) // it may have been deleted, which would be why somebody subscribes again
	name, err := c.resolve(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("kafka: subscribe to %q: %w", sub.Destination, err)
	}
	id, err := c.topicID(ctx, name)
	if err != nil && !isMissing(err) { // a topic that was just made may not be known everywhere
		return nil, fmt.Errorf("kafka: subscribe to %q: %w", sub.Destination, err)
	}
	r := &Receiver{
		conn: c, name: name, id: id, subscription: sub, tracks: tracks{},
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1), dirty: make(chan struct{}, 1), done: make(chan struct{}),
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
		kgo.BlockRebalanceOnPoll(), // until what was polled is on a track
		kgo.OnPartitionsRevoked(r.revoked),
		kgo.OnPartitionsLost(r.lost),
	)
	if err != nil {
		return nil, fmt.Errorf("kafka: subscribe to %q: %w", sub.Destination, err)
	}
	if err := c.adopt(r); err != nil {
		r.client.kill()
		r.client.CloseAllowingRebalance()
		return nil, fmt.Errorf("kafka: subscribe to %q: %w", sub.Destination, err)
	}
	return r, nil
}

// adopt sets a receiver going that ends with c, unless c has ended.
func (c *Conn) adopt(r *Receiver) error {
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

// pump takes what the library has fetched, no more than Prefetch lets in.
func (r *Receiver) pump() {
	ctx, cancel := r.alive()
	defer cancel()
	for ctx.Err() == nil {
		r.mu.Lock()
		room := r.subscription.Prefetch - r.unsettled
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
				r.judge(ctx, problem.Err)
			}
		}
	}
}

// alive returns a context that ends with r or its Conn.
func (r *Receiver) alive() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-r.done:
		case <-r.conn.done:
		case <-ctx.Done():
		}
		cancel()
	}()
	return ctx, cancel
}

// arrived puts records on the tracks of their partitions, and where Receive finds them.
func (r *Receiver) arrived(fetches kgo.Fetches) {
	n := fetches.NumRecords()
	if n == 0 {
		return
	}
	tokens := make([]token, 0, n)
	r.mu.Lock()
	if r.err == nil {
		fetches.EachRecord(func(in *kgo.Record) {
			t := r.tracks[in.Partition]
			if t != nil && in.Offset < t.next {
				// The partition has lost its end, and goes on from further back: what came
				// of that end is nothing to settle, and no position to commit.
				r.abandon(t)
				t = nil
			}
			if t == nil {
				t = newTrack(in.Offset, in.LeaderEpoch)
				r.tracks[in.Partition] = t
			}
			tokens = append(tokens, token{receiver: r, track: t, offset: in.Offset, epoch: in.LeaderEpoch})
			k := &tokens[len(tokens)-1]
			t.add(k)
			d := decode(in, &r.subscription)
			d.Token = k
			r.arrivals = append(r.arrivals, d)
			r.unsettled++
		})
	}
	r.mu.Unlock()
	signal(r.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// judge ends the subscription where an error of the library means that it does not get
// over it by itself.
func (r *Receiver) judge(ctx context.Context, err error) {
	switch {
	case isMissing(err):
		// Also said of a topic that is new and not known everywhere.
		if r.conn.isGone(ctx, r.name, r.id) {
			r.end(fmt.Errorf("kafka: the topic %q was deleted: %w", r.name, err))
		}
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.GroupAuthorizationFailed),
		errors.Is(err, kerr.InvalidSessionTimeout), errors.Is(err, kerr.InconsistentGroupProtocol),
		errors.Is(err, kerr.GroupMaxSizeReached), errors.Is(err, kgo.ErrMaxDecompress), errors.Is(err, kgo.ErrClientClosed):
		r.end(fmt.Errorf("kafka: the subscription of %q: %w", r.subscription.Destination, err))
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

// Receive waits for messages and returns what has arrived; see broker.Receiver. Within
// one partition they are in the order of publishing.
func (r *Receiver) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	for {
		if err := r.failure(); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.mu.Lock()
		n := min(max(limit, 1), len(r.arrivals))
		taken := slices.Clone(r.arrivals[:n])
		r.arrivals = slices.Delete(r.arrivals, 0, n)
		r.mu.Unlock()
		if n > 0 {
			return taken, nil
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
		case <-r.done:
		case <-r.conn.done:
		}
	}
}

// Settle notes that the deliveries are done with. Their positions are committed soon,
// and before the subscription ends. Requeue and DeadLetter match errors.ErrUnsupported.
func (r *Receiver) Settle(_ context.Context, deliveries []broker.Delivery, d broker.Disposition) error {
	if err := r.failure(); err != nil {
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
		if k, _ := deliveries[i].Token.(*token); k.track.settle(k) {
			r.unsettled--
		}
	}
	r.mu.Unlock()
	signal(r.room)
	signal(r.dirty)
	return nil
}
