// Package embedded is a durable broker inside the process: a NATS server with
// JetStream in a directory, without a port, and its adapter. It is for one
// machine, for demonstrations and for tests; the address is embedded:path/to/dir.
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
	"github.com/waybill-go/waybill/broker/nats"
)

// Options are the settings of a Broker. The zero value has every default.
type Options struct {
	// SyncAlways syncs each message to the disk before it is Confirmed. By default the
	// server writes each message before it is Confirmed, which the end of the process
	// does not undo, and syncs once a second, so that a loss of power takes the last
	// second with it. The relay sends that again; only messages whose Confirmation
	// is waybill.Accepted need more. JetStream syncs message by message and never
	// for a batch: it costs a factor of 20 to 40.
	SyncAlways bool
	// MaxMessage is the greatest message in bytes, body and headers together.
	// Default 8 MiB, at most 64 MiB.
	MaxMessage int
	// MaxStore is the greatest number of bytes that all messages may take on the
	// disk; what comes beyond it is Refused. Default three quarters of what is free.
	MaxStore int64
	// AckWait is how long after the server was killed and started again messages
	// that were received and not settled come again. Default 5 s.
	AckWait time.Duration
	// Listen is a host and port of the loopback interface for NATS' tools, such as
	// 127.0.0.1:4222, and for other processes of this machine. Default none.
	Listen string
	// User and Password are asked of who comes in through Listen. Default none: every
	// process of this machine gets in.
	User, Password string
	// Log gets the server's warnings and errors. Default none.
	Log *slog.Logger
}

// Broker is a server and makes connections to it. It is safe for concurrent use.
type Broker struct {
	dir     string
	options Options
	adapter *nats.Broker

	mu     sync.Mutex // held while the server starts and stops; taken before connMu
	server *server.Server
	lock   *os.File

	connMu sync.Mutex
	conns  map[*conn]struct{}
}

var _ broker.Broker = (*Broker)(nil)

// ErrLocked is matched by the error of New and Start where another Broker, of this
// process or another one, has the directory.
var ErrLocked = errors.New("the directory is in use by another embedded broker")

// ErrStopped is what Connect returns between Kill or Shutdown and Start.
var ErrStopped = errors.New("waybill: the embedded broker is stopped; Start starts it")

// New makes the directory where it does not exist and starts a server in it. Nil
// options mean the defaults. Call Shutdown at the end.
func New(dir string, options *Options) (*Broker, error) {
	b := &Broker{conns: map[*conn]struct{}{}}
	if options != nil {
		b.options = *options
	}
	o := &b.options
	if o.MaxMessage == 0 {
		o.MaxMessage = 8 << 20
	}
	if o.AckWait == 0 {
		o.AckWait = 5 * time.Second
	}
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

// Capabilities are JetStream's, with the MaxMessage of the Options.
func (b *Broker) Capabilities() broker.Capabilities {
	c := b.adapter.Capabilities()
	c.Name = "embedded " + c.Name
	return c
}

// Connect opens a connection within the process.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	b.mu.Lock()
	stopped := b.server == nil
	b.mu.Unlock()
	if stopped {
		return nil, ErrStopped
	}
	return b.adapter.Connect(ctx)
}

// dial opens a pipe to the server.
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

// conn is a connection that Kill knows of until it is closed.
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

// Start starts the server again after Kill or Shutdown. Where it runs, Start does
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

// syncInterval is how often the server syncs without SyncAlways.
const syncInterval = time.Second

// startTimeout is how long a server may take to read its directory.
const startTimeout = time.Minute

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

// A port that the server has just left may be taken for a moment still: by a process
// that this one is starting, until it is another program.
const (
	portPatience = 2 * time.Second
	portPause    = 50 * time.Millisecond
)

// serve starts a server, once.
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

// loopback splits an address, which has to be the machine's own.
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

// Break cuts every connection. Whoever connects afterwards gets through.
func (b *Broker) Break() {
	b.connMu.Lock()
	defer b.connMu.Unlock()
	for c := range b.conns {
		_ = c.Conn.Close()
	}
	clear(b.conns)
}

// Kill stops the server without notice: connections end in the middle of whatever
// they do. What was Confirmed is in the directory. Start starts the server again.
func (b *Broker) Kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kill()
}

// kill needs the lock.
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

// Wipe kills the server and deletes everything that it keeps, as if its disk were
// lost. Start starts it again with nothing.
func (b *Broker) Wipe() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kill()
	if err := os.RemoveAll(filepath.Join(b.dir, server.JetStreamStoreDir)); err != nil {
		return fmt.Errorf("embedded broker: %w", err)
	}
	return nil
}

// Shutdown stops the server; close the connections before. It may be called again.
func (b *Broker) Shutdown() error {
	b.Kill()
	return nil
}
