package foreign

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// message is a type of message that a client's program sends, and how its handler should see it.
type message struct {
	name    string
	body    string
	isJSON  bool              // the body that arrives is any JSON text of that value
	key     string            // the header businessMark
	headers map[string]string // at least these
}

const (
	text       = "hällo 😀 <&>\n2"
	raw        = "\x00\x01\xff\xfex"
	key        = "order 7"
	compressed = "compressed "
)

var jmsHeaders = map[string]string{"parcels": "2", "insured": "true", "weight": "1.5"}

// qpid is what both JMS clients send.
var qpid = []message{
	{name: "text", body: text, key: key, headers: jmsHeaders},
	{name: "text-empty", key: key, headers: jmsHeaders},
	{name: "bytes", body: raw, key: key, headers: jmsHeaders},
	{name: "bytes-empty", key: key, headers: jmsHeaders},
	{name: "map", body: `{"state":"shipped","parcels":2,"insured":true}`, isJSON: true, key: key, headers: jmsHeaders},
	{name: "stream", body: `["shipped",2]`, isJSON: true, key: key, headers: jmsHeaders},
	{name: "object"}, // Java's own serialization, which nobody else should read
	{name: "no-body", key: key, headers: jmsHeaders},
	{name: "no-id", body: "without an id", key: key, headers: jmsHeaders},
	{name: "id-v4", body: "with another kind of id", key: key, headers: jmsHeaders},
}

var openWire = append(qpid[:len(qpid):len(qpid)],
	message{name: "text-compressed", body: strings.Repeat(compressed, 50), key: key, headers: jmsHeaders},
	message{name: "bytes-compressed", body: strings.Repeat(compressed, 50), key: key, headers: jmsHeaders})

var stompPy = []message{
	{name: "text", body: text, key: key},
	{name: "text-typed", body: `{"state":"shipped"}`, key: key, headers: map[string]string{"content-type": "application/json"}},
	{name: "empty", key: key},
	{name: "bytes", body: raw, key: key, headers: map[string]string{"content-type": "application/octet-stream"}},
	{name: "no-id", body: "without an id", key: key},
	{name: "bad-header", body: "with a time that is none"},
}

var pika = []message{
	{name: "text", body: text, key: key, headers: map[string]string{"content-type": "text/plain"}},
	{name: "bytes", body: raw, key: key},
	{name: "empty", key: key},
	{name: "typed-headers", body: "headers of all types", key: key, headers: map[string]string{"content-type": "application/json", "insured": "true", "parcels": "-2", "price": "1.5"}},
	{name: "id-upper", body: "an id in capitals", key: key},
	{name: "id-bytes", body: "an id as bytes", key: key},
	{name: "id-property", body: "an id as a property", key: key},
	{name: "no-id", body: "without an id", key: key},
	{name: "no-headers", body: "without headers"},
}

var natsPy = []message{
	{name: "text", body: text, key: key, headers: map[string]string{"content-type": "text/plain"}},
	{name: "bytes", body: raw, key: key},
	{name: "empty", key: key},
	{name: "id-lower", body: "a header in small letters", key: key},
	{name: "id-canonical", body: "a header as Go writes it", key: key},
	{name: "deduplicated", body: "with an id of JetStream's own", key: key},
	{name: "no-id", body: "without an id", key: key},
	{name: "no-headers", body: "without headers"},
}

var kafkaPython = []message{
	{name: "text", body: text, key: key},
	{name: "bytes", body: raw, key: key},
	{name: "tombstone", key: key},
	{name: "raw-header", body: "a header that is no text", key: key},
	{name: "two-ids", body: "two headers of one name", key: key},
	{name: "long-header", body: "a number as Java writes it"},
	{name: "quoted-id", body: "an id as JSON", key: key},
	{name: "no-id", body: "without an id", key: key},
}

// What may become of a message; the page explains the words.
const (
	handled = "handled"
	asJSON  = "as JSON"
	kept    = "kept"
	stays   = "stays"
	dead    = "dead letter"
	garbled = "**garbage**"
	lost    = "**lost**"
)

// TestForeignPrograms runs all the programs: their producers against an inbox, and their
// consumers against a relay, over each connector of each server.
func TestForeignPrograms(t *testing.T) {
	programs := &fleet{t: t}
	var results results
	t.Run("programs", func(t *testing.T) {
		for _, c := range clients {
			t.Run(c.name+" and "+c.server.name, func(t *testing.T) {
				t.Parallel()
				t.Run("producer", func(t *testing.T) {
					t.Parallel()
					produce(t, programs, c, &results)
				})
				t.Run("consumer", func(t *testing.T) {
					t.Parallel()
					for _, via := range c.server.connectors {
						t.Run(via.name, func(t *testing.T) {
							t.Parallel()
							consume(t, programs, c, via, &results)
						})
					}
				})
			})
		}
	})
	results.judge(t)
}

// produce has a client's producer send every type of message for each connector, and notes
// what becomes of them.
func produce(t *testing.T, programs *fleet, c *client, all *results) {
	t.Helper()
	var inboxes []*arrivals
	var queues []string
	for _, via := range c.server.connectors {
		queue := queueName(via.name, strings.ToLower(strings.ReplaceAll(waybill.NewID().String(), "-", "")))
		queues = append(queues, queue)
		inboxes = append(inboxes, newArrivals(t, via, queue, c.messages))
	}
	p := programs.run(t, c, "produce", queues...)
	for i, via := range c.server.connectors {
		p.waits(t, queues[i], "sent")
		in := inboxes[i]
		patience.Until(t, "there is an outcome for each message of "+via.name,
			func() bool { return len(in.open()) == 0 },
			func() any { return in.open() })
		in.stop() // what it has not settled is in its queue again
		for _, m := range c.messages {
			outcome, why := in.outcome(m)
			if outcome == "" {
				outcome, why = programs.find(t, c, in.queueOf(m)), "the inbox was not given it"
			}
			all.produced(cell{c.name, m.name, c.server.name, via.name}, outcome)
			if why != "" {
				t.Logf("%s over %s: %s: %s", m.name, via.name, outcome, why)
			}
		}
	}
}

// arrivals is an inbox and what has arrived there.
type arrivals struct {
	t        *testing.T
	queue    string // the beginning of their names
	messages []message
	db       *sql.DB
	stop     func()

	mu       sync.Mutex
	taken    map[string]*waybill.Message // by queue
	rejected map[string]string           // by queue: why
	refused  map[string]string           // by queue: why its subscription has ended
	passed   map[string]bool             // by queue: what was sent behind the message has come
}

// newArrivals makes an inbox that takes each type of message from its own queue.
func newArrivals(t *testing.T, via connector, queue string, messages []message) *arrivals {
	t.Helper()
	db := open(t, "sqlite:"+filepath.Join(t.TempDir(), via.name+".db"), store.Consumer)
	a := &arrivals{t: t, queue: queue, messages: messages, db: db, taken: map[string]*waybill.Message{}, rejected: map[string]string{}, refused: map[string]string{}, passed: map[string]bool{}}
	in, err := inbox.New(db, sqlite.Dialect(), via.broker(t), &inbox.Options{Consumer: "foreign", MaxTries: 2, Logger: slog.New(&listener{a})})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		in.Handle(a.queueOf(m), waybill.Once, a.take)
	}
	a.stop = runs(t, in.Run)
	return a
}

// runs has something run until the test ends or stop is called, which waits until it has ended.
func runs(t *testing.T, run func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (a *arrivals) queueOf(m message) string { return a.queue + "." + m.name }

func (a *arrivals) take(_ context.Context, _ *sql.Tx, m *waybill.Message) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.Headers["isLast"] == "true" {
		a.passed[m.Destination] = true
	} else {
		a.taken[m.Destination] = m
	}
	return nil
}

// listener hears in an inbox's log what becomes of messages that no handler sees.
type listener struct{ a *arrivals }

func (*listener) Enabled(context.Context, slog.Level) bool { return true }

func (l *listener) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *listener) WithGroup(string) slog.Handler { return l }

func (l *listener) Handle(_ context.Context, r slog.Record) error {
	attrs := map[string]string{}
	r.Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value.String()
		return true
	})
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	switch queue := attrs["destination"]; {
	case strings.HasPrefix(r.Message, "message rejected"), strings.HasPrefix(r.Message, "message kept"):
		l.a.rejected[queue] = attrs["reason"]
	case strings.HasPrefix(r.Message, "subscription ended") && strings.Contains(attrs["error"], "from now on"): // it goes on over another protocol
	case strings.HasPrefix(r.Message, "subscription ended"):
		l.a.refused[queue] = attrs["error"]
	case r.Level >= slog.LevelWarn:
		l.a.t.Logf("inbox: %s %v", r.Message, attrs)
	}
	return nil
}

// open are the messages of which nothing is known yet.
func (a *arrivals) open() (all []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.messages {
		queue := a.queueOf(m)
		if a.taken[queue] == nil && a.rejected[queue] == "" && a.refused[queue] == "" && !a.passed[queue] {
			all = append(all, m.name)
		}
	}
	return all
}

// outcome is what has become of a message, "" if the inbox does not know, and why if it was not
// simply handled.
func (a *arrivals) outcome(m message) (outcome, why string) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	queue := a.queueOf(m)
	switch got := a.taken[queue]; {
	case got != nil:
		return m.compare(got)
	case a.rejected[queue] != "":
		if a.isKept(queue) {
			return kept, a.rejected[queue]
		}
		return lost, a.rejected[queue]
	case a.refused[queue] != "":
		return stays, a.refused[queue]
	}
	return "", ""
}

// isKept reports whether the consumer's database has the message.
func (a *arrivals) isKept(queue string) bool {
	n := 0
	err := a.db.QueryRowContext(context.Background(), `SELECT count(*) FROM n_rejected WHERE dest_name = ?`, queue).Scan(&n)
	return err == nil && n == 1
}

// compare says how a message was handled.
func (m message) compare(got *waybill.Message) (outcome, why string) {
	outcome = handled
	switch {
	case m.isJSON && isSameJSON(string(got.Body), m.body):
		outcome = asJSON
	case string(got.Body) != m.body:
		return garbled, fmt.Sprintf("got the body %q, want %q", got.Body, m.body)
	case m.isJSON || m.name == "object":
		return garbled, fmt.Sprintf("got the body %q of a message that is no text", got.Body)
	}
	if got.Key != m.key {
		return garbled, fmt.Sprintf("got the key %q, want %q", got.Key, m.key)
	}
	for name, want := range m.headers {
		if got.Headers[name] != want {
			return garbled, fmt.Sprintf("got the header %s %q, want %q; all: %v", name, got.Headers[name], want, got.Headers)
		}
	}
	return outcome, ""
}

func isSameJSON(a, b string) bool {
	var one, other any
	return json.Unmarshal([]byte(a), &one) == nil && json.Unmarshal([]byte(b), &other) == nil && reflect.DeepEqual(one, other)
}
