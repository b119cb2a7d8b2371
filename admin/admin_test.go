package admin_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// fixture is an outbox's database and a broker, for relays to work with.
type fixture struct {
	t       *testing.T
	db      *sql.DB
	dialect store.Dialect
	broker  *memory.Broker
	queue   *store.Queue
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	db, dialect, err := address.OpenDatabase("sqlite:" + filepath.Join(t.TempDir(), "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := store.Migrate(t.Context(), db, dialect, "", store.Producer); err != nil {
		t.Fatal(err)
	}
	queue, err := store.NewQueue(db, dialect, "")
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t, db, dialect, memory.New(nil), queue}
}

func (f *fixture) send(messages ...waybill.Message) {
	f.t.Helper()
	out, err := outbox.New(f.dialect, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := out.InTx(f.t.Context(), f.db, func(tx *sql.Tx) error { return out.Send(f.t.Context(), tx, messages...) }); err != nil {
		f.t.Fatal(err)
	}
}

// served is a relay and what is served of it.
type served struct {
	t     *testing.T
	relay *relay.Relay
	url   string
}

func (f *fixture) serve() *served {
	f.t.Helper()
	r, err := relay.New(f.db, f.dialect, f.broker, &relay.Options{Producer: "shop"})
	if err != nil {
		f.t.Fatal(err)
	}
	server := httptest.NewServer(admin.Handler(r, f.queue, &admin.Options{Version: "v1", CountEvery: time.Nanosecond}))
	f.t.Cleanup(server.Close)
	return &served{f.t, r, server.URL}
}

// run lets the relay work until the test ends or stop is called.
func (s *served) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.relay.Run(ctx) }()
	s.t.Cleanup(cancel)
	return func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run: got error %v, want none", err)
		}
	}
}

func (s *served) get(path string) (status int, body string) {
	s.t.Helper()
	status, body, err := get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	return status, body
}

// want checks an answer whose body holds a text.
func (s *served) want(path string, status int, text string) {
	s.t.Helper()
	if got, body := s.get(path); got != status || !strings.Contains(body, text) {
		s.t.Errorf("%s: got %d %q, want %d with %q", path, got, body, status, text)
	}
}

// ready reports whether /readyz says this.
func (s *served) ready(status int, text string) func() bool {
	return func() bool {
		got, body := s.get("/readyz")
		return got == status && body == text+"\n"
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	patience.Until(t, what, condition)
}

func TestReadyWhereTheRelayLeadsOrStandsBy(t *testing.T) {
	f := newFixture(t)
	first := f.serve()
	first.want("/healthz", 200, "ok\n")
	first.want("/readyz", 503, "no relay leads\n")
	stop := first.run()
	eventually(t, "the relay to lead", first.ready(200, "ok: this relay leads"))

	second := f.serve()
	stopSecond := second.run()
	eventually(t, "the other relay to stand by", second.ready(200, "ok: this relay stands by"))
	stopSecond()

	f.broker.Down()
	eventually(t, "the relay to miss its broker", first.ready(503, "this relay leads and has no connection to the broker"))
	f.broker.Up()
	eventually(t, "the relay to be connected", first.ready(200, "ok: this relay leads"))
	stop()

	if err := f.db.Close(); err != nil {
		t.Fatal(err)
	}
	first.want("/readyz", 503, "cannot be read")
	first.want("/healthz", 200, "ok\n")
}

// publishedThree serves a relay that has published three messages to two destinations.
func publishedThree(t *testing.T) *served {
	t.Helper()
	f := newFixture(t)
	f.send(waybill.Message{Destination: "orders"}, waybill.Message{Destination: `we"ird\`, Topic: true}, waybill.Message{Destination: "orders"})
	s := f.serve()
	t.Cleanup(s.run())
	eventually(t, "three messages to be published", func() bool { return s.relay.Stats().Published == 3 })
	return s
}

func TestStatsAreThoseOfTheRelayAndTheOutbox(t *testing.T) {
	s := publishedThree(t)
	status, body := s.get("/stats")
	var got struct {
		Relay struct {
			Leading, Connected bool
			Published          int64
		}
		Destinations []struct {
			Destination string
			Unconfirmed int
		}
		Outbox struct {
			Rows []struct {
				Destination, Status string
				Topic               bool
				Messages            int64
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
		t.Fatalf("got %d %s, error %v", status, body, err)
	}
	if !got.Relay.Leading || !got.Relay.Connected || got.Relay.Published != 3 {
		t.Errorf("got the relay %+v, want it leading and connected with 3 published", got.Relay)
	}
	if len(got.Destinations) != 2 {
		t.Errorf("got the destinations %+v, want 2", got.Destinations)
	}
	rows := got.Outbox.Rows
	if len(rows) != 2 || rows[0].Messages != 2 || rows[0].Status != "pending" || !rows[1].Topic {
		t.Errorf("got the rows %+v, want 2 pending ones of a queue and some of a topic", rows)
	}
}

func TestMetricsAreThoseOfTheRelayAndTheOutbox(t *testing.T) {
	s := publishedThree(t)
	for _, want := range []string{
		"\n# TYPE waybill_relay_confirmation_seconds histogram\n",
		"\nwaybill_relay_confirmation_seconds_count 0\n",
		"\nwaybill_relay_leading 1\n",
		"\nwaybill_relay_published_total 3\n",
		"\n# TYPE waybill_relay_published_total counter\n",
		"\nwaybill_outbox_up 1\n",
		`waybill_build_info{go_version="go`,
		`waybill_destination_unconfirmed{destination="orders",type="queue"} 2`,
		`waybill_outbox_messages{destination="orders",status="pending",type="queue"} 2`,
		`",version="v1"} 1`,
		`waybill_outbox_messages{destination="we\"ird\\",status="pending",type="topic"} 1`,
	} {
		t.Run(strings.TrimSpace(want), func(t *testing.T) { s.want("/metrics", 200, want) })
	}
}

func TestEachMetricIsDescribedBeforeItsSamples(t *testing.T) {
	_, page := publishedThree(t).get("/metrics")
	sample := regexp.MustCompile(`^(waybill_[a-z0-9_]+?)(?:_bucket|_sum|_count)?(\{([a-z_]+="([^"\\]|\\.)*",?)+\})? -?[0-9][0-9.e+-]*$`)
	described := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSuffix(page, "\n"), "\n") {
		if name, found := strings.CutPrefix(line, "# TYPE "); found {
			described[strings.Fields(name)[0]] = true
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		if m := sample.FindStringSubmatch(line); m == nil || !described[m[1]] {
			t.Errorf("got the line %q, want a sample of a metric described before", line)
		}
	}
}

func TestWithoutADatabaseTheRelayIsServedAlone(t *testing.T) {
	f := newFixture(t)
	s := f.serve()
	if err := f.db.Close(); err != nil {
		t.Fatal(err)
	}
	s.want("/stats", 200, `"outbox":null`)
	s.want("/metrics", 200, "waybill_outbox_up 0")
}

func TestOnlyReadingIsServed(t *testing.T) {
	f := newFixture(t)
	r, err := relay.New(f.db, f.dialect, f.broker, &relay.Options{Producer: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	handler := admin.Handler(r, f.queue, nil)
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/healthz", http.StatusOK},
		{http.MethodGet, "/", http.StatusNotFound},
		{http.MethodPost, "/stats", http.StatusMethodNotAllowed},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			response := httptest.NewRecorder()
			handler.ServeHTTP(response, httptest.NewRequest(c.method, c.path, nil))
			if response.Code != c.want {
				t.Errorf("got status %d, want %d", response.Code, c.want)
			}
		})
	}
}

func TestTheLastCountIsServedWhileAnotherHangsOrFails(t *testing.T) {
	const one = `waybill_outbox_messages{destination="orders",status="pending",type="queue"} 1`
	t.Run("hangs", func(t *testing.T) {
		f := newFixture(t)
		f.send(waybill.Message{Destination: "orders"})
		s := f.serve()
		s.want("/metrics", 200, one)
		f.db.SetMaxOpenConns(1)
		only, err := f.db.Conn(t.Context()) // nobody else has one now
		if err != nil {
			t.Fatal(err)
		}
		s.want("/metrics", 200, one) // Timeout is 5 s, and the count hangs for longer
		s.want("/metrics", 200, "waybill_outbox_up 1")
		s.want("/metrics", 200, "waybill_outbox_count_age_seconds ")
		if err := only.Close(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("fails", func(t *testing.T) {
		f := newFixture(t)
		f.send(waybill.Message{Destination: "orders"})
		s := f.serve()
		s.want("/metrics", 200, one)
		if _, err := f.db.Exec(`ALTER TABLE qmessage RENAME TO gone`); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a count to fail", func() bool {
			_, body := s.get("/metrics")
			return strings.Contains(body, "waybill_outbox_up 0")
		})
		s.want("/metrics", 200, one)
		s.want("/stats", 200, `"failing":true`)
	})
}
