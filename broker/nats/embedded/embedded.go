// Package embedded is a durable broker inside the process: a NATS server with JetStream in a
// directory, which listens on no port, and its adapter. Call New with the directory, give
// the Broker to relays and inboxes, and call Shutdown at the end:
//
//	b, err := embedded.New("path/to/dir", nil)
//	...
//	defer b.Shutdown()
//
// It is for one machine, for demonstrations and for tests: Kill, Start, Break and Wipe make
// it fail as servers do. Commands know it by the address embedded:path/to/dir.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/option"
	"github.com/waybill-go/waybill/broker/nats"
)

// Options configure a Broker; nil and the zero value hold the defaults.
type Options struct {
	// SyncAlways syncs each message to the disk before it is Confirmed. Without it the
	// server writes each message before it is Confirmed, so that the end of the process
	// loses none, and syncs once a second: a loss of power may lose the last second. The
	// relay sends those messages again; only where waybill.Accepted is the Confirmation
	// does SyncAlways matter. JetStream syncs every message by itself, never a batch, which
	// makes publishing 20 to 40 times as slow. Default: false.
	SyncAlways bool
	// MaxMessage is the greatest message in bytes, body and headers together, at most
	// 64 MiB. Default: 8 MiB.
	MaxMessage int
	// MaxStore is how many bytes all messages may take on the disk; what comes beyond it is
	// Refused. Default: three quarters of what is free.
	MaxStore int64
	// AckWait is how long after the server was killed and started again messages that were
	// received and not settled come again. Default: 5 s.
	AckWait time.Duration
	// Listen is a host and port of the loopback interface, such as 127.0.0.1:4222, for
	// NATS' tools and for other processes of this machine. Default: none.
	Listen string
	// User and Password are asked of clients that connect through Listen. Default: none,
	// so that every process of this machine may connect.
	User, Password string
	// Log gets the server's messages: errors, warnings, and what it notes as debug.
	// Default: none.
	Log *slog.Logger
}

// Broker is a server and makes connections to it. It is safe for concurrent use.
type Broker struct {
	dir     string
	options Options
	adapter *nats.Broker

	mu     sync.Mutex // held while the server starts or stops; taken before connMu
	server *server.Server
	lock   *os.File

	connMu sync.Mutex
	conns  map[*conn]struct{}
}

var _ broker.Broker = (*Broker)(nil)

// ErrLocked is the error that New and Start return, wrapped, where another Broker uses the
// directory, be it in this process or another.
var ErrLocked = errors.New("the directory is in use by another embedded broker")

// ErrStopped is what Connect returns between Kill or Shutdown and Start.
var ErrStopped = errors.New("waybill: the embedded broker is stopped; Start starts it")

// New makes the directory where it does not exist, and starts a server in it. Call Shutdown
// at the end.
func New(dir string, o *Options) (*Broker, error) {
	b := &Broker{options: *option.Copy(o), conns: map[*conn]struct{}{}}
	o = &b.options
	option.SetDefault(&o.MaxMessage, 8<<20)
	option.SetDefault(&o.AckWait, 5*time.Second)
	if o.MaxMessage < 0 || o.MaxMessage > 64<<20 {
		return nil, fmt.Errorf("embedded broker: MaxMessage is %d, want 1 to %d bytes", o.MaxMessage, 64<<20)
	}
	if dir == "" {
		return nil, errors.New("embedded broker: the directory is empty; the address is embedded:path/to/dir")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	b.dir = dir
	b.adapter, err = nats.New("nats://embedded", &nats.Options{
		Dial:       b.dial,
		MaxMessage: o.MaxMessage,
		AckWait:    o.AckWait,
		User:       o.User,
		Password:   o.Password,
	})
	if err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	if err := b.Start(); err != nil {
		return nil, err
	}
	return b, nil
}

// Capabilities declares what JetStream can do, with the MaxMessage of the Options.
func (b *Broker) Capabilities() broker.Capabilities {
	c := b.adapter.Capabilities()
	c.Name = "embedded " + c.Name
	return c
}

// Connect opens a connection that does not leave the process. Between Kill or Shutdown and
// Start it returns ErrStopped.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	b.mu.Lock()
	stopped := b.server == nil
	b.mu.Unlock()
	if stopped {
		return nil, ErrStopped
	}
	return b.adapter.Connect(ctx)
}

// dial opens a pipe to the server, as the adapter's network connection.
func (b *Broker) dial(context.Context, string, string) (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server == nil {
		return nil, ErrStopped
	}
	pipe, err := b.server.InProcessConn()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: pipe, b: b}
	b.connMu.Lock()
	defer b.connMu.Unlock()
	b.conns[c] = struct{}{}
	return c, nil
}

// conn is a pipe to the server, which Break can close.
type conn struct {
	net.Conn
	b *Broker
}

// Close closes the pipe.
func (c *conn) Close() error {
	c.b.connMu.Lock()
	delete(c.b.conns, c)
	c.b.connMu.Unlock()
	return c.Conn.Close()
}

// Start starts the server again after Kill, Wipe or Shutdown. Where it runs, Start does
// nothing.
func (b *Broker) Start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server != nil {
		return nil
	}
	if err := b.start(); err != nil {
		return fmt.Errorf("embedded broker in %s: %w", b.dir, err)
	}
	return nil
}

// syncInterval is how often the server syncs to the disk without SyncAlways.
const syncInterval = time.Second

// startTimeout is how long a server may take to read its directory.
const startTimeout = time.Minute

// start takes the directory's lock and starts a server. It needs mu.
func (b *Broker) start() (err error) {
	if err := os.MkdirAll(b.dir, 0o750); err != nil {
		return err
	}
	lock, err := lockFile(filepath.Join(b.dir, "waybill.lock"))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			unlockFile(lock)
		}
	}()
	options := &server.Options{
		ServerName:        "waybill-embedded",
		DontListen:        b.options.Listen == "",
		JetStream:         true,
		StoreDir:          b.dir,
		JetStreamMaxStore: b.options.MaxStore,
		SyncAlways:        b.options.SyncAlways,
		SyncInterval:      syncInterval,
		MaxPayload:        int32(b.options.MaxMessage),
		NoSigs:            true,
		Username:          b.options.User,
		Password:          b.options.Password,
	}
	if b.options.Listen != "" {
		if options.Host, options.Port, err = loopback(b.options.Listen); err != nil {
			return err
		}
	}
	for began := time.Now(); ; time.Sleep(portPause) {
		s, log, err := b.serve(options)
		if err == nil {
			b.server, b.lock = s, lock
			return nil
		}
		if !log.inUse() || time.Since(began) > portPatience {
			return err
		}
	}
}

// A port that the server has just left may be in use for a moment still: by a process that
// this one is starting, which has its files until it runs its own program.
const (
	portPatience = 2 * time.Second
	portPause    = 50 * time.Millisecond
)

// serve starts a server and waits until it is ready. It tries once.
func (b *Broker) serve(options *server.Options) (*server.Server, *logger, error) {
	log := &logger{to: b.options.Log, fatal: make(chan struct{})}
	s, err := server.NewServer(options.Clone())
	if err != nil {
		return nil, log, err
	}
	s.SetLogger(log, false, false)
	s.Start()
	ready := false
	for deadline := time.Now().Add(startTimeout); !ready && !log.failed() && time.Now().Before(deadline); {
		ready = s.ReadyForConnections(portPause)
	}
	if ready && s.JetStreamEnabled() {
		return s, log, nil
	}
	s.Shutdown()
	s.WaitForShutdown()
	return nil, log, fmt.Errorf("the server did not start: %s", log.last())
}

// loopback splits an address of the loopback interface; any other is an error.
func loopback(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("Listen: %w", err)
	}
	if port, err = strconv.Atoi(text); err != nil {
		return "", 0, fmt.Errorf("Listen: port %q is no number", text)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", 0, fmt.Errorf("Listen: %s is not the loopback interface; run a nats-server to be reached from elsewhere", host)
	}
	return host, port, nil
}

// Break cuts every connection from within the process. New connections can be opened at
// once.
func (b *Broker) Break() {
	b.connMu.Lock()
	defer b.connMu.Unlock()
	for c := range b.conns {
		_ = c.Conn.Close()
	}
	clear(b.conns)
}

// Kill cuts every connection, in the middle of whatever it does, and stops the server. What
// was Confirmed is in the directory. Start starts the server again.
func (b *Broker) Kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kill()
}

// kill is Kill. It needs mu.
func (b *Broker) kill() {
	if b.server == nil {
		return
	}
	b.Break()
	b.server.Shutdown()
	b.server.WaitForShutdown()
	b.server = nil
	unlockFile(b.lock)
}

// Wipe stops the server as Kill does and deletes all that it keeps, as if its disk were
// lost. Start starts it again, with nothing.
func (b *Broker) Wipe() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kill()
	if err := os.RemoveAll(filepath.Join(b.dir, server.JetStreamStoreDir)); err != nil {
		return fmt.Errorf("embedded broker: %w", err)
	}
	return nil
}

// Shutdown stops the server. Close the connections before it. It may be called again.
func (b *Broker) Shutdown() error {
	b.Kill()
	return nil
}
