package badnet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/waybill-go/waybill/internal/test/patience"
)

// server is one that keeps its connections for the test.
type server struct {
	*Proxy
	t     *testing.T
	conns chan net.Conn
}

func newServer(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, conns: make(chan net.Conn, 10)}
	if s.Proxy, err = Listen(t.Context(), l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(s.conns)
				return
			}
			s.conns <- c
		}
	})
	t.Cleanup(func() {
		s.Close()
		l.Close()
		accepting.Wait()
		for c := range s.conns {
			c.Close()
		}
	})
	return s
}

// pair opens a connection, and returns both of its ends.
func (s *server) pair() (client, end net.Conn) {
	s.t.Helper()
	client, err := net.Dial("tcp", s.Addr())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { client.Close() })
	end = <-s.conns
	s.t.Cleanup(func() { end.Close() })
	return client, end
}

func (s *server) set(c Conditions) {
	s.t.Helper()
	if err := s.Set(c); err != nil {
		s.t.Fatal(err)
	}
}

// quiet is how long nothing may come.
const quiet = 100 * time.Millisecond

// passes writes text to one connection, which must arrive at the other.
func (s *server) passes(from, to net.Conn, text string) {
	s.t.Helper()
	if _, err := from.Write([]byte(text)); err != nil {
		s.t.Fatal(err)
	}
	s.arrives(to, text)
}

func (s *server) arrives(to net.Conn, text string) {
	s.t.Helper()
	got := make([]byte, len(text))
	_ = to.SetReadDeadline(time.Now().Add(patience.Limit))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
		s.t.Fatalf("got %q, %v; want %q", got, err, text)
	}
}

// silent sees to it that nothing comes, not even an end.
func (s *server) silent(c net.Conn) {
	s.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(quiet))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Fatalf("read %d bytes, %v", n, err)
	}
}

// broken sees to it that a connection has ended otherwise than in good order.
func (s *server) broken(c net.Conn) {
	s.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience.Limit))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Fatalf("read: %v", err)
	}
}

func TestBytesAndTheirEndPassInEitherDirection(t *testing.T) {
	s := newServer(t)
	client, end := s.pair()
	long := string(bytes.Repeat([]byte("0123456789"), 20_000))
	s.passes(client, end, long)
	s.passes(end, client, long)
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := end.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the server reads %v", err)
	}
	s.passes(end, client, "still")
	end.Close()
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %v", err)
	}
}

func TestAResetPasses(t *testing.T) {
	s := newServer(t)
	client, end := s.pair()
	s.passes(client, end, "a")
	reset(end)
	s.broken(client)
}

func TestADelayAndARateTakeTime(t *testing.T) {
	s := newServer(t)
	client, end := s.pair()
	for _, x := range []struct {
		c     Conditions
		bytes int
		least time.Duration
	}{
		{Conditions{Up: Way{Delay: 200 * time.Millisecond, Jitter: time.Millisecond}}, 100_000, 200 * time.Millisecond},
		{Conditions{Up: Way{Rate: 100_000}}, 40_000, 350 * time.Millisecond},
		{Conditions{Down: Way{Delay: time.Hour}}, 100, 0},
		{Conditions{}, 100_000, 0},
	} {
		s.set(x.c)
		began := time.Now()
		s.passes(client, end, string(make([]byte, x.bytes)))
		if took := time.Since(began); took < x.least {
			t.Errorf("%+v: %v", x.c, took)
		}
	}
	for _, endless := range []Way{{Delay: time.Hour}, {Rate: 1}} {
		s.set(Conditions{Up: endless})
		if _, err := client.Write([]byte("on its way")); err != nil {
			t.Fatal(err)
		}
		s.silent(end)
		s.set(Conditions{})
		s.arrives(end, "on its way")
	}
}

func TestWhatIsHeldPassesLater(t *testing.T) {
	s := newServer(t)
	client, end := s.pair()
	s.set(Conditions{Up: Way{Hold: true}})
	if _, err := client.Write([]byte("later")); err != nil {
		t.Fatal(err)
	}
	s.passes(end, client, "now")
	client.Close()
	s.silent(end)
	s.set(Conditions{})
	s.arrives(end, "later")
	if _, err := end.Read(make([]byte, 1)); err == nil {
		t.Error("the connection's end did not pass")
	}
}

func TestABlackHoleSwallowsAndBreaksWhatHasLostSomething(t *testing.T) {
	for name, c := range map[string]Conditions{
		"up": {Up: Way{Lose: true}}, "down": {Down: Way{Lose: true}}, "both": {Up: Way{Lose: true}, Down: Way{Lose: true}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			client, end := s.pair()
			idle, idleEnd := s.pair()
			s.set(c)
			for _, x := range []struct {
				from, to net.Conn
				loses    bool
			}{{client, end, c.Up.Lose}, {end, client, c.Down.Lose}} {
				if !x.loses {
					s.passes(x.from, x.to, "through")
					continue
				}
				if _, err := x.from.Write([]byte("lost")); err != nil {
					t.Fatal(err)
				}
				s.silent(x.to)
			}
			s.set(Conditions{})
			s.broken(client)
			s.broken(end)
			s.passes(idle, idleEnd, "as before")
		})
	}
}

func TestNobodyHearsOfAnEndInABlackHole(t *testing.T) {
	s := newServer(t)
	client, end := s.pair()
	s.set(Conditions{Up: Way{Lose: true}})
	reset(client)
	s.silent(end)
	s.set(Conditions{})
	s.broken(end)
}

func TestAResettingNetworkEndsNewConnectionsToo(t *testing.T) {
	s := newServer(t)
	client, end := s.pair()
	s.set(Conditions{Reset: true})
	s.broken(client)
	s.broken(end)
	again, err := net.Dial("tcp", s.Addr())
	if err == nil {
		defer again.Close()
		s.broken(again)
	}
	s.set(Conditions{})
	client, end = s.pair()
	s.passes(client, end, "again")
}

func TestANetworkThatIsAwayComesBackAtItsPort(t *testing.T) {
	s := newServer(t)
	client, end := s.pair()
	s.set(Conditions{Away: true})
	s.broken(client)
	s.broken(end)
	if c, err := net.Dial("tcp", s.Addr()); err == nil {
		c.Close()
		t.Error("a connection was opened")
	}
	taken, err := net.Listen("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Set(Conditions{}); err == nil {
		t.Error("it listens at a port that another program has")
	}
	taken.Close()
	s.set(Conditions{})
	client, end = s.pair()
	s.passes(client, end, "again")
	s.Cut()
	s.broken(client)
	client, end = s.pair()
	s.passes(client, end, "and again")
}

// A peer that reads nothing, such as a paused process, must keep nobody from changing
// the conditions or closing the proxy.
func TestAConnectionThatIsStuckHoldsUpNobody(t *testing.T) {
	s := newServer(t)
	client, _ := s.pair()
	_ = client.SetWriteDeadline(time.Now().Add(time.Second))
	for {
		if _, err := client.Write(make([]byte, 1<<20)); err != nil {
			break // everything on the way is full
		}
	}
	for _, c := range []Conditions{{Up: Way{Rate: 1}}, {Up: Way{Lose: true}}, {Down: Way{Hold: true}}, {}} {
		s.set(c)
	}
	other, end := s.pair()
	s.passes(other, end, "through")
	s.Close()
	if err := s.Set(Conditions{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestAServerThatIsNotThereEndsTheConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	p, err := Listen(t.Context(), gone)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(patience.Limit))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read: %v", err)
	}
}
