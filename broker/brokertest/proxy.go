package brokertest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy listens on a port of its own and passes TCP connections on to the target,
// host:port, until the test ends. Connect to the address; the Link is what cuts
// and holds the connections.
func Proxy(t testing.TB, target string) (address string, link Link) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("brokertest: %v", err)
	}
	p := &proxy{target: target, conns: map[net.Conn]bool{}}
	p.passing.L = &p.mu
	p.goroutines.Go(func() { p.serve(listener) })
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.release()
		p.cut()
		p.goroutines.Wait()
	})
	return listener.Addr().String(), Link{Cut: p.cut, Hold: p.hold, Release: p.release}
}

// proxy passes bytes on.
type proxy struct {
	target     string
	goroutines sync.WaitGroup

	mu      sync.Mutex
	passing sync.Cond // held has become false
	held    bool
	closed  bool
	conns   map[net.Conn]bool
}

func (p *proxy) serve(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		p.goroutines.Go(func() {
			server, err := net.Dial("tcp", p.target)
			if err != nil {
				client.Close()
				return
			}
			if !p.keep(client, server) {
				return
			}
			var pair sync.WaitGroup
			pair.Go(func() { p.pass(server, client) })
			pair.Go(func() { p.pass(client, server) })
			pair.Wait()
		})
	}
}

// keep adds a pair of connections to what cut closes.
func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.closed {
			c.Close()
			continue
		}
		p.conns[c] = true
	}
	return !p.closed
}

// pass copies from one connection to the other, and closes both at the end.
func (p *proxy) pass(to, from net.Conn) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range []net.Conn{to, from} {
			c.Close()
			delete(p.conns, c)
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.wait()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				reset(to)
			}
			return
		}
	}
}

func (p *proxy) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.held {
		p.passing.Wait()
	}
}

func (p *proxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = true
}

func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
	p.passing.Broadcast()
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
	clear(p.conns)
}

// reset closes a connection so that its peer reads an error at once.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}
