package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/dial"
	"github.com/waybill-go/waybill/internal/recent"
)

// conn is one connection to a cluster: a client of the library for publishing, another
// once something is published Transient, and one for each receiver. Each of them has a
// network connection to every broker that it talks to. When one of these breaks, all end:
// the library would connect again by itself and for ever, and a broker.Conn does not.
type conn struct {
	broker  *Broker
	done    chan struct{}
	running sync.WaitGroup // everything that start has started
	up      atomic.Bool    // Connect has succeeded: from now on a network connection that breaks ends this one
	durable *client
	login   sasl.Mechanism // nil for none
	lone    chan *client   // for messages that travel alone; nil until one does. Whoever uses it takes it out

	mu        sync.Mutex
	err       error
	transient *client
	receivers map[*receiver]struct{}
	topics    recent.Map[lookupKey, *lookup]
}

var _ broker.Conn = (*conn)(nil)

// client is a client of the library. kill ends whatever it does at once.
type client struct {
	*kgo.Client
	kill context.CancelFunc
}

// close ends a client that is in no group.
func (c *client) close() {
	c.Close()
	c.kill()
}

// ping returns once a broker answers: one of those that the client knows of, or a seed. It
// asks one after the other, each once, and returns the last one's error. Each has a request
// of its own: when the client ends, the library may still read the request of one broker
// while it numbers the next one's (its own Ping shares one among them).
func (c *client) ping(ctx context.Context) error {
	var err error
	for _, b := range slices.Concat(c.DiscoveredBrokers(), c.SeedBrokers()) {
		request := kmsg.NewPtrMetadataRequest()
		request.Topics = []kmsg.MetadataRequestTopic{} // none, which nil would not be
		if _, err = b.Request(ctx, request); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// Connect reaches a broker, logs in, and keeps the connection. See broker.Broker.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	logins := b.mechanisms
	if len(logins) == 0 {
		logins = []sasl.Mechanism{nil}
	}
	first := int(b.works.Load())
	for i := range logins {
		at := (first + i) % len(logins)
		c, err := b.connect(ctx, logins[at])
		if err == nil {
			b.works.Store(int64(at))
			return c, nil
		}
		// A broker that does not offer the mechanism says so, or only hangs up.
		unknown := errors.Is(err, io.EOF) || errors.Is(err, kerr.UnsupportedSaslMechanism)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if !unknown || ctx.Err() != nil || i+1 == len(logins) {
			return nil, fmt.Errorf("kafka: connect to %v: %w", b.address.seeds, refusal(err))
		}
	}
	panic("unreachable: the last mechanism returns")
}

// connect connects and logs in with a mechanism, or with nil does not log in.
func (b *Broker) connect(ctx context.Context, login sasl.Mechanism) (*conn, error) {
	c := &conn{broker: b, login: login, done: make(chan struct{}), receivers: map[*receiver]struct{}{}, topics: recent.Map[lookupKey, *lookup]{Most: maxTopics}, lone: make(chan *client, 1)}
	c.lone <- nil
	var err error
	if c.durable, err = c.client(kgo.RequiredAcks(kgo.AllISRAcks())); err != nil {
		return nil, err
	}
	// The library ignores the context of the request while it logs in.
	stop := context.AfterFunc(ctx, c.durable.kill)
	err = c.durable.ping(ctx)
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

// refusal adds broker.ErrRefused to an error where trying again cannot help.
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

// sendTimes is how often the library sends a record again that the broker does not take,
// such as while a partition changes its leader or has too few replicas. With its pauses, of
// 250 ms at first and 2.5 s at most, that takes about a quarter of a minute; then Publish
// returns it.
const sendTimes = 8

// client makes a client of the library, with the options that all of them share.
func (c *conn) client(options ...kgo.Opt) (*client, error) {
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
		// A broker may not know a topic yet that was just made.
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

// dial opens a network connection that ends c when it breaks.
func (c *conn) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.broker.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &watchedConn{Conn: conn, broken: func(err error) {
		if c.up.Load() {
			c.end(err)
		}
	}}, nil
}

// producer returns the client that publishes. Durable messages are numbered, so that
// what the library sends again is not stored twice, and confirmed by every replica
// that is in step; Transient ones by the partition's leader alone.
func (c *conn) producer(transient bool) (*client, error) {
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

// probe sends a request every PingInterval, so that the end of a broker is noticed also
// when nothing else is sent.
func (c *conn) probe() {
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
		err := c.durable.ping(limited)
		cancel()
		if err != nil {
			c.end(fmt.Errorf("kafka: no broker answers: %w", err))
		}
	}
}

// alive returns a context that ends with c.
func (c *conn) alive() (context.Context, context.CancelFunc) {
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

// start runs f in a goroutine that Close waits for. Where c has ended, it does not, and
// reports false.
func (c *conn) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.running.Go(f)
	return true
}

// end ends c for the reason err, once. What it holds is closed by Close.
func (c *conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.done)
	}
}

// Done is closed when the connection has ended.
func (c *conn) Done() <-chan struct{} { return c.done }

// Err is why the connection ended; see broker.Conn.
func (c *conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

const (
	// closeTimeout bounds the end of a conn or receiver: the last commit, and leaving the
	// group, so that others need not wait for SessionTimeout.
	closeTimeout = 5 * time.Second
	// brokenCloseTimeout is the same for a conn that has broken: perhaps nobody answers.
	brokenCloseTimeout = 2 * time.Second
)

// Close commits what is settled, leaves the consumer groups and ends everything. It waits
// for the brokers for no longer than ctx allows and 5 s.
func (c *conn) Close(ctx context.Context) error {
	c.mu.Lock()
	limit := brokenCloseTimeout
	if c.err == nil {
		limit = closeTimeout
		c.err = broker.ErrClosed
		close(c.done)
	}
	var receivers []*receiver
	for r := range c.receivers {
		receivers = append(receivers, r)
	}
	clear(c.receivers)
	clients := []*client{c.durable}
	if c.transient != nil {
		clients = append(clients, c.transient)
	}
	select {
	case client := <-c.lone:
		if client != nil {
			clients = append(clients, client)
		}
		c.lone <- nil
	default: // who uses it closes it
	}
	c.mu.Unlock()

	limited, cancel := context.WithTimeout(ctx, limit)
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

// forget removes a receiver, and reports whether it was there.
func (c *conn) forget(r *receiver) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.receivers[r]
	delete(c.receivers, r)
	return ok
}
