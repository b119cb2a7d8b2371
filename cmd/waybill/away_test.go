package main

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/internal/fault/badnet"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// gate is a way to a server that can be open or closed; it begins closed.
type gate struct {
	t     *testing.T
	proxy *badnet.Proxy
}

// newGate returns a gate and the server's address through it.
func newGate(t *testing.T, variable string) (*gate, string) {
	t.Helper()
	u, err := url.Parse(testserver.Address(t, variable))
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := badnet.Listen(t.Context(), u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	g := &gate{t, proxy}
	g.close()
	u.Host = proxy.Addr()
	return g, u.String()
}

// open lets connections through.
func (g *gate) open() { g.set(badnet.Conditions{}) }

// close cuts what is open and refuses what comes.
func (g *gate) close() { g.set(badnet.Conditions{Away: true}) }

func (g *gate) set(c badnet.Conditions) {
	g.t.Helper()
	if err := g.proxy.Set(c); err != nil {
		g.t.Fatal(err)
	}
}

func TestWorkGoesOnWhenWhatWasAwayIsBack(t *testing.T) {
	t.Parallel()
	direct := newWorkspace(t, "WAYBILL_DB="+testserver.Address(t, "WAYBILL_TEST_POSTGRES"), "WAYBILL_PREFIX="+schema(t, "WAYBILL_TEST_POSTGRES"))
	direct.ok("", "init")
	databaseGate, database := newGate(t, "WAYBILL_TEST_POSTGRES")
	brokerGate, broker := newGate(t, "WAYBILL_TEST_ACTIVEMQ_AMQP1")
	gates := []*gate{databaseGate, brokerGate}
	w := direct.with("WAYBILL_DB="+database, "WAYBILL_BROKER="+broker)
	name := strings.ToLower(rand.Text()[:8])

	relay := w.start("relay", "--producer", "away-"+name, "--lease", "2s")
	receive := w.start("receive", "away."+name, "--consumer", "c")
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
		t.Errorf("got %d messages handled, want 30: %v", len(got), got)
	}
	for _, p := range []*process{relay, receive} {
		if text := p.stderr.String(); strings.Contains(text, "open-sesame") {
			t.Errorf("got a log with a password, want one without:\n%s", text)
		}
	}
}
