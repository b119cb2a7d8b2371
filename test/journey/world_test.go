// Package journey tests the whole way of a message: outbox, relay, broker, inbox,
// receipt, and the row gone, judged by comparing the databases.
//
// The files: world_test.go (two services and what is between them), peer_test.go (a
// consumer or producer that is no Waybill), journey_test.go (nothing is lost),
// relay_test.go and inbox_test.go (the two by themselves), consumers_test.go (topics whose
// consumers must all confirm), isolation_test.go (one
// destination's trouble is not another's), database_test.go (a database that is away),
// options_test.go (options that are wrong), matrix_test.go (every database over every
// broker), bench_test.go (how fast).
package journey

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/mysql"
	"github.com/waybill-go/waybill/store/postgres"
	"github.com/waybill-go/waybill/store/sqlite"
)

// database is one kind of database that a journey can be made on.
type database struct {
	name    string
	dialect store.Dialect
	open    func(t testing.TB) *sql.DB // fresh, with the tables of both sides
	arg     func(n int) string         // the placeholder of the nth argument
}

var (
	onSQLite = database{name: "sqlite", dialect: sqlite.Dialect(), arg: question, open: func(t testing.TB) *sql.DB {
		return openAddress(t, "sqlite:"+filepath.Join(t.TempDir(), "journey.db"))
	}}
	onPostgres = database{name: "postgres", dialect: postgres.Dialect(), arg: func(n int) string { return fmt.Sprintf("$%d", n) }, open: func(t testing.TB) *sql.DB {
		return openServer(t, "WAYBILL_TEST_POSTGRES", " WITH (FORCE)")
	}}
	onMySQL = database{name: "mysql", dialect: mysql.Dialect(), arg: question, open: func(t testing.TB) *sql.DB {
		return openServer(t, "WAYBILL_TEST_MYSQL", "")
	}}
	databases = []database{onSQLite, onPostgres, onMySQL}
)

func question(int) string { return "?" }

func openAddress(t testing.TB, at string) *sql.DB {
	t.Helper()
	db, dialect, err := address.OpenDatabase(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	migrate(t, db, dialect)
	return db
}

// openServer makes a database of its own on a server, and drops it in the end.
func openServer(t testing.TB, variable, force string) *sql.DB {
	t.Helper()
	at := testserver.Address(t, variable)
	admin, _, err := address.OpenDatabase(at)
	if err != nil {
		t.Fatal(err)
	}
	name := "journey_" + strings.ReplaceAll(waybill.NewID().String(), "-", "")
	if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec("DROP DATABASE " + name + force); err != nil {
			t.Error(err)
		}
		admin.Close()
	})
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	db := openAddress(t, u.String())
	db.SetMaxOpenConns(20)
	return db
}

func migrate(t testing.TB, db *sql.DB, dialect store.Dialect) {
	t.Helper()
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if err := store.Migrate(context.Background(), db, dialect, "", side); err != nil {
			t.Fatal(err)
		}
	}
}

// world is two services and what is between them.
type world struct {
	t        testing.TB
	name     string // part of its destinations' names, where worlds share a broker
	database database
	producer *sql.DB
	consumer *sql.DB
	broker   broker.Broker
	out      *outbox.Outbox
	log      *slog.Logger

	marks []func() any // how far its relays and inboxes have got

	relayOptions relay.Options
	identity     string // of the outbox; see receiptQueue
	inboxOptions inbox.Options
}

// newWorld makes the databases with their business tables: made (what the producer
// committed, by message id) and done (what the consumer did, one row for each call of
// a handler that committed).
func newWorld(t testing.TB, d database, b broker.Broker) *world {
	t.Helper()
	w := &world{t: t, database: d, producer: d.open(t), consumer: d.open(t), broker: b, log: testLog(t)}
	w.exec(w.producer, `CREATE TABLE made (message_id varchar(36) PRIMARY KEY, destination varchar(100), business_key varchar(100), version bigint)`)
	for _, s := range []string{
		`CREATE TABLE done (message_id varchar(36), destination varchar(100), business_key varchar(100), version bigint)`,
		`CREATE TABLE latest (business_key varchar(100) PRIMARY KEY, version bigint, steps bigint)`,
		`CREATE TABLE backwards (business_key varchar(100), version bigint, was bigint)`,
	} {
		w.exec(w.consumer, s)
	}
	out, err := outbox.New(d.dialect, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.out = out
	w.relayOptions = relay.Options{
		Producer: "waybill", Wake: out.Committed(), MinResend: 200 * time.Millisecond, FirstResend: 500 * time.Millisecond, MaxResend: 2 * time.Second,
		MinRetry: 50 * time.Millisecond, Lease: time.Minute, Poll: 100 * time.Millisecond, Sweep: time.Second, Logger: w.log,
	}
	w.inboxOptions = inbox.Options{Consumer: "tester", Logger: w.log}
	return w
}

// testLog is silent but with WAYBILL_TEST_LOG=1.
func testLog(t testing.TB) *slog.Logger {
	if os.Getenv("WAYBILL_TEST_LOG") == "1" {
		return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

func (w *world) exec(db *sql.DB, query string, args ...any) {
	w.t.Helper()
	if _, err := db.Exec(query, args...); err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
}

func (w *world) number(db *sql.DB, query string, args ...any) int64 {
	w.t.Helper()
	var n sql.NullInt64
	if err := db.QueryRow(query, args...).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	return n.Int64
}

// q fills a query's placeholders ("?") in as the database writes them.
func (w *world) q(query string) string {
	for n := 1; strings.Contains(query, "?") && w.database.arg(1) != "?"; n++ {
		query = strings.Replace(query, "?", w.database.arg(n), 1)
	}
	return query
}

// runs starts something that runs until the test ends or stop is called, which
// waits until it has ended.
func (w *world) runs(run func(ctx context.Context) error) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				w.t.Errorf("run: %v", err)
			}
		case <-time.After(patience.Limit):
			w.t.Error("it does not stop")
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// receiptQueue is where the relay's receipts come back.
func (w *world) receiptQueue() string {
	w.t.Helper()
	if w.identity == "" {
		queue, err := store.NewQueue(w.producer, w.database.dialect, "")
		if err != nil {
			w.t.Fatal(err)
		}
		defer queue.CloseIdle()
		if w.identity, err = queue.Identity(context.Background()); err != nil {
			w.t.Fatal(err)
		}
	}
	return waybill.ReceiptQueue("waybill", w.identity)
}

func (w *world) relay() *relay.Relay {
	w.t.Helper()
	if w.relayOptions.Producer == "" {
		w.relayOptions.Producer = "waybill"
	}
	r, err := relay.New(w.producer, w.database.dialect, w.broker, &w.relayOptions)
	if err != nil {
		w.t.Fatal(err)
	}
	w.marks = append(w.marks, func() any {
		s := r.Stats()
		return [...]int64{s.Published - s.Copies, s.Confirmed, s.Rejected, s.Retries, s.Cursor}
	})
	return r
}

// newInbox makes an inbox that has no handlers yet.
func (w *world) newInbox(o *inbox.Options) *inbox.Inbox {
	w.t.Helper()
	in, err := inbox.New(w.consumer, w.database.dialect, w.broker, o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.marks = append(w.marks, func() any {
		s := in.Stats()
		return [...]int64{s.Handled, s.Superseded, s.Rejected, s.Pruned}
	})
	return in
}

// inbox makes a consumer of "events" (Once) and "states" (Latest).
func (w *world) inbox() *inbox.Inbox {
	w.t.Helper()
	in := w.newInbox(&w.inboxOptions)
	in.Handle("events"+w.name, waybill.Once, w.record)
	in.Handle("states"+w.name, waybill.Latest, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		if err := w.record(ctx, tx, m); err != nil {
			return err
		}
		var before int64
		switch err := tx.QueryRowContext(ctx, w.q(`SELECT version FROM latest WHERE business_key = ?`), m.Key).Scan(&before); {
		case err == sql.ErrNoRows:
			_, err := tx.ExecContext(ctx, w.q(`INSERT INTO latest VALUES (?, ?, 1)`), m.Key, m.TimeStamp)
			return err
		case err != nil:
			return err
		case before >= m.TimeStamp:
			if _, err := tx.ExecContext(ctx, w.q(`INSERT INTO backwards VALUES (?, ?, ?)`), m.Key, m.TimeStamp, before); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, w.q(`UPDATE latest SET version = ?, steps = steps + 1 WHERE business_key = ?`), m.TimeStamp, m.Key)
		return err
	})
	return in
}

func (w *world) record(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
	_, err := tx.ExecContext(ctx, w.q(`INSERT INTO done VALUES (?, ?, ?, ?)`), m.ID.String(), strings.TrimSuffix(m.Destination, w.name), m.Key, m.TimeStamp)
	return err
}

// commit commits messages in one transaction.
func (w *world) commit(messages ...waybill.Message) {
	w.t.Helper()
	ctx := context.Background()
	if err := w.out.InTx(ctx, w.producer, func(tx *sql.Tx) error { return w.out.Send(ctx, tx, messages...) }); err != nil {
		w.t.Fatal(err)
	}
}

// commitMany commits n messages that message makes, in transactions of 500, and returns
// their ids.
func (w *world) commitMany(n int, message func(i int) waybill.Message) (ids []waybill.ID) {
	w.t.Helper()
	all := make([]waybill.Message, n)
	for i := range all {
		all[i] = message(i)
		all[i].ID = waybill.NewID()
		ids = append(ids, all[i].ID)
	}
	for batch := range slices.Chunk(all, 500) {
		w.commit(batch...)
	}
	return ids
}

// send commits a message to the inbox's destinations and a note of it in one
// transaction, for judge.
func (w *world) send(ctx context.Context, m waybill.Message) error {
	return w.out.InTx(ctx, w.producer, func(tx *sql.Tx) error { return w.write(ctx, tx, m) })
}

// write writes a message and a note of it in a transaction, for judge.
func (w *world) write(ctx context.Context, tx *sql.Tx, m waybill.Message) error {
	m.ID = waybill.NewID()
	sent := m
	sent.Destination += w.name
	if err := w.out.Send(ctx, tx, sent); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, w.q(`INSERT INTO made SELECT ?, ?, ?, time_stamp FROM qmessage WHERE message_id = ?`), m.ID.String(), m.Destination, m.Key, m.ID.String())
	return err
}

// resendsNever has a relay send no copy because a receipt is late, which on a busy machine it
// may be.
func (w *world) resendsNever() {
	w.relayOptions.MinResend, w.relayOptions.FirstResend, w.relayOptions.MaxResend = time.Hour, time.Hour, time.Hour
}

// waits until what is asked is so, or fails the test once neither the relays nor the inboxes
// have got on for limit, which patience.Limit takes the place of where that is longer.
func (w *world) waits(what string, limit time.Duration, so func() bool) {
	w.t.Helper()
	patience.Within(w.t, max(limit, patience.Limit), what, so, w.marks...)
}

// effects counts what handlers have committed.
func (w *world) effects() int64 { return w.number(w.consumer, `SELECT count(*) FROM done`) }

// wantEffects checks how much handlers have committed.
func (w *world) wantEffects(want int64) {
	w.t.Helper()
	if got := w.effects(); got != want {
		w.t.Errorf("got %d effects, want %d", got, want)
	}
}

// left counts the rows in the outbox.
func (w *world) left() int64 { return w.number(w.producer, `SELECT count(*) FROM qmessage`) }

// isRejected reports whether the outbox's only row is rejected.
func (w *world) isRejected() bool {
	return w.number(w.producer, `SELECT status FROM qmessage`) == store.Rejected
}

// emptied waits until no row is left in the outbox.
func (w *world) emptied(limit time.Duration) {
	w.t.Helper()
	w.waits("the outbox is empty", limit, func() bool { return w.left() == 0 })
}

// judge compares the databases.
func (w *world) judge() {
	w.t.Helper()
	type fact struct{ destination, key string }
	made := map[string]fact{}
	newest := map[string]int64{}
	w.each(w.producer, `SELECT message_id, destination, business_key, version FROM made`, func(id, destination, key string, version int64) {
		made[id] = fact{destination, key}
		if destination == "states" {
			newest[key] = max(newest[key], version)
		}
	})
	seen := map[string]int{}
	w.each(w.consumer, `SELECT message_id, destination, business_key, version FROM done`, func(id, destination, key string, version int64) {
		if seen[id]++; seen[id] == 2 {
			w.t.Errorf("doubled: %s to %s", id, destination)
		}
		if _, ok := made[id]; !ok {
			w.t.Errorf("phantom: %s to %s took effect and was never committed", id, destination)
		}
	})
	for id, f := range made {
		if f.destination == "events" && seen[id] == 0 {
			w.t.Errorf("lost: %s to events", id)
		}
	}
	for key, version := range newest {
		if got := w.number(w.consumer, w.q(`SELECT version FROM latest WHERE business_key = ?`), key); got != version {
			w.t.Errorf("lost: the newest state of %s is %d, the consumer has %d", key, version, got)
		}
	}
	if n := w.number(w.consumer, `SELECT count(*) FROM backwards`); n > 0 {
		w.t.Errorf("stale: %d newer states were overwritten", n)
	}
	if n := w.left(); n > 0 {
		w.t.Errorf("left over: %d rows", n)
	}
}

func (w *world) each(db *sql.DB, query string, see func(id, destination, key string, version int64)) {
	w.t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, destination, key string
		var version int64
		if err := rows.Scan(&id, &destination, &key, &version); err != nil {
			w.t.Fatal(err)
		}
		see(id, destination, key, version)
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
}
