package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/dial"
	"github.com/waybill-go/waybill/internal/recent"
)

// conn is a connection to one server.
type conn struct {
	b       *Broker
	nc      *natsgo.Conn
	js      jetstream.JetStream
	api     string // the beginning of the subjects of JetStream's management
	socket  socket
	old     bool // the server is older than 2.11; see receiver.awaitQuiet
	replies replies
	window  window
	done    chan struct{}
	exited  chan struct{} // closed when the client has run its last callback

	mu        sync.Mutex
	err       error
	places    recent.Map[destination, *place]
	receivers map[*receiver]struct{}
}

// dialTimeout bounds the opening of one network connection, so that a server that does not
// answer leaves time for the others of the list.
const dialTimeout = 10 * time.Second

// writeTimeout is how long a server may take no bytes before its connection ends.
const writeTimeout = 20 * time.Second

// Connect opens a connection to the first server that lets it in.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", b.hosts(), err)
	}
	c := &conn{
		b:         b,
		done:      make(chan struct{}),
		exited:    make(chan struct{}),
		places:    recent.Map[destination, *place]{Most: maxPlaces},
		receivers: map[*receiver]struct{}{},
	}
	c.window.limit(b.options.Window)
	o, err := b.natsOptions()
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", b.hosts(), err)
	}
	o.CustomDialer = c.socket.dialer(ctx, b.options.Dial)
	o.AsyncErrorCB = func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) { c.replies.deny(err) }
	o.ClosedCB = func(nc *natsgo.Conn) {
		c.end(fmt.Errorf("the connection to %s ended: %w", b.hosts(), lastError(nc)))
		close(c.exited)
	}
	if deadline, ok := ctx.Deadline(); ok {
		o.Timeout = max(min(o.Timeout, time.Until(deadline)), time.Millisecond)
	}
	stop := context.AfterFunc(ctx, c.socket.cut)
	nc, err := o.Connect()
	if !stop() && err == nil {
		nc.Close()
		err = ctx.Err()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("connect to %s: %w", b.hosts(), connectError(err, c.socket.last))
	}
	c.nc = nc
	c.old = olderThan(nc.ConnectedServerVersion(), 2, 11)
	if err := c.open(); err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to %s: %w", b.hosts(), err)
	}
	return c, nil
}

// natsOptions are the options of the client library.
func (b *Broker) natsOptions() (o natsgo.Options, err error) {
	o = natsgo.GetDefaultOptions()
	o.Servers = b.urls
	o.Name = b.options.Name
	o.User, o.Password, o.Token = b.user, b.password, b.token
	o.AllowReconnect = false
	o.IgnoreDiscoveredServers = true
	o.SkipHostLookup = true // the dialer does it, and ends with the context
	o.FlusherTimeout = writeTimeout
	o.PingInterval = b.options.PingInterval
	o.MaxPingsOut = 2
	o.InboxPrefix = b.options.InboxPrefix
	o.Timeout = dialTimeout
	if b.tls != nil {
		o.Secure = true
		if o.TLSConfig, err = b.tls(); err != nil {
			return o, err
		}
	}
	if b.options.Credentials != "" {
		if err := natsgo.UserCredentials(b.options.Credentials)(&o); err != nil {
			return o, err
		}
	}
	return o, nil
}

// open prepares what a new connection needs.
func (c *conn) open() (err error) {
	c.api = "$JS.API."
	if domain := c.b.options.Domain; domain != "" {
		c.api = "$JS." + domain + ".API."
		c.js, err = jetstream.NewWithDomain(c.nc, domain)
	} else {
		c.js, err = jetstream.New(c.nc)
	}
	if err != nil {
		return err
	}
	return c.replies.listen(c)
}

// connectError makes an error match ErrRefused where trying again cannot help. dialed is the
// last error of the dialer, which the client does not pass on.
func connectError(err, dialed error) error {
	switch {
	case errors.Is(err, natsgo.ErrNoServers) && dialed != nil:
		return dialed
	case errors.Is(err, natsgo.ErrAuthorization), errors.Is(err, natsgo.ErrAuthExpired), errors.Is(err, natsgo.ErrAuthRevoked),
		errors.Is(err, natsgo.ErrAccountAuthExpired), errors.Is(err, natsgo.ErrNkeysNotSupported):
		return fmt.Errorf("%w: check the user, password, token or credentials: %w", broker.ErrRefused, err)
	case errors.Is(err, natsgo.ErrSecureConnWanted):
		return fmt.Errorf("%w: the server offers no TLS; use nats://, or set it up there: %w", broker.ErrRefused, err)
	}
	// A server that does not take the client's certificate sends an alert and ends the
	// connection. Where the client notices the end first, it looks like a connection that
	// was lost.
	if strings.Contains(err.Error(), "remote error: tls:") {
		return fmt.Errorf("%w: check the certificates: %w", broker.ErrRefused, err)
	}
	return dial.Refused(err)
}

// olderThan reports whether a server's version, such as 2.9.10, is older than major.minor.
func olderThan(version string, major, minor int) bool {
	var x, y int
	if _, err := fmt.Sscanf(version, "%d.%d.", &x, &y); err != nil {
		return true
	}
	return x < major || x == major && y < minor
}

// lastError is why the client says that its connection has ended.
func lastError(nc *natsgo.Conn) error {
	if err := nc.LastError(); err != nil {
		return err
	}
	return natsgo.ErrConnectionClosed
}

// Done is closed when the connection has ended.
func (c *conn) Done() <-chan struct{} { return c.done }

// Err is why the connection ended.
func (c *conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// end marks the connection as ended for this reason, once, and returns the receivers that
// were open.
func (c *conn) end(reason error) []*receiver {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return nil
	}
	c.err = reason
	receivers := make([]*receiver, 0, len(c.receivers))
	for r := range c.receivers {
		receivers = append(receivers, r)
	}
	c.mu.Unlock()
	close(c.done)
	return receivers
}

// closeTimeout bounds a Close whose context has no deadline.
const closeTimeout = 10 * time.Second

// Close gives back what is not settled, sends what is buffered and ends the connection. It
// waits for the server for no longer than ctx allows and 10 s.
func (c *conn) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	receivers := c.end(broker.ErrClosed)
	stop := context.AfterFunc(ctx, c.socket.cut)
	defer stop()
	if receivers != nil {
		for _, r := range receivers {
			r.stop(broker.ErrClosed)
		}
		var closing sync.WaitGroup
		for _, r := range receivers {
			closing.Go(func() { r.giveBack(ctx) })
		}
		closing.Wait()
		_ = c.nc.FlushWithContext(ctx)
		c.nc.Close()
	}
	select {
	case <-c.exited:
	case <-ctx.Done():
	}
	return nil
}

// socket is the network connection beneath the client's, so that it can be closed while
// the client hangs: the client's own calls take no context and have its lock while they
// write.
type socket struct {
	mu   sync.Mutex
	conn net.Conn
	gone bool  // cut has been called
	last error // of the last attempt to connect that failed
}

// dialFunc implements nats.CustomDialer.
type dialFunc func(network, address string) (net.Conn, error)

// Dial calls the function.
func (f dialFunc) Dial(network, address string) (net.Conn, error) { return f(network, address) }

// dialer returns what the client opens its network connection with. It ends with ctx.
func (s *socket) dialer(ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error)) dialFunc {
	return func(network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := dial(ctx, network, address)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.last = err
			return nil, err
		}
		if s.gone {
			_ = conn.Close()
			return nil, net.ErrClosed
		}
		s.conn = conn
		return conn, nil
	}
}

// cut closes the network connection at once.
func (s *socket) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	if s.conn != nil {
		_ = s.conn.Close()
	}
}
