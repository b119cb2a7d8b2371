package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/waybill-go/waybill/internal/test/testserver"
)

// gate is a way to a server that can be open or closed; it begins closed.
type gate struct {
	t              *testing.T
	address, there string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
}

// newGate returns a gate and the server's address through it.
func newGate(t *testing.T, variable string) (*gate, string) {
	t.Helper()
	u, err := url.Parse(testserver.Address(t, variable))
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{t: t, address: closedPort(t), there: u.Host, conns: map[net.Conn]bool{}}
	u.Host = g.address
	t.Cleanup(g.close)
	return g, u.String()
}

// open lets connections through.
func (g *gate) open() {
	g.t.Helper()
	l, err := net.Listen("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	g.listener = l
	g.mu.Unlock()
	go func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", g.there)
			if err != nil {
				_ = here.Close()
				continue
			}
			g.mu.Lock()
			g.conns[here], g.conns[there] = true, true
			g.mu.Unlock()
			go g.pass(here, there)
			go g.pass(there, here)
		}
	}()
}

func (g *gate) pass(from, to net.Conn) {
	_, _ = io.Copy(to, from) // ends with either connection
	_ = from.Close()
	_ = to.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, from)
	delete(g.conns, to)
}

// close cuts what is open and refuses what comes.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != nil {
		_ = g.listener.Close()
	}
	for c := range g.conns {
		_ = c.Close()
	}
}

func TestWorkGoesOnWhenWhatWasAwayIsBack(t *testing.T) {
	t.Parallel()
	direct := newSetting(t, "WAYBILL_DB="+testserver.Address(t, "WAYBILL_TEST_POSTGRES"), "WAYBILL_PREFIX="+schema(t, "WAYBILL_TEST_POSTGRES"))
	direct.ok("", "init")
	databaseGate, database := newGate(t, "WAYBILL_TEST_POSTGRES")
	brokerGate, broker := newGate(t, "WAYBILL_TEST_ACTIVEMQ_AMQP1")
	gates := []*gate{databaseGate, brokerGate}
	s := direct.with("WAYBILL_DB="+database, "WAYBILL_BROKER="+broker)
	name := strings.ToLower(rand.Text()[:8])

	relay := s.start("relay", "--producer", "away-"+name, "--lease", "2s")
	receive := s.start("receive", "away."+name, "--consumer", "c")
	relay.says("refused")
	receive.says("refused")
	for round := 1; round <= 3; round++ {
		for i := range 10 {
			direct.ok("", "send", "away."+name, "--body", fmt.Sprint(round, "-", i))
		}
		databaseGate.open()
		if round == 1 {
			relay.says("connecting again") // the broker is still away
		}
		brokerGate.open()
		eventually(t, "the messages to be confirmed", func() bool { return pending(direct) == 0 })
		for _, g := range gates {
			g.close()
		}
	}
	databaseGate.open()
	brokerGate.open()
	relay.stops()
	receive.stops()
	got := map[string]int{}
	for _, l := range printedLines(t, receive.stdout.String()) {
		got[*l.Body]++
	}
	if len(got) != 30 {
		t.Errorf("%d messages were handled: %v", len(got), got)
	}
	for _, p := range []*process{relay, receive} {
		if text := p.stderr.String(); strings.Contains(text, "open-sesame") {
			t.Errorf("a password in the log:\n%s", text)
		}
	}
}
