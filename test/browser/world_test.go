package browser

import (
	"cmp"
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// world is a shop, which sends, a service that consumes, and the page of both.
type world struct {
	t *testing.T

	shop, shipping *sql.DB
	address        string // of the shop's
	queue          *store.Queue
	relay          *relay.Relay
	out            *outbox.Outbox
	url            string // of the page, with a slash at its end

	handle atomic.Pointer[func(ctx context.Context, m *waybill.Message) error]
}

// setup is how a world is made.
type setup struct {
	destinations []string // that are consumed; default orders
	accepted     []string // of these, those for which the broker's word is enough
	console      admin.Options
	producer     string // default shop
	consumer     string // default shipping
	name, about  string // of the shop's database, on the page; default shop, and nothing
}

// newWorld starts both services and the page until the test ends. handle is what the consumer
// does.
func newWorld(t *testing.T, s setup, handle func(ctx context.Context, m *waybill.Message) error) *world {
	t.Helper()
	installed(t)
	if s.destinations == nil {
		s.destinations = []string{"orders"}
	}
	s.producer, s.consumer, s.name = cmp.Or(s.producer, "shop"), cmp.Or(s.consumer, "shipping"), cmp.Or(s.name, "shop")
	w := &world{t: t}
	w.handled(handle)
	var dialect store.Dialect
	w.shop, dialect, w.address = database(t, store.Producer)
	w.shipping, _, _ = database(t, store.Consumer)
	logger := slog.New(slog.DiscardHandler) // rejected messages are told of as errors
	var err error
	if w.queue, err = store.NewQueue(w.shop, dialect, ""); err != nil {
		t.Fatal(err)
	}
	if w.out, err = outbox.New(dialect, nil); err != nil {
		t.Fatal(err)
	}
	b := memory.New(nil)
	levels := map[string]relay.Destination{}
	for _, d := range s.accepted {
		levels[d] = relay.Destination{Confirm: waybill.Accepted}
	}
	r, err := relay.New(w.shop, dialect, b, &relay.Options{Producer: s.producer, Destinations: levels, Wake: w.out.Committed(), Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	in, err := inbox.New(w.shipping, dialect, b, &inbox.Options{Consumer: s.consumer, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range s.destinations {
		in.Handle(d, waybill.Once, func(ctx context.Context, _ *sql.Tx, m *waybill.Message) error {
			return (*w.handle.Load())(ctx, m)
		})
	}
	w.relay = r
	if s.console.Logger == nil {
		s.console.Logger = logger
	}
	s.console.Timeout = patience.Limit // the default is for people
	console, err := admin.NewConsole(&s.console,
		admin.Database{Name: s.name, DB: w.shop, Dialect: dialect, About: s.about, Relay: r},
		admin.Database{Name: "shipping", DB: w.shipping, Dialect: dialect, Inboxes: []*inbox.Inbox{in}})
	if err != nil {
		t.Fatal(err)
	}
	const prefix = "/ops/waybill" // as in a program of a user's
	mux := http.NewServeMux()
	mux.Handle(prefix+"/", http.StripPrefix(prefix, console))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(console.Close)
	w.url = server.URL + prefix + "/"
	runs(t, r.Run)
	runs(t, in.Run)
	return w
}

// handled has the consumer do something else from now on.
func (w *world) handled(handle func(ctx context.Context, m *waybill.Message) error) {
	w.handle.Store(&handle)
}

// runs has something run until the test ends.
func runs(t *testing.T, run func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// database makes a database with a side's tables: on PostgreSQL where that runs, and else in a
// file of SQLite's.
func database(t *testing.T, side store.Side) (*sql.DB, store.Dialect, string) {
	t.Helper()
	at := os.Getenv("WAYBILL_TEST_POSTGRES")
	if at != "" {
		at = fresh(t, at)
	} else {
		at = "sqlite:" + filepath.Join(t.TempDir(), string(side)+".db")
	}
	db, dialect, err := address.OpenDatabase(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := store.Migrate(t.Context(), db, dialect, "", side); err != nil {
		t.Fatal(err)
	}
	return db, dialect, at
}

// fresh makes a database of its own on a server, and drops it in the end.
func fresh(t *testing.T, server string) string {
	t.Helper()
	db, _, err := address.OpenDatabase(server)
	if err != nil {
		t.Fatal(err)
	}
	name := "browser_" + strings.ReplaceAll(waybill.NewID().String(), "-", "")
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		db.Close()
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// send commits messages in one transaction.
func (w *world) send(messages ...waybill.Message) {
	w.t.Helper()
	ctx := patience.Context(w.t)
	err := w.out.InTx(ctx, w.shop, func(tx *sql.Tx) error { return w.out.Send(ctx, tx, messages...) })
	if err != nil {
		w.t.Fatal(err)
	}
}

// rejected waits until the outbox holds n rejected messages of a destination.
func (w *world) rejected(destination string, n int) {
	w.t.Helper()
	got := -1
	patience.Until(w.t, "messages are rejected", func() bool {
		rows, err := w.queue.List(patience.Context(w.t), destination, store.Rejected, 0, n+1)
		if err != nil {
			w.t.Fatal(err)
		}
		got = len(rows)
		return got == n
	}, func() any { return got })
}

// find is the row of a message; nil where it has gone.
func (w *world) find(id waybill.ID) *store.Row {
	w.t.Helper()
	rows, err := w.queue.Find(patience.Context(w.t), []waybill.ID{id})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(rows) == 0 {
		return nil
	}
	return &rows[0]
}

// kept waits until the consumer keeps n messages.
func (w *world) kept(n int) {
	w.t.Helper()
	got := -1
	patience.Until(w.t, "the consumer keeps messages", func() bool {
		if err := w.shipping.QueryRowContext(patience.Context(w.t), "SELECT count(*) FROM n_rejected").Scan(&got); err != nil {
			w.t.Fatal(err)
		}
		return got == n
	}, func() any { return got })
}
