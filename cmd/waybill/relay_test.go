package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

func TestARelayOnPostgreSQLListensForCommits(t *testing.T) {
	t.Parallel()
	addr := testserver.Address(t, "WAYBILL_TEST_POSTGRES")
	prefix := schema(t, "WAYBILL_TEST_POSTGRES")
	w := newWorkspace(t, "WAYBILL_DB="+addr, "WAYBILL_PREFIX="+prefix, "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init", "--side", "producer")
	p := w.start("relay", "--producer", "shop", "--poll", "1h", "--http", "127.0.0.1:0")
	db, _, err := address.OpenDatabase(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	eventually(t, "the relay to listen", func() bool {
		var n int
		if err := db.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE query = $1`, `LISTEN "`+prefix+`qmessage"`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
	w.ok("", "send", "orders", "--body", "x")
	eventually(t, "the message to be published", func() bool { return relayStats(p).Relay.Published == 1 })
	p.stops()
}

func TestAcceptedRowsGoWithoutAConsumer(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init")
	w.ok("", "send", "mails", "--body", "x")
	w.ok("", "send", "orders", "--body", "x")
	p := w.start("relay", "--producer", "shop", "--accepted", "mails", "--transient", "orders,stock")
	eventually(t, "the accepted row to go", func() bool { return pending(w) == 1 })
	if left := list(w); len(left) != 1 {
		t.Errorf("got %+v left, want one row", left)
	}
	p.stops()
	p = w.start("relay", "--producer", "shop", "--accepted", "*")
	eventually(t, "all rows to go", func() bool { return pending(w) == 0 })
	p.stops()
}

func TestARowGoesWhenTheNamedConsumersHaveConfirmed(t *testing.T) {
	t.Parallel()
	addr := testserver.Address(t, "WAYBILL_TEST_NATS")
	topic := "prices-" + strings.ToLower(rand.Text())
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER="+addr)
	w.ok("", "init")
	for _, wrong := range []string{topic, topic + "=", "=shop", topic + "=shop,", topic + "=shop,shop", "*=shop"} {
		t.Run(strings.ReplaceAll(wrong, topic, "TOPIC"), func(t *testing.T) {
			w.at(t).fails(2, "", []string{"relay", "--producer", "shop", "--consumers", wrong})
		})
	}
	w.ok("", "send", topic, "--topic", "--body", "x")
	p := w.start("relay", "--producer", topic, "--consumers", topic+"=shop,audit", "--min-resend", "200ms", "--max-resend", "400ms", "--http", "127.0.0.1:0")
	receive := func(consumer string) {
		w.ok("", "receive", topic, "--topic", "--consumer", consumer, "--count", "1")
	}
	receive("shop")
	eventually(t, "a receipt that is not enough", func() bool { return relayStats(p).Relay.Receipts >= 1 })
	if n := pending(w); n != 1 {
		t.Errorf("got %d rows when one of two consumers has confirmed, want 1", n)
	}
	eventually(t, "audit to be waited for", func() bool { return len(list(w, "--consumer", "audit")) == 1 })
	if left := list(w, "--consumer", "shop"); len(left) != 0 {
		t.Errorf("got %+v that shop has not confirmed, want none", left)
	}
	if out, want := w.ok("", "list"), "shop confirmed"; !strings.Contains(out, want) {
		t.Errorf("list: got\n%swant %q in it", out, want)
	}
	id := list(w)[0].MessageID
	if out := w.ok("", "show", "--consumer", "shop,audit", id); !strings.Contains(out, "shop confirmed") || !strings.Contains(out, "audit waiting") {
		t.Errorf("show: got\n%swant that shop has confirmed and audit is waited for", out)
	}
	audit := w.start("receive", topic, "--topic", "--consumer", "audit", "--exec", "exit 65")
	audit.says("message rejected")
	audit.stops()
	eventually(t, "audit's rejection", func() bool { return len(list(w, "--rejected", "--consumer", "audit")) == 1 })
	if out := w.ok("", "show", id); !strings.Contains(out, "shop confirmed") || !strings.Contains(out, "audit rejected") {
		t.Errorf("show: got\n%swant that shop has confirmed and audit has rejected", out)
	}
	lines := jsonLines(t, w.ok("", "resend", "--json", id))
	if len(lines) != 1 || fmt.Sprint(lines[0]["consumers"]) != "[audit]" {
		t.Errorf("resend: got %v, want that audit is asked again", lines)
	}
	receive("audit")
	eventually(t, "the row to go", func() bool { return pending(w) == 0 })
	p.stops()
}

func TestTheLogIsJSONWhereAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init")
	p := w.start("relay", "--producer", "shop", "--log-format", "json", "--log-level", "debug")
	p.says(`"msg":"relay leads"`)
	p.stops()
	for _, l := range jsonLines(t, p.stderr.String()) {
		if l["level"] == nil || l["msg"] == nil {
			t.Errorf("got the line %v, want one with level and msg", l)
		}
	}
	p = w.start("relay", "--producer", "shop", "--log-level", "error")
	eventually(t, "the relay to lead", func() bool { r := statusOf(w).Producer.Relay; return r != nil && r.Leading })
	p.stops()
	if text := p.stderr.String(); text != "" {
		t.Errorf("--log-level error: got %q, want nothing", text)
	}
}

func TestStatusWatchGoesOnUntilInterrupted(t *testing.T) {
	t.Parallel()
	w := workspaceWithOutbox(t)
	p := w.start("status", "--watch", "--json", "--every", "100ms", "--over", "0")
	eventually(t, "three reports", func() bool { return strings.Count(p.stdout.String(), "\n") >= 3 })
	p.stops()
	lines := jsonLines(t, p.stdout.String())
	last := lines[len(lines)-1]
	if last["database"] != "sqlite:app.db" || last["rates"] == nil {
		t.Errorf("got %v, want the database and rates", last)
	}
}

func TestATopicReachesEveryConsumer(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER="+testserver.Address(t, "WAYBILL_TEST_NATS"))
	w.ok("", "init")
	name := strings.ToLower(rand.Text()[:8])
	topic := "prices." + name
	var consumers []*process
	for _, consumer := range []string{"board-" + name, "ledger-" + name} {
		consumers = append(consumers, w.start("receive", topic, "--topic", "--consumer", consumer, "--log-level", "debug"))
	}
	relay := w.start("relay", "--producer", "topics-"+name)
	// A topic has no memory of what came before its subscriptions: send until both
	// have heard something.
	sent := 0
	eventually(t, "both consumers to print", func() bool {
		w.ok("", "send", topic, "--topic", "--body", fmt.Sprint(sent))
		sent++
		return consumers[0].stdout.String() != "" && consumers[1].stdout.String() != ""
	})
	for _, c := range consumers {
		c.stops()
		for text := range strings.Lines(c.stdout.String()) {
			var l printedLine
			if err := json.Unmarshal([]byte(text), &l); err != nil || l.Destination != topic || l.Body == nil {
				t.Errorf("got %q, %v; want a message to %s", text, err, topic)
			}
		}
	}
	relay.stops()
}
