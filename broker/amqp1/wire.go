package amqp1

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/dial"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// wire is one network connection with its one session.
type wire struct {
	conn    *amqp.Conn
	session *amqp.Session
	net     *gatherer
	kind    Kind
}

// dial opens a network connection, logs in and begins a session. container is the
// container id, for a durable subscription of a topic, or empty for a random one.
func (b *Broker) dial(ctx context.Context, container string) (*wire, error) {
	raw, err := b.target.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("amqp1: connect to %s: %w", b.target.Address, err)
	}
	w := &wire{net: gather(raw, b.idleTimeout)}
	options := &amqp.ConnOptions{
		ContainerID: container,
		HostName:    b.target.Host,
		IdleTimeout: b.idleTimeout,
		SASLType: func(c *amqp.Conn) error {
			// The broker's order decides between mechanisms.
			if b.target.HasUser {
				return amqp.SASLTypePlain(b.target.User, b.target.Password)(c)
			}
			if b.target.Query.Get("cert") != "" {
				if err := amqp.SASLTypeExternal("")(c); err != nil {
					return err
				}
			}
			return amqp.SASLTypeAnonymous()(c)
		},
	}
	if w.conn, err = amqp.NewConn(ctx, w.net, options); err != nil {
		raw.Close()
		return nil, b.refusal(ctx, err)
	}
	if w.session, err = w.conn.NewSession(ctx, nil); err != nil {
		w.conn.Close()
		return nil, b.refusal(ctx, err)
	}
	product, _ := w.conn.Properties()["product"].(string)
	if w.kind = jmsbroker.Product(product); w.kind == jmsbroker.Any {
		w.kind = b.kind
	}
	return w, nil
}

// refusal wraps an error of the opening so that it matches broker.ErrRefused where
// another try cannot help.
func (b *Broker) refusal(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("amqp1: connect to %s: %w", b.target.Address, ctx.Err())
	}
	refused := errors.Is(err, broker.ErrRefused)
	var said *amqp.Error
	if errors.As(err, &said) && (said.Condition == amqp.ErrCondUnauthorizedAccess || said.Condition == amqp.ErrCondNotAllowed) {
		refused = true
	}
	// The library has only text for the outcomes of SASL: 1 is the credentials, 3 a
	// fault that stays.
	for _, outcome := range []string{"auth failed with code 0x1", "auth failed with code 0x3", "no supported auth mechanism"} {
		if strings.Contains(err.Error(), outcome) {
			refused = true
		}
	}
	err = dial.Refused(err)
	if refused && !errors.Is(err, broker.ErrRefused) {
		err = fmt.Errorf("%w: %w", broker.ErrRefused, err)
	}
	return fmt.Errorf("amqp1: connect to %s: %w", b.target.Address, err)
}

// close ends the session, which waits until the broker has read everything before
// it, acknowledgements among it, and then the connection. Ending the session
// detaches links without closing them: a durable subscription stays.
func (w *wire) close(ctx context.Context) {
	polite, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = w.session.Close(polite)
	w.conn.Close()
}

// gatherer is a network connection that gathers what is written while an earlier
// write is under way. go-amqp writes each frame by itself and waits for it; with
// this, hundreds of small frames share one system call, and a slow network holds
// nothing up until its buffer is full.
type gatherer struct {
	net.Conn
	patience time.Duration // a write that finds no room for so long breaks the connection
	flushed  sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	waiting []byte
	room    chan struct{} // closed when there is room again; nil while there is
	err     error
	closed  bool
}

const gatherBytes = 256 << 10

func gather(conn net.Conn, patience time.Duration) *gatherer {
	g := &gatherer{Conn: conn, patience: patience}
	g.changed = sync.NewCond(&g.mu)
	g.flushed.Add(1)
	go g.flush()
	return g
}

// Write takes p and returns, unless too much is waiting already.
func (g *gatherer) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.waiting) >= gatherBytes && g.err == nil {
		if g.room == nil {
			g.room = make(chan struct{})
		}
		room := g.room
		g.mu.Unlock()
		timer := time.NewTimer(g.patience)
		select {
		case <-room:
		case <-timer.C:
			g.fail(errors.New("the broker has read nothing for too long"))
		}
		timer.Stop()
		g.mu.Lock()
	}
	if g.err != nil {
		return 0, g.err
	}
	g.waiting = append(g.waiting, p...)
	g.changed.Signal()
	return len(p), nil
}

// flush writes what is waiting until the connection is closed or fails.
func (g *gatherer) flush() {
	defer g.flushed.Done()
	var spare []byte
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		for len(g.waiting) == 0 && g.err == nil && !g.closed {
			g.changed.Wait()
		}
		if g.err != nil || len(g.waiting) == 0 {
			return
		}
		data := g.waiting
		g.waiting = spare[:0]
		if g.room != nil {
			close(g.room)
			g.room = nil
		}
		g.mu.Unlock()
		_, err := g.Conn.Write(data)
		if spare = data; cap(spare) > 4*gatherBytes {
			spare = nil
		}
		if err != nil {
			g.fail(err)
		}
		g.mu.Lock()
	}
}

// fail breaks the connection.
func (g *gatherer) fail(err error) {
	g.mu.Lock()
	if g.err == nil {
		g.err = err
	}
	if g.room != nil {
		close(g.room)
		g.room = nil
	}
	g.changed.Signal()
	g.mu.Unlock()
	g.Conn.Close()
}

// stuck reports whether a write is waiting for room.
func (g *gatherer) stuck() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.room != nil
}

// SetDeadline sets the reader's deadline: writers do not wait for the network.
func (g *gatherer) SetDeadline(t time.Time) error { return g.Conn.SetReadDeadline(t) }

// SetWriteDeadline does nothing; patience takes its place.
func (g *gatherer) SetWriteDeadline(time.Time) error { return nil }

// Close writes what is waiting, for no longer than a second, and closes.
func (g *gatherer) Close() error {
	g.mu.Lock()
	g.closed = true
	g.changed.Signal()
	g.mu.Unlock()
	_ = g.Conn.SetWriteDeadline(time.Now().Add(time.Second))
	g.flushed.Wait()
	g.fail(net.ErrClosed)
	return nil
}
