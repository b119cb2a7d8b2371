package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// pausedOf is what "waybill status --json" says is paused, as side, destination and consumer.
func pausedOf(w *workspace) (all []string) {
	w.t.Helper()
	var r struct {
		Paused []struct{ Side, Destination, Consumer, By, Reason string }
	}
	if err := json.Unmarshal([]byte(w.ok("", "status", "--json", "--over", "0")), &r); err != nil {
		w.t.Fatal(err)
	}
	for _, p := range r.Paused {
		all = append(all, strings.Join([]string{p.Side, p.Destination, p.Consumer, p.By, p.Reason}, "/"))
	}
	return all
}

func TestARelayObeysThePauseOfAnotherProcess(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init", "--side", "producer")
	r := w.start("relay", "--producer", "shop", "--http", "127.0.0.1:0")
	r.says("relay leads")
	if out := w.ok("", "pause", "orders", "--reason", "carrier away", "--by", "ann"); !strings.Contains(out, "nothing is sent to orders") || !strings.Contains(out, "paused by ann: carrier away") {
		t.Errorf("pause: got %q, want what is paused, by whom and why", out)
	}
	r.says(`msg="destination paused: nothing is sent to it"`)
	w.ok("", "send", "orders", "--body", "x")
	w.ok("", "send", "prices", "--body", "y")
	eventually(t, "the other destination's message to be sent", func() bool { return relayStats(r).Relay.Published == 1 })
	if got := pausedOf(w); len(got) != 1 || got[0] != "producer/orders//ann/carrier away" {
		t.Errorf("status: got %q paused, want orders", got)
	}
	if out := w.ok("", "status", "--over", "0"); !strings.Contains(out, "nothing is sent to orders, since") || !strings.Contains(out, "until it is resumed; paused by ann: carrier away") {
		t.Errorf("status: got\n%swant that orders is paused", out)
	}
	if r := w.run("", "list"); !strings.Contains(r.stderr, "Paused: nothing is sent to orders") {
		t.Errorf("list: got %q on standard error, want that orders is paused", r.stderr)
	}
	if got := relayStats(r).Relay.Published; got != 1 {
		t.Errorf("got %d messages sent, want the other destination's alone", got)
	}
	lines := jsonLines(t, w.ok("", "resume", "orders", "--json"))
	if len(lines) != 1 || lines[0]["destination"] != "orders" || lines[0]["side"] != "producer" || lines[0]["by"] != "ann" || lines[0]["until"] != nil {
		t.Errorf("resume --json: got %v, want the pause that has ended", lines)
	}
	r.says(`msg="destination resumed"`)
	eventually(t, "the message to be sent", func() bool { return relayStats(r).Relay.Published == 2 })
	if got := pausedOf(w); len(got) != 0 {
		t.Errorf("status: got %q paused after the end of it, want nothing", got)
	}
	w.fails(1, "", []string{"resume", "orders"}, `"orders" is not paused at the producer's side`)
	r.stops()
}

func TestAConsumerObeysThePauseOfAnotherProcess(t *testing.T) {
	t.Parallel()
	w := workspaceHolding(t, "first", "second")
	w.fails(2, "", []string{"pause", "orders"}, "--side producer", "--side consumer")
	w.ok("", "pause", "orders", "--consumer", "c") // which is of the consumer's side
	p := w.start("receive", "orders", "--consumer", "c")
	p.says(`msg="destination paused: nothing is taken from it"`)
	w.ok("", "pause", "orders", "--side", "consumer", "--for", "1h")
	r := w.run("", "resume", "orders", "--consumer", "c")
	if r.status != 0 || !strings.Contains(r.stderr, "It goes on waiting: no consumer takes anything from orders") {
		t.Errorf("resume: got exit status %d and %q, want 0 and that all are paused", r.status, r.stderr)
	}
	if got := pausedOf(w); len(got) != 1 || !strings.HasPrefix(got[0], "consumer/orders//") {
		t.Errorf("status: got %q paused, want orders for all consumers", got)
	}
	if out := p.stdout.String(); out != "" {
		t.Errorf("received while paused: got %q, want nothing", out)
	}
	w.ok("", "resume", "orders", "--side", "consumer")
	eventually(t, "both messages to be handled, in order", func() bool {
		out := p.stdout.String()
		first, second := strings.Index(out, `"body":"first"`), strings.Index(out, `"body":"second"`)
		return first >= 0 && second > first
	})
	p.stops()
}

func TestPauseRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db")
	w.ok("", "init")
	past := time.Now().Add(-time.Hour).Format(time.RFC3339)
	for _, c := range []struct {
		args string
		says string
	}{
		{"pause", "pause needs DESTINATION"},
		{"pause ack.shop --side producer", "DESTINATION"},
		{"pause orders --side both", "--side is"},
		{"pause orders --side producer --consumer c", "--consumer goes with --side consumer"},
		{"pause orders --side producer --for 0s", "--for has to be above 0"},
		{"pause orders --side producer --until tomorrow", "--until"},
		{"pause orders --side producer --until " + past, "is over"},
		{"pause orders --side producer --for 1m --until " + past, "for"},
		{"resume orders", "--side"},
		{"relay --producer shop --broker embedded:b --per-second orders", "--per-second"},
		{"relay --producer shop --broker embedded:b --per-second orders=0", "--per-second"},
		{"relay --producer shop --broker embedded:b --breaker orders=x", "--breaker"},
		{"relay --producer shop --broker embedded:b --breaker *=50%", "--breaker"},
		{"relay --producer shop --broker embedded:b --breaker *=150%/1m", "--breaker"},
		{"receive orders --consumer c --broker embedded:b --breaker 0", "--breaker"},
	} {
		w.fails(2, "", strings.Fields(c.args), c.says)
	}
	w.fails(1, "", []string{"resume", "orders", "--side", "consumer"}, "is not paused at the consumer's side")
}
