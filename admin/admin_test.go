package admin_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"io"
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
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// stage is an outbox with a relay and what serves its figures.
type stage struct {
	t       *testing.T
	db      *sql.DB
	dialect store.Dialect
	broker  *memory.Broker
	queue   *store.Queue
}

func newStage(t *testing.T) *stage {
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
	return &stage{t, db, dialect, memory.New(nil), queue}
}

// serve makes a relay and serves its figures; run lets it work until the test ends or
// stop is called.
func (s *stage) serve() (get func(path string) (int, string), run func() (stop func())) {
	s.t.Helper()
	r, err := relay.New(s.db, s.dialect, s.broker, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	server := httptest.NewServer(admin.Handler(r, s.queue, &admin.Options{Version: "v1", CountEvery: time.Nanosecond}))
	s.t.Cleanup(server.Close)
	get = func(path string) (int, string) {
		s.t.Helper()
		response, err := http.Get(server.URL + path)
		if err != nil {
			s.t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			s.t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	run = func() func() {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		s.t.Cleanup(cancel)
		return func() {
			cancel()
			if err := <-done; err != nil {
				s.t.Errorf("Run: %v", err)
			}
		}
	}
	return get, run
}

func (s *stage) send(messages ...waybill.Message) {
	s.t.Helper()
	out, err := outbox.New(s.dialect, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := out.InTx(s.t.Context(), s.db, func(tx *sql.Tx) error { return out.Send(s.t.Context(), tx, messages...) }); err != nil {
		s.t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestReadyWhereTheRelayLeadsOrStandsBy(t *testing.T) {
	s := newStage(t)
	get, run := s.serve()
	if status, body := get("/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("/healthz: %d %q", status, body)
	}
	if status, body := get("/readyz"); status != 503 || body != "no relay leads\n" {
		t.Errorf("/readyz before it runs: %d %q", status, body)
	}
	stop := run()
	ready := func(get func(string) (int, string), text string) func() bool {
		return func() bool {
			status, body := get("/readyz")
			return (status == 200) == strings.HasPrefix(text, "ok") && body == text+"\n"
		}
	}
	eventually(t, "the relay to lead", ready(get, "ok: this relay leads"))

	getOther, runOther := s.serve()
	stopOther := runOther()
	eventually(t, "the other relay to stand by", ready(getOther, "ok: this relay stands by"))
	stopOther()

	s.broker.Down()
	eventually(t, "the relay to miss its broker", ready(get, "this relay leads and has no connection to the broker"))
	s.broker.Up()
	eventually(t, "the relay to be connected", ready(get, "ok: this relay leads"))
	stop()

	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	if status, body := get("/readyz"); status != 503 || !strings.Contains(body, "cannot be read") {
		t.Errorf("/readyz without a database: %d %q", status, body)
	}
	if status, _ := get("/healthz"); status != 200 {
		t.Errorf("/healthz without a database: %d", status)
	}
}

func TestFiguresAreThoseOfTheRelayAndTheOutbox(t *testing.T) {
	s := newStage(t)
	s.send(waybill.Message{Destination: "orders"}, waybill.Message{Destination: `we"ird\`, Topic: true}, waybill.Message{Destination: "orders"})
	get, run := s.serve()
	stop := run()
	defer stop()
	var f struct {
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
	eventually(t, "three messages to be published", func() bool {
		status, body := get("/stats")
		if err := json.Unmarshal([]byte(body), &f); err != nil || status != 200 {
			t.Fatalf("/stats: %d %s: %v", status, body, err)
		}
		return f.Relay.Published == 3
	})
	if !f.Relay.Leading || !f.Relay.Connected || len(f.Destinations) != 2 || len(f.Outbox.Rows) != 2 || f.Outbox.Rows[0].Messages != 2 || f.Outbox.Rows[0].Status != "pending" || !f.Outbox.Rows[1].Topic {
		t.Errorf("/stats: %+v", f)
	}

	status, page := get("/metrics")
	if status != 200 {
		t.Fatalf("/metrics: %d", status)
	}
	for _, want := range []string{
		`waybill_build_info{version="v1",go_version="go`,
		"\nwaybill_relay_leading 1\n",
		"\nwaybill_relay_published_total 3\n",
		"\n# TYPE waybill_relay_published_total counter\n",
		"\n" + `waybill_destination_unconfirmed{destination="orders",type="queue"} 2` + "\n",
		"\n" + `waybill_outbox_messages{destination="orders",type="queue",status="pending"} 2` + "\n",
		`waybill_outbox_messages{destination="we\"ird\\",type="topic",status="pending"} 1`,
		"\nwaybill_outbox_up 1\n",
	} {
		if !strings.Contains("\n"+page, want) {
			t.Errorf("/metrics lacks %q:\n%s", want, page)
		}
	}
	// Each line is a comment or a sample, and each metric is described before it.
	sample := regexp.MustCompile(`^(waybill_[a-z_]+)(\{([a-z_]+="([^"\\]|\\.)*",?)+\})? -?[0-9][0-9.e+-]*$`)
	described := map[string]bool{}
	for _, text := range strings.Split(strings.TrimSuffix(page, "\n"), "\n") {
		if name, found := strings.CutPrefix(text, "# TYPE "); found {
			described[strings.Fields(name)[0]] = true
		}
		if strings.HasPrefix(text, "#") {
			continue
		}
		if m := sample.FindStringSubmatch(text); m == nil || !described[m[1]] {
			t.Errorf("a bad line: %s", text)
		}
	}
}

func TestFiguresWithoutADatabase(t *testing.T) {
	s := newStage(t)
	get, _ := s.serve()
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	if status, body := get("/stats"); status != 200 || !strings.Contains(body, `"outbox":null`) {
		t.Errorf("/stats: %d %s", status, body)
	}
	if status, body := get("/metrics"); status != 200 || !strings.Contains(body, "waybill_outbox_up 0") {
		t.Errorf("/metrics: %d %s", status, body)
	}
}

func TestOnlyReadingIsServed(t *testing.T) {
	s := newStage(t)
	get, _ := s.serve()
	if status, _ := get("/"); status != 404 {
		t.Errorf("/: %d", status)
	}
	r, err := relay.New(s.db, s.dialect, s.broker, nil)
	if err != nil {
		t.Fatal(err)
	}
	response := httptest.NewRecorder()
	admin.Handler(r, s.queue, nil).ServeHTTP(response, httptest.NewRequest(http.MethodPost, "/stats", nil))
	if response.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", response.Code)
	}
}
