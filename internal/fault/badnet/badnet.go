// Package badnet is a TCP proxy between a program and a server, whose network goes bad
// when it is told to: slow, narrow, dead in one direction or both, resetting, or away.
//
// A change of the conditions waits for no connection, whatever state that is in: parties
// that are paused or killed are what the proxy is there for.
package badnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/waybill-go/waybill/internal/test/freeport"
)

// Conditions are those of the network. The zero value is a good one.
type Conditions struct {
	// Up is what happens on the way to the server, Down on the way back.
	Up, Down Way
	// Reset resets all connections, and those that are opened, at once.
	Reset bool
	// Away resets all connections, and refuses those that are to be opened.
	Away bool
}

// Way is one direction. A connection's end travels as its bytes do. What is on its way
// when conditions change travels on in the new ones.
type Way struct {
	// Delay is how long bytes are on their way, and Jitter how much longer at most.
	Delay, Jitter time.Duration
	// Rate is how many bytes pass in a second; 0 for any number.
	Rate int
	// Hold lets nothing pass while it lasts.
	Hold bool
	// Lose swallows everything. A connection that has lost something is reset when
	// conditions change to some in which its way loses nothing.
	Lose bool
}

// Proxy passes connections on to a server. It is safe for concurrent use.
type Proxy struct {
	target string
	addr   string
	work   sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil while Away
	now      Conditions
	changed  chan struct{} // closed by the next change
	pairs    map[*pair]struct{}
	closed   bool
}

// Listen makes a proxy with a port of its own on 127.0.0.1, before the server at target,
// host:port. The proxy outlives ctx.
func Listen(ctx context.Context, target string) (*Proxy, error) {
	l, err := freeport.Listen(ctx)
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, addr: l.Addr().String(), changed: make(chan struct{}), pairs: map[*pair]struct{}{}}
	p.accept(l)
	return p, nil
}

// Addr is where the proxy listens, host:port.
func (p *Proxy) Addr() string { return p.addr }

// Set changes the conditions. An error says that the proxy cannot listen at its port
// again; it is Away then, and may be told once more.
func (p *Proxy) Set(c Conditions) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	if !c.Away && p.listener == nil {
		var config net.ListenConfig
		l, err := config.Listen(context.Background(), "tcp", p.addr)
		if err != nil {
			return fmt.Errorf("listen again: %w", err)
		}
		p.accept(l)
	}
	p.now = c
	close(p.changed)
	p.changed = make(chan struct{})
	if c.Away && p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	for x := range p.pairs {
		if c.Reset || c.Away || x.lost[up] && !c.Up.Lose || x.lost[down] && !c.Down.Lose {
			x.reset()
		}
	}
	return nil
}

// Cut resets the connections that there are.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for x := range p.pairs {
		x.reset()
	}
}

// Close resets the connections, stops listening, and waits until the proxy's goroutines
// have ended.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	for x := range p.pairs {
		x.reset()
	}
	p.mu.Unlock()
	p.work.Wait()
}

// accept serves a listener, until that is closed. p.mu is held, or p not in use yet.
func (p *Proxy) accept(l net.Listener) {
	p.listener = l
	p.work.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.work.Go(func() { p.serve(client) })
		}
	})
}

// serve passes on what comes on a connection, and on the server's for it.
func (p *Proxy) serve(client net.Conn) {
	x := &pair{ended: make(chan struct{})}
	x.conns[down] = client
	if !p.keep(x) {
		reset(client)
		return
	}
	defer p.drop(x)
	dialer := net.Dialer{Timeout: 10 * time.Second}
	server, err := dialer.DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	if !x.complete(server) {
		reset(server)
		return
	}
	var ways sync.WaitGroup
	for _, way := range []int{up, down} {
		chunks := make(chan chunk, chunksUnderWay)
		ways.Go(func() { x.read(x.conns[1-way], chunks) })
		ways.Go(func() { p.write(x, way, chunks) })
	}
	ways.Wait()
	client.Close()
	server.Close()
}

// keep adds a pair, unless conditions are such that there is to be none.
func (p *Proxy) keep(x *pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.now.Reset || p.now.Away {
		return false
	}
	p.pairs[x] = struct{}{}
	return true
}

func (p *Proxy) drop(x *pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pairs, x)
}

// way returns the conditions of one direction, and what is closed when they change.
// Where they lose what passes, the pair is marked.
func (p *Proxy) way(x *pair, way int) (Way, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.now.Up
	if way == down {
		c = p.now.Down
	}
	if c.Lose {
		x.lost[way] = true
	}
	return c, p.changed
}

// The two ways, which are also the places of the connections where they end.
const (
	up = iota
	down
)

const (
	chunkBytes     = 4 << 10
	chunksUnderWay = 256
)

// chunk is what was read at a time.
type chunk struct {
	bytes []byte
	at    time.Time
	end   error // the connection's end, in place of bytes
}

// pair is a client's connection and the server's for it.
type pair struct {
	lost  [2]bool // by way: something was; guarded by Proxy.mu
	ended chan struct{}

	mu    sync.Mutex
	over  bool
	conns [2]net.Conn // that of the server, and that of the client
}

// complete adds the server's connection, unless the pair is over.
func (x *pair) complete(server net.Conn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return false
	}
	x.conns[up] = server
	return true
}

// reset ends both connections, so that their peers read an error at once.
func (x *pair) reset() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return
	}
	x.over = true
	close(x.ended)
	for _, c := range x.conns {
		if c != nil {
			reset(c)
		}
	}
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// read reads a connection to its end.
func (x *pair) read(from net.Conn, to chan<- chunk) {
	for {
		buf := make([]byte, chunkBytes)
		n, err := from.Read(buf)
		for _, c := range []chunk{{bytes: buf[:n], at: time.Now()}, {end: err, at: time.Now()}} {
			if len(c.bytes) == 0 && c.end == nil {
				continue
			}
			select {
			case to <- c:
			case <-x.ended:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// write passes on what was read, in the conditions of the time at which it does.
func (p *Proxy) write(x *pair, way int, from <-chan chunk) {
	for {
		select {
		case <-x.ended:
			return
		case c := <-from:
			if !p.pass(x, way, &c) {
				x.reset()
				return
			}
			if c.end != nil {
				return
			}
		}
	}
}

// pass passes one chunk on. It returns false where the pair is to end.
func (p *Proxy) pass(x *pair, way int, c *chunk) bool {
	for {
		now, changed := p.way(x, way)
		switch {
		case now.Lose && c.end == nil:
			return true
		case now.Lose, now.Hold:
			// Nobody hears of the end meanwhile.
			select {
			case <-changed:
			case <-x.ended:
				return false
			}
			continue
		}
		wait := time.Until(c.at.Add(now.Delay))
		if now.Jitter > 0 {
			wait += rand.N(now.Jitter)
		}
		if now.Rate > 0 {
			wait = max(wait, 0) + time.Duration(len(c.bytes))*time.Second/time.Duration(now.Rate)
		}
		if wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-changed:
				timer.Stop()
				continue
			case <-x.ended:
				timer.Stop()
				return false
			}
		}
		if errors.Is(c.end, io.EOF) {
			half, ok := x.conns[way].(*net.TCPConn)
			return ok && half.CloseWrite() == nil
		}
		if c.end != nil {
			return false
		}
		_, err := x.conns[way].Write(c.bytes)
		return err == nil
	}
}
