package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/dial"
)

// Conn is one connection to a cluster: a client of the library for publishing, another
// once something is published Transient, and one for each Receiver. Each has as many
// network connections as it talks with brokers. When one of them breaks, all end.
type Conn struct {
	broker  *Broker
	done    chan struct{}
	running sync.WaitGroup // everything that start has started
	up      atomic.Bool    // Connect has succeeded: from now on a broken connection counts
	durable *client
	login   sasl.Mechanism // nil for none

	mu        sync.Mutex
	err       error
	transient *client
	receivers map[*Receiver]struct{}
	topics    map[place]*lookup
}

var _ broker.Conn = (*Conn)(nil)

// client is one of the library, which ends at once with kill.
type client struct {
	*kgo.Client
	kill context.CancelFunc
}

// close ends a client that is in no group.
func (c *client) close() {
	c.Close()
	c.kill()
}

// Connect reaches a broker, logs in, and keeps the connection. See broker.Broker.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	ways := b.mechanisms
	if len(ways) == 0 {
		ways = []sasl.Mechanism{nil}
	}
	first := int(b.works.Load())
	for i := range ways {
		at := (first + i) % len(ways)
		c, err := b.connect(ctx, ways[at])
		if err == nil {
			b.works.Store(int64(at))
			return c, nil
		}
		// A broker hangs up on a mechanism that it does not offer, with or without a word.
		unknown := errors.Is(err, io.EOF) || errors.Is(err, kerr.UnsupportedSaslMechanism)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if !unknown || ctx.Err() != nil || i+1 == len(ways) {
			return nil, fmt.Errorf("kafka: connect to %v: %w", b.address.seeds, refusal(err))
		}
	}
	panic("unreachable: the last way returns")
}

// connect connects in one way to log in; nil for none.
func (b *Broker) connect(ctx context.Context, login sasl.Mechanism) (*Conn, error) {
	c := &Conn{broker: b, login: login, done: make(chan struct{}), receivers: map[*Receiver]struct{}{}, topics: map[place]*lookup{}}
	var err error
	if c.durable, err = c.client(kgo.RequiredAcks(kgo.AllISRAcks())); err != nil {
		return nil, err
	}
	// While the library logs in it does not look at the context of the request.
	stop := context.AfterFunc(ctx, c.durable.kill)
	err = c.durable.Ping(ctx)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.durable.close()
		return nil, err
	}
	c.up.Store(true)
	c.start(c.probe)
	return c, nil
}

// refusal adds broker.ErrRefused to an error that trying again cannot help.
func refusal(err error) error {
	if errors.Is(err, broker.ErrRefused) {
		return err
	}
	for _, final := range []*kerr.Error{
		kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState, kerr.ClusterAuthorizationFailed,
	} {
		if errors.Is(err, final) {
			return fmt.Errorf("%w: %w", broker.ErrRefused, err)
		}
	}
	return dial.Refused(err)
}

// sendTimes is how often the library sends a record again that the broker did not take,
// as it does not while a partition changes its leader or has too few replicas. With the
// library's pauses, of 250 ms at first and 2.5 s at most, that is a quarter of a minute,
// and then the caller learns of it.
const sendTimes = 8

// client makes a client of the library with what all of them have in common.
func (c *Conn) client(options ...kgo.Opt) (*client, error) {
	b := c.broker
	life, kill := context.WithCancel(context.Background())
	size := int32(b.options.MaxMessage + overhead)
	if c.login != nil {
		options = append(options, kgo.SASL(c.login))
	}
	made, err := kgo.NewClient(append([]kgo.Opt{
		kgo.WithContext(life),
		kgo.SeedBrokers(b.address.seeds...),
		kgo.ClientID(b.options.ClientID),
		kgo.Dialer(c.dial),
		kgo.DisableClientMetrics(),
		// The first metadata of a topic that was just made may not know it yet.
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.UnknownTopicRetries(goneTimes),
		kgo.RecordRetries(sendTimes),
		kgo.MetadataMaxAge(time.Minute),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(size),
		kgo.MaxBufferedRecords(20_000),
		kgo.MaxBufferedBytes(max(64<<20, 2*int(size))),
	}, options...)...)
	if err != nil {
		kill()
		return nil, err
	}
	return &client{Client: made, kill: kill}, nil
}

// dial opens a network connection whose end is c's.
func (c *Conn) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.broker.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &socket{Conn: conn, broken: func(err error) {
		if c.up.Load() {
			c.end(err)
		}
	}}, nil
}

// producer returns the client that publishes. Durable messages are numbered, so that
// what the library sends again is not stored twice, and confirmed by every replica
// that is in step; Transient ones by the partition's leader alone.
func (c *Conn) producer(transient bool) (*client, error) {
	if !transient {
		return c.durable, c.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && c.transient == nil {
		client, err := c.client(kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
		if err != nil {
			return nil, err
		}
		c.transient = client
	}
	return c.transient, c.err
}

// probe tries the connection now and then: a broker that is gone is noticed also while
// nothing is to be said.
func (c *Conn) probe() {
	ctx, cancel := c.alive()
	defer cancel()
	tick := time.NewTicker(c.broker.options.PingInterval)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		limited, cancel := context.WithTimeout(ctx, 2*c.broker.options.PingInterval)
		err := c.durable.Ping(limited)
		cancel()
		if err != nil {
			c.end(fmt.Errorf("kafka: no broker answers: %w", err))
		}
	}
}

// alive returns a context that ends with c.
func (c *Conn) alive() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-c.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// start runs f in a goroutine that Close waits for, unless c has ended.
func (c *Conn) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.running.Go(f)
	return true
}

// end ends c for the reason err, once. What it holds is closed by Close.
func (c *Conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.done)
	}
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is why the connection ended; see broker.Conn.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

const (
	// polite bounds the goodbye of a Conn or Receiver: the last commit, and leaving the
	// group, so that others need not wait for SessionTimeout.
	polite = 5 * time.Second
	// politeAfter is the same for a Conn that has broken, where perhaps nobody listens.
	politeAfter = 2 * time.Second
)

// Close commits what is settled, leaves the consumer groups, for no longer than ctx
// allows and 5 s, and ends everything.
func (c *Conn) Close(ctx context.Context) error {
	c.mu.Lock()
	bound := politeAfter
	if c.err == nil {
		bound = polite
		c.err = broker.ErrClosed
		close(c.done)
	}
	var receivers []*Receiver
	for r := range c.receivers {
		receivers = append(receivers, r)
	}
	clear(c.receivers)
	clients := []*client{c.durable}
	if c.transient != nil {
		clients = append(clients, c.transient)
	}
	c.mu.Unlock()

	limited, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	var group sync.WaitGroup
	for _, r := range receivers {
		group.Go(func() { r.leave(limited) })
	}
	for _, client := range clients {
		group.Go(client.close)
	}
	group.Wait()
	c.running.Wait()
	return nil
}

// forget removes a receiver. It reports whether c had it.
func (c *Conn) forget(r *Receiver) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.receivers[r]
	delete(c.receivers, r)
	return ok
}
