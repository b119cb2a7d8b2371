// Package brokertest is the suite that every broker adapter passes. An adapter's test calls
// Test with a Harness, and needs nothing more:
//
//	func TestConformance(t *testing.T) {
//		brokertest.Test(t, brokertest.Harness{
//			Open: func(t testing.TB) broker.Broker { return open(t, address) },
//		})
//	}
//
// The adapter's Capabilities decide what is asked of it; a case that does not apply is
// skipped, and says why. Benchmark measures an adapter.
//
// Every case uses destinations of its own, so the suite may run again on the same server,
// and at the same time as others. What it leaves there is small and empty.
//
// Test logs one line, "brokertest: " and a Declaration as JSON, by which programs that read
// "go test -json" know whose results follow.
package brokertest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker"
)

// Harness is what the suite needs to know of an adapter and its server. Open is required; a
// case that needs another field is skipped where that is missing.
type Harness struct {
	// Open returns a Broker for the server under test. The suite opens connections with it
	// and closes them; anything else that needs cleaning up is up to Open, with t.Cleanup.
	Open func(t testing.TB) broker.Broker

	// Server says what the suite is run against, such as "ActiveMQ 5.18.3". It is a part of
	// the line that Test logs, out of which Waybill's own documentation is written.
	Server string

	// OpenLink returns a Broker for the same server whose connections go through a
	// Link. For a broker that listens on TCP:
	//
	//	address, link := brokertest.Proxy(t, "127.0.0.1:4222")
	//	return open(t, "nats://"+address), link
	OpenLink func(t testing.TB) (broker.Broker, Link)
	// OpenNoCreate returns a Broker for the same server that makes no destinations on
	// demand, and so declares Unroutable.
	OpenNoCreate func(t testing.TB) broker.Broker
	// Restart kills the server (kill -9) and starts it again with its data. It returns when
	// the server answers.
	Restart func(t testing.TB)
	// Stop stops the server and returns when it has ended. Start starts it again with its
	// data and returns when it answers.
	Stop, Start func(t testing.TB)

	// Patience is how long the suite waits for what has to happen, which must be enough for
	// the broker to notice that a connection is dead, on a busy machine. It is waited out only where a case fails.
	// Default: 1 min.
	Patience time.Duration
	// Quiet is how long the suite waits for what must not happen. Default: 200 ms.
	Quiet time.Duration
	// Goroutines are parts of stack traces, such as the path of a package, by which the
	// suite knows goroutines that belong to no connection: those of a server in the same
	// process, or of a client library that keeps some for ever.
	Goroutines []string
}

// Link is what connections pass through on their way to a server. Hold and Release may be
// nil.
type Link struct {
	// Cut breaks every connection at once. New ones can be opened.
	Cut func()
	// Hold lets nothing pass, in either direction, until Release. Connections stay open.
	Hold, Release func()
}

// testCase is one thing that an adapter has to do.
type testCase struct {
	name string // a sentence that says what
	// skip returns why the case does not apply, or "".
	skip func(h *Harness, c broker.Capabilities) string
	run  func(r *rig)
}

// Test runs the suite.
func Test(t *testing.T, h Harness) {
	if h.Open == nil {
		t.Fatal("brokertest: the harness has no Open")
	}
	if h.Patience == 0 {
		h.Patience = time.Minute
	}
	if h.Quiet == 0 {
		h.Quiet = 200 * time.Millisecond
	}
	h.declare(t)
	groups := []struct {
		name  string
		cases []testCase
	}{
		{"carry", carryCases},
		{"publish", publishCases},
		{"receive", receiveCases},
		{"resize", resizeCases},
		{"settle", settleCases},
		{"connection", connCases},
		{"topic", topicCases},
		{"remove", removeCases},
		{"link", linkCases},
		{"server", serverCases},
	}
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) { h.run(t, c) })
			}
		})
	}
}

// declare logs what the adapter declares.
func (h *Harness) declare(t *testing.T) {
	line, err := json.Marshal(Declaration{Server: h.Server, Capabilities: h.Open(t).Capabilities()})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s%s", DeclarationMark, line)
}

// DeclarationMark begins the line that Test logs; a Declaration as JSON follows.
const DeclarationMark = "brokertest: "

// Declaration is what Test logs before the first case.
type Declaration struct {
	Server       string
	Capabilities broker.Capabilities
}

// run runs one case with a Broker of its own, and checks that it leaves no goroutines.
func (h *Harness) run(t *testing.T, c testCase) {
	before := goroutines()
	t.Cleanup(func() {
		if !t.Failed() && !t.Skipped() {
			h.checkGoroutines(t, before)
		}
	})
	r := newRig(t, h)
	if c.skip != nil {
		if reason := c.skip(h, r.caps); reason != "" {
			t.Skip(reason)
		}
	}
	c.run(r)
}

// Reasons to skip a case.

func needsLink(h *Harness, _ broker.Capabilities) string {
	if h.OpenLink == nil {
		return "the harness has no OpenLink: connections of this broker cannot be cut"
	}
	return ""
}

func needsRestart(h *Harness, c broker.Capabilities) string {
	if h.Restart == nil {
		return "the harness has no Restart: this server cannot be killed and started again"
	}
	return ""
}

func needsPersistentRestart(h *Harness, c broker.Capabilities) string {
	if !c.Persistent {
		return c.Name + " does not declare Persistent"
	}
	return needsRestart(h, c)
}

func needsStop(h *Harness, _ broker.Capabilities) string {
	if h.Stop == nil || h.Start == nil {
		return "the harness has no Stop and Start: this server cannot be taken away"
	}
	return ""
}

func needsTopics(_ *Harness, c broker.Capabilities) string {
	if !c.Topics {
		return c.Name + " does not declare Topics"
	}
	return ""
}

func needsSharedTopics(h *Harness, c broker.Capabilities) string {
	if !c.SharedTopics {
		return c.Name + " does not declare SharedTopics"
	}
	return needsTopics(h, c)
}

func needsOrdered(_ *Harness, c broker.Capabilities) string {
	if !c.Ordered {
		return c.Name + " does not declare Ordered"
	}
	return ""
}

func needsMaxMessage(_ *Harness, c broker.Capabilities) string {
	if c.MaxMessage == 0 {
		return c.Name + " declares no MaxMessage"
	}
	return ""
}

func needsMustExist(_ *Harness, c broker.Capabilities) string {
	if !c.MustExist {
		return c.Name + " does not declare MustExist"
	}
	return ""
}

func needsUnroutable(h *Harness, c broker.Capabilities) string {
	if h.OpenNoCreate == nil {
		return "the harness has no OpenNoCreate: destinations of this broker are made on demand"
	}
	return ""
}
