// Package waybilltest helps to test services that use Waybill. In a unit test of
// milliseconds it shows what a transaction has sent ([RequireSent]), and that a handler's
// effect happens once, in whatever order messages come and whatever gets lost ([World]).
package waybilltest

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// World is a producer, a relay, a broker, a consumer and their database in a bubble of
// testing/synctest: an hour's outage takes as long as the work that is done in it. The
// database is SQLite, in a file of the test's own, and keeps the bubble's time. All of it
// ends with the test. It is for one goroutine.
type World struct {
	// DB is the database, with both sides' tables, and yours: make them with Exec.
	DB *sql.DB
	// Outbox sends.
	Outbox *outbox.Outbox

	t          testing.TB
	o          Options
	lossy      *lossy
	routes     []route
	middleware []func(inbox.Handler) inbox.Handler
	log        *logged
	relay      *part[*relay.Relay]
	consumer   *part[*inbox.Inbox]
}

// Options configure a World; nil and the zero value hold the defaults.
type Options struct {
	// Relay and Inbox are those of relay and inbox. Where they say nothing, times are longer
	// than by default, so that what happens in a day takes little to play.
	Relay relay.Options
	Inbox inbox.Options
	// Patience is how long, in the bubble's time, Settle waits where nothing gets on.
	// Default 24 h.
	Patience time.Duration
}

type route struct {
	destination string
	level       waybill.Level
	handler     inbox.Handler
	batch       inbox.BatchHandler // in its place
	options     inbox.HandleOptions
}

// Run opens a bubble with a World in it and calls f.
func Run(t *testing.T, f func(t *testing.T, w *World)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, New(t, nil)) })
}

// New makes a World in a bubble of testing/synctest that is open; o may be nil. Nothing runs
// before the first call of Settle or Wait, so that handlers and messages can be there first.
func New(t *testing.T, o *Options) *World {
	t.Helper()
	if !inBubble() {
		t.Fatal("waybilltest: New needs a bubble: call it inside of synctest.Test, or use Run")
	}
	w := &World{t: t, lossy: &lossy{Broker: memory.New(nil)}, log: &logged{}}
	if o != nil {
		w.o = *o
	}
	w.setDefaults()
	w.DB = openSQLite(t.TempDir())
	t.Cleanup(w.close)
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if err := store.Migrate(t.Context(), w.DB, sqlite.Dialect(), "", side); err != nil {
			t.Fatal(err)
		}
	}
	w.Exec(`CREATE TABLE waybilltest_applied (
		n INTEGER PRIMARY KEY, message_id TEXT NOT NULL, destination TEXT NOT NULL, topic INTEGER NOT NULL,
		business_mark TEXT NOT NULL, sequence INTEGER NOT NULL, time_stamp INTEGER NOT NULL, body BLOB)`)
	out, err := outbox.New(sqlite.Dialect(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Outbox = out
	return w
}

// inBubble says whether the goroutine is in a bubble, where alone Wait does not panic.
func inBubble() (is bool) {
	defer func() { is = recover() == nil }()
	synctest.Wait()
	return
}

func (w *World) setDefaults() {
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r, in := &w.o.Relay, &w.o.Inbox
	r.Producer = or(r.Producer, "waybilltest")
	r.Poll, r.Lease, r.Sweep = or(r.Poll, 10*time.Minute), or(r.Lease, time.Hour), or(r.Sweep, time.Hour)
	r.PausesEvery, in.PausesEvery = or(r.PausesEvery, 10*time.Minute), or(in.PausesEvery, 10*time.Minute)
	in.Consumer = or(in.Consumer, "waybilltest")
	in.PruneEvery, in.KeptEvery = or(in.PruneEvery, time.Hour), or(in.KeptEvery, 10*time.Minute)
	w.o.Patience = or(w.o.Patience, 24*time.Hour)
	if r.Logger == nil {
		r.Logger = log
	}
	if in.Logger == nil {
		in.Logger = log
	}
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Exec runs a statement, such as one that makes a table, and ends the test where it fails.
func (w *World) Exec(query string, args ...any) {
	w.t.Helper()
	if _, err := w.DB.ExecContext(w.t.Context(), query, args...); err != nil {
		w.t.Fatalf("waybilltest: %v, in %.200s", err, query)
	}
}

// Handle sets the consumer's handler of a destination, before anything runs.
func (w *World) Handle(destination string, level waybill.Level, handler inbox.Handler) {
	w.HandleWith(destination, level, handler, nil)
}

// HandleWith is Handle with options, such as for a topic; nil is none.
func (w *World) HandleWith(destination string, level waybill.Level, handler inbox.Handler, o *inbox.HandleOptions) {
	w.t.Helper()
	w.add(route{destination: destination, level: level, handler: handler}, o)
}

// HandleBatch sets a handler of a destination that takes several messages at a time, before
// anything runs.
func (w *World) HandleBatch(destination string, level waybill.Level, handler inbox.BatchHandler) {
	w.HandleBatchWith(destination, level, handler, nil)
}

// HandleBatchWith is HandleBatch with options, such as for a topic; nil is none.
func (w *World) HandleBatchWith(destination string, level waybill.Level, handler inbox.BatchHandler, o *inbox.HandleOptions) {
	w.t.Helper()
	w.add(route{destination: destination, level: level, batch: handler}, o)
}

func (w *World) add(x route, o *inbox.HandleOptions) {
	w.t.Helper()
	if w.consumer != nil {
		w.t.Fatal("waybilltest: the consumer runs already: set all handlers before the first Settle or Wait")
	}
	if o != nil {
		x.options = *o
	}
	w.routes = append(w.routes, x)
}

// Use puts middleware around all of the consumer's handlers; see inbox.Inbox.Use.
func (w *World) Use(middleware ...func(next inbox.Handler) inbox.Handler) {
	w.middleware = append(w.middleware, middleware...)
}

// Do makes a business change in a transaction of the outbox, and ends the test where that
// fails.
func (w *World) Do(business func(tx *sql.Tx) error) {
	w.t.Helper()
	if err := w.Outbox.InTx(w.t.Context(), w.DB, business); err != nil {
		w.t.Fatalf("waybilltest: the transaction failed: %v", err)
	}
}

// Send sends messages in a transaction of their own.
func (w *World) Send(messages ...waybill.Message) {
	w.t.Helper()
	w.Do(func(tx *sql.Tx) error { return w.Outbox.Send(w.t.Context(), tx, messages...) })
}

// LoseMessages has the broker confirm the next n messages that it is given, and lose them.
func (w *World) LoseMessages(n int) { w.lossy.set(func() { w.lossy.messages.lose += n }) }

// LoseReceipts has the broker lose the next n messages with receipts: the effects are
// committed, and the relay does not learn of it.
func (w *World) LoseReceipts(n int) { w.lossy.set(func() { w.lossy.receipts.lose += n }) }

// RepeatMessages has the broker deliver the next n messages twice.
func (w *World) RepeatMessages(n int) { w.lossy.set(func() { w.lossy.messages.repeat += n }) }

// Disturb has the broker lose, repeat and reorder messages and receipts from now on, each
// with that chance, from 0 to 1. Chance 0 ends it.
func (w *World) Disturb(chance float64) {
	if chance == 0 {
		w.lossy.SetFaults()
		return
	}
	w.lossy.SetFaults(memory.Fault{Lose: chance, Repeat: chance, Reorder: chance})
}

// BrokerDown has nobody reach the broker for that time, which begins now and goes by in
// Settle and Wait.
func (w *World) BrokerDown(d time.Duration) {
	w.lossy.Down()
	time.AfterFunc(d, w.lossy.Up)
}

// WipeBroker has the broker lose all that it has.
func (w *World) WipeBroker() { w.lossy.Wipe() }

// RestartConsumer breaks off the consumer's process, with what it is doing and has not
// committed, and starts another one.
func (w *World) RestartConsumer() {
	w.t.Helper()
	w.start()
	w.consumer.stop()
	w.lossy.Break()
	w.consumer = nil
	w.start()
}

// RestartRelay breaks off the relay's process, and starts another one.
func (w *World) RestartRelay() {
	w.t.Helper()
	w.start()
	w.relay.stop()
	w.lossy.Break()
	w.relay = nil
	w.start()
}

// Wait lets time go by, in which all run.
func (w *World) Wait(d time.Duration) {
	w.t.Helper()
	w.start()
	time.Sleep(d)
	synctest.Wait()
	w.checkRunning()
}

// Settle lets time go by until no message is on its way: each is confirmed, rejected, or
// delayed by its sender for longer than an hour from now. Where nothing gets on for
// Options.Patience the test ends, and tells what waits.
func (w *World) Settle() {
	w.t.Helper()
	w.start()
	const step, most = 50 * time.Millisecond, 10 * time.Minute
	pause, seen, since := step, "", time.Now()
	for {
		time.Sleep(pause)
		synctest.Wait()
		w.checkRunning()
		now, settled := w.progress()
		if settled {
			return
		}
		if now != seen {
			pause, seen, since = step, now, time.Now()
			continue
		}
		if time.Since(since) > w.o.Patience {
			w.t.Fatalf("waybilltest: nothing has got on for %v; waiting: %s\n%s", w.o.Patience, strings.TrimPrefix(listed(Sent(w.t, w.DB)), "\n"), w.log.tail())
		}
		pause = min(2*pause, most)
	}
}

// progress is something that changes while anything gets on, and whether no message is on its
// way any more, which includes copies at the broker.
func (w *World) progress() (now string, settled bool) {
	w.t.Helper()
	var rows, waiting int
	err := w.DB.QueryRowContext(w.t.Context(), `SELECT count(*), count(CASE WHEN not_before <= ? THEN 1 END) FROM qmessage WHERE status = 0`,
		time.Now().Add(time.Hour).UnixMicro()).Scan(&rows, &waiting)
	if err != nil {
		w.t.Fatalf("waybilltest: count the messages: %v", err)
	}
	settled = waiting == 0
	for _, x := range w.routes {
		settled = settled && w.lossy.Depth(x.destination) == 0
	}
	r, in := w.relay.of.Stats(), w.consumer.of.Stats()
	return fmt.Sprint(r.Confirmed, r.Rejected, r.Retries, in.Handled, in.Duplicates, in.Superseded, in.Rejected, rows), settled
}

// Applied returns the messages whose handlers' transactions have committed, in the order in
// which they ran. Their headers are not kept.
func (w *World) Applied() []waybill.Message {
	w.t.Helper()
	all, err := w.applied()
	if err != nil {
		w.t.Fatalf("waybilltest: read what was applied: %v", err)
	}
	return all
}

func (w *World) applied() (all []waybill.Message, err error) {
	rows, err := w.DB.QueryContext(w.t.Context(), `SELECT message_id, destination, topic, business_mark, sequence, time_stamp, body FROM waybilltest_applied ORDER BY n`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var m waybill.Message
		if err := rows.Scan(&m.ID, &m.Destination, &m.Topic, &m.Key, &m.Sequence, &m.TimeStamp, &m.Body); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, rows.Err()
}

// RequireApplied ends the test unless messages that match have taken effect; see Applied.
// With Count 1 it took effect once.
func (w *World) RequireApplied(m Match) {
	w.t.Helper()
	m.require(w.t, "that were applied", w.Applied())
}

// RequireNotApplied ends the test where a message that matches has taken effect.
func (w *World) RequireNotApplied(m Match) {
	w.t.Helper()
	m.refuse(w.t, "that were applied", w.Applied())
}

// Rejected is a message that its consumer has rejected, and why.
type Rejected struct {
	waybill.Message
	Reason string
}

// Rejected returns the messages that the outbox keeps as rejected, in the order of their
// sending.
func (w *World) Rejected() (all []Rejected) {
	w.t.Helper()
	q, err := store.NewQueue(w.DB, sqlite.Dialect(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	rows, err := q.List(w.t.Context(), "", store.Rejected, 0, math.MaxInt32)
	if err != nil {
		w.t.Fatalf("waybilltest: read the rejected messages: %v", err)
	}
	for i := range rows {
		r := &rows[i]
		all = append(all, Rejected{
			Message: waybill.Message{ID: r.MessageID, Destination: r.Destination, Topic: r.Topic, Key: r.Key, Sequence: r.Sequence, TimeStamp: r.TimeStamp, Body: r.Body},
			Reason:  r.LastError,
		})
	}
	return all
}
