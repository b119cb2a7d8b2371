package main

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// figures are what a relay's /stats tells.
type figures struct {
	Relay struct {
		Leading, Connected                     bool
		Published, Copies, Confirmed, Receipts int64
	}
}

// pending is the number of messages that wait for their confirmation.
func pending(w *workspace) int64 {
	w.t.Helper()
	return statusOf(w).Producer.Pending
}

// statusReport is what "waybill status --json" prints, the part of it that tests look at.
type statusReport struct {
	Database string
	Producer struct {
		Problem           string
		Pending, Rejected int64
		Relay             *struct {
			Holder  string
			Leading bool
		}
	}
	Consumer struct {
		Problem   string
		Consumers []struct {
			Consumer      string
			OnceRecords   int64 `json:"once_records"`
			LatestRecords int64 `json:"latest_records"`
		}
	}
	Rates *struct {
		Over float64 `json:"over_seconds"`
	}
}

func statusOf(w *workspace) (r statusReport) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(w.ok("", "status", "--json", "--over", "0")), &r); err != nil {
		w.t.Fatal(err)
	}
	return r
}

var servingAt = regexp.MustCompile(`msg="serving health and figures" address=(\S+)`)

// relayStats asks a relay that runs with --http 127.0.0.1:0; nothing is known until it
// serves.
func relayStats(p *process) *figures {
	p.t.Helper()
	f := &figures{}
	at := servingAt.FindStringSubmatch(p.stderr.String())
	if at == nil {
		return f
	}
	response, err := http.Get("http://" + at[1] + "/stats")
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(f); err != nil {
		p.t.Fatal(err)
	}
	return f
}

// route is a pair of databases and a broker that a journey goes over.
type route struct {
	producer, consumer *workspace
	relayed            bool // a relay runs beside, since the broker serves many processes
}

// printedLine is a line of "waybill receive".
type printedLine struct {
	MessageID   string            `json:"message_id"`
	Destination string            `json:"destination"`
	Key         string            `json:"key"`
	TimeStamp   int64             `json:"time_stamp"`
	Sequence    int64             `json:"sequence"`
	Attempt     int               `json:"attempt"`
	Headers     map[string]string `json:"headers"`
	Body        *string           `json:"body"`
	BodyBase64  []byte            `json:"body_base64"`
}

func printedLines(t *testing.T, out string) []printedLine {
	t.Helper()
	var all []printedLine
	for scanner := bufio.NewScanner(strings.NewReader(out)); scanner.Scan(); {
		var l printedLine
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			t.Fatalf("%s: %v", scanner.Text(), err)
		}
		all = append(all, l)
	}
	return all
}

// onServers are the servers that the journey is made over, by the variables of the
// database and the broker; without a name: SQLite, or the embedded broker.
var onServers = []struct{ name, database, broker string }{
	{"SQLite and the embedded broker", "", ""},
	{"SQLite and NATS", "", "WAYBILL_TEST_NATS"},
	{"PostgreSQL and ActiveMQ over AMQP 1.0", "WAYBILL_TEST_POSTGRES", "WAYBILL_TEST_ACTIVEMQ_AMQP1"},
	{"PostgreSQL and ActiveMQ over STOMP", "WAYBILL_TEST_POSTGRES", "WAYBILL_TEST_ACTIVEMQ_STOMP"},
	{"MySQL and Artemis over AMQP 1.0", "WAYBILL_TEST_MYSQL", "WAYBILL_TEST_ARTEMIS_AMQP1"},
	{"MySQL and RabbitMQ", "WAYBILL_TEST_MYSQL", "WAYBILL_TEST_RABBITMQ"},
	{"PostgreSQL and Kafka", "WAYBILL_TEST_POSTGRES", "WAYBILL_TEST_KAFKA"},
}

// schema gives a workspace tables of its own in a shared database: a prefix that names a
// schema, which MySQL calls a database.
func schema(t *testing.T, variable string) string {
	t.Helper()
	name := "cli_" + strings.ToLower(rand.Text()[:10])
	db, dialect, err := address.OpenDatabase(testserver.Address(t, variable))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer db.Close()
		statement := "DROP SCHEMA " + name
		if dialect.Name() == "postgres" {
			statement += " CASCADE"
		}
		if _, err := db.Exec(statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	})
	return name + "."
}

func TestAMessageTravelsFromSendToReceiveAndItsRowGoes(t *testing.T) {
	for _, on := range onServers {
		t.Run(on.name, func(t *testing.T) {
			t.Parallel()
			broker := "embedded:broker"
			if on.broker != "" {
				broker = testserver.Address(t, on.broker)
			}
			r := route{relayed: on.broker != ""}
			base := newWorkspace(t, "WAYBILL_BROKER="+broker)
			if on.database == "" {
				r.producer, r.consumer = base.with("WAYBILL_DB=sqlite:producer.db"), base.with("WAYBILL_DB=sqlite:consumer.db")
			} else {
				addr := "WAYBILL_DB=" + testserver.Address(t, on.database)
				r.producer = base.with(addr, "WAYBILL_PREFIX="+schema(t, on.database))
				r.consumer = base.with(addr, "WAYBILL_PREFIX="+schema(t, on.database))
			}
			r.travel(t)
		})
	}
}

// streamed is how many messages a journey sends as lines of one stream.
const streamed = 700

func (r route) travel(t *testing.T) {
	r.producer.ok("", "init", "--side", "producer")
	r.consumer.ok("", "init", "--side", "consumer")
	r.producer.ok("", "init", "--side", "producer") // twice is harmless
	name := strings.ToLower(rand.Text()[:8])
	queue, producer := "journey."+name, "cli-"+name

	sent := r.send(t, queue)
	var relay *process
	if r.relayed {
		relay = r.producer.start("relay", "--producer", producer, "--http", "127.0.0.1:0")
	} else {
		deliver(t, r.producer)
	}
	// Exactly so many, then the rest.
	const first = 301
	got := printedLines(t, r.consumer.ok("", "receive", queue, "--consumer", "c", "--count", fmt.Sprint(first), "--log-level", "debug"))
	if len(got) != first {
		t.Fatalf("receive --count %d: got %d lines, want %d", first, len(got), first)
	}
	got = append(got, printedLines(t, r.consumer.ok("", "receive", queue, "--consumer", "c", "--count", fmt.Sprint(len(sent)-first)))...)
	checkPrinted(t, queue, sent, got)

	if r.relayed {
		eventually(t, "the outbox to be empty", func() bool { return pending(r.producer) == 0 })
		relay.stops()
	} else {
		settle(t, r.producer)
	}
	status := statusOf(r.producer)
	if status.Producer.Pending != 0 || status.Producer.Rejected != 0 || status.Producer.Relay.Holder != "" || strings.Contains(status.Database, "open-sesame") {
		t.Errorf("got the producer's status %+v, want an empty outbox that nobody leads, and no password", status)
	}
	status = statusOf(r.consumer)
	if c := status.Consumer.Consumers; len(c) != 1 || c[0].Consumer != "c" || c[0].OnceRecords != int64(len(sent)) {
		t.Errorf("got the consumer's status %+v, want c with %d records", status, len(sent))
	}
}

// send sends a stream of messages, one of bytes, and a single one, and returns their ids.
func (r route) send(t *testing.T, queue string) []string {
	t.Helper()
	var lines strings.Builder
	for i := range streamed {
		fmt.Fprintf(&lines, `{"key":"k%d","headers":{"n":"%d"},"body":"message %d"}`+"\n", i%7, i, i)
	}
	sent := strings.Fields(r.producer.ok(lines.String(), "send", queue, "--header", "content-type=text/plain"))
	sent = append(sent, strings.Fields(r.producer.ok(`{"body_base64":"/wD+"}`, "send", queue))...)
	sent = append(sent, strings.Fields(r.producer.ok("", "send", queue, "--key", "single", "--body", "ünï"))...)
	if len(sent) != streamed+2 {
		t.Fatalf("got %d ids, want %d", len(sent), streamed+2)
	}
	return sent
}

// checkPrinted checks that each message that send has sent was printed once, as it was
// sent.
func checkPrinted(t *testing.T, queue string, sent []string, got []printedLine) {
	t.Helper()
	byID := map[string]printedLine{}
	for _, l := range got {
		if _, again := byID[l.MessageID]; again {
			t.Errorf("got %s twice, want it once", l.MessageID)
		}
		byID[l.MessageID] = l
	}
	for i, id := range sent {
		l, ok := byID[id]
		switch {
		case !ok:
			t.Errorf("got no line of message %d, %s; want one", i, id)
		case l.Destination != queue:
			t.Errorf("%s: got the destination %q, want %q", id, l.Destination, queue)
		case i < streamed && (l.Key != fmt.Sprint("k", i%7) || l.Sequence != int64(i/7+1) || l.TimeStamp == 0 || l.Body == nil || *l.Body != fmt.Sprint("message ", i) ||
			l.Headers["n"] != fmt.Sprint(i) || l.Headers["content-type"] != "text/plain"):
			t.Errorf("got %+v, want message %d as it was sent", l, i)
		case i == streamed && (l.Key != "" || l.Sequence != 0 || l.Body != nil || string(l.BodyBase64) != "\xff\x00\xfe"):
			t.Errorf("got %+v, want the message of bytes as it was sent", l)
		case i == streamed+1 && (l.Key != "single" || l.Sequence != 1 || *l.Body != "ünï"):
			t.Errorf("got %+v, want the single message as it was sent", l)
		}
	}
}

// jsonLines parses lines of JSON objects.
func jsonLines(t *testing.T, out string) (all []map[string]any) {
	t.Helper()
	for text := range strings.Lines(out) {
		var l map[string]any
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		all = append(all, l)
	}
	return all
}
