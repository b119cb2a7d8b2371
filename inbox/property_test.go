package inbox

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/propertytest"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
)

// Batches arrive in any order, with copies inside, from several producers, with
// handlers of one message or of a batch that fail, while records are forgotten. Whatever happens, what is in the
// handler's own tables and what the producers are told has to fit the promises.
func TestBatchesTakeEffectOnceAndNeverGoBackwards(t *testing.T) {
	for _, database := range []struct{ name, variable, arg string }{
		{"sqlite", "", "?"}, {"postgres", "WAYBILL_TEST_POSTGRES", "$1"}, {"mysql", "WAYBILL_TEST_MYSQL", "?"},
	} {
		t.Run(database.name, func(t *testing.T) {
			w := newWorkload(t, database.variable, database.arg)
			for _, level := range []waybill.Level{waybill.Once, waybill.Latest} {
				t.Run(level.String(), func(t *testing.T) {
					propertytest.Check(t, 15, func(t *rapid.T) { w.run(t, level) })
				})
			}
		})
	}
}

// workload is what one consumer goes through: its database with the tables of its handler,
// and the messages that come to it.
type workload struct {
	db      *sql.DB
	dialect store.Dialect
	names   store.Names
	arg     string // the first placeholder
	level   waybill.Level
	in      *Inbox
	worker  *worker
	pool    []waybill.Message
	failing map[waybill.ID]bool
	settled settler
}

func newWorkload(t *testing.T, variable, arg string) *workload {
	t.Helper()
	at := "sqlite:" + filepath.Join(t.TempDir(), "inbox.db")
	if variable != "" {
		at = testserver.Address(t, variable)
	}
	db, dialect, err := address.OpenDatabase(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	prefix := "inbox_" + strings.ReplaceAll(waybill.NewID().String()[24:], "-", "") + "_"
	names, err := store.NewNames(prefix)
	if err != nil {
		t.Fatal(err)
	}
	w := &workload{db: db, dialect: dialect, names: names, arg: arg}
	t.Cleanup(func() {
		for _, table := range []string{"n1_record", "n2_record", "n_horizon", "waybill_version", "effect", "state"} {
			if _, err := db.Exec(`DROP TABLE ` + prefix + table); err != nil {
				t.Error(err)
			}
		}
	})
	if err := store.Migrate(t.Context(), db, dialect, prefix, store.Consumer); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{`{effect} (message_id CHAR(36))`, `{state} (business_mark VARCHAR(10), message_id CHAR(36))`} {
		if err := w.exec(db, `CREATE TABLE `+table); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *workload) exec(db store.Execer, text string, args ...any) error {
	_, err := db.ExecContext(context.Background(), w.names.SQL(text), args...)
	return err
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func minute(n int) time.Time { return epoch.Add(time.Duration(n) * time.Minute) }

func idOf(m, n int) waybill.ID {
	id := waybill.LowestID(minute(m))
	id[15] = byte(n)
	return id
}

var (
	minutes   = rapid.IntRange(0, 9)
	producers = rapid.SampledFrom([]string{"p", "q"})
)

// run has batches, floors and pruning come in any order.
func (w *workload) run(t *rapid.T, level waybill.Level) {
	for _, table := range []string{"n1_record", "n2_record", "n_horizon", "effect", "state"} {
		must(t, w.exec(w.db, `DELETE FROM {`+table+`}`))
	}
	w.level, w.pool = level, nil
	var err error
	w.in, err = New(w.db, w.dialect, memory.New(nil), &Options{
		Consumer: "shipping", TablePrefix: w.names.Prefix, Workers: 1, Logger: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	switch rapid.SampledFrom([]string{"single messages", "batches", "batches, without names"}).Draw(t, "handler of") {
	case "single messages":
		w.in.Handle("orders", level, w.handle)
	case "batches":
		w.in.HandleBatch("orders", level, w.handleBatch)
	default:
		w.in.HandleBatch("orders", level, func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
			if w.handleBatch(ctx, tx, messages) != nil {
				return errors.New("the handler fails")
			}
			return nil
		})
	}
	w.worker = w.in.routes[0].workers[0]
	for n := range rapid.IntRange(2, 8).Draw(t, "messages") {
		w.pool = append(w.pool, waybill.Message{
			ID: idOf(minutes.Draw(t, "minute"), n), Destination: "orders", Producer: producers.Draw(t, "producer"),
			Key: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"), TimeStamp: rapid.Int64Range(1, 4).Draw(t, "time stamp"),
		})
	}
	t.Repeat(map[string]func(*rapid.T){"a batch": w.batch, "a floor": w.floor, "pruning": w.prune})
}

// handle is the service's own handler.
func (w *workload) handle(_ context.Context, tx *sql.Tx, m *waybill.Message) error {
	if err := w.exec(tx, fmt.Sprintf(`INSERT INTO {effect} (message_id) VALUES ('%s')`, m.ID)); err != nil {
		return err
	}
	if err := w.exec(tx, `DELETE FROM {state} WHERE business_mark = `+w.arg, m.Key); err != nil {
		return err
	}
	if err := w.exec(tx, fmt.Sprintf(`INSERT INTO {state} (business_mark, message_id) VALUES (%s, '%s')`, w.arg, m.ID), m.Key); err != nil {
		return err
	}
	if w.failing[m.ID] {
		return errors.New("the handler fails")
	}
	return nil
}

// handleBatch is the same for several messages.
func (w *workload) handleBatch(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) (err error) {
	for _, m := range messages {
		err = errors.Join(err, Failed(m, w.handle(ctx, tx, m)))
	}
	return err
}

// batch has the worker handle some copies, and checks what came of them.
func (w *workload) batch(t *rapid.T) {
	w.failing, w.settled = map[waybill.ID]bool{}, settler{}
	var batch []*item
	copies := rapid.SliceOfN(rapid.IntRange(0, len(w.pool)-1), 1, 6).Draw(t, "copies")
	for _, i := range copies {
		m := w.pool[i]
		m.Failures = rapid.IntRange(0, 1).Draw(t, "failures")
		batch = append(batch, &item{sourceOf: store.Source, Arrival: wire.Arrival{Message: m, ReceiptTo: waybill.ReceiptQueue(m.Producer, "")}, receiver: &subscription{Receiver: &w.settled}})
	}
	for _, i := range rapid.SliceOfN(rapid.SampledFrom(copies), 0, 2).Draw(t, "failing") {
		w.failing[w.pool[i].ID] = true
	}
	effectsBefore, statesBefore := w.effects(t)
	w.worker.handle(t.Context(), t.Context(), batch)
	effects, states := w.effects(t)
	if w.settled.acknowledged != len(copies) {
		t.Fatalf("%d copies are acknowledged, want %d", w.settled.acknowledged, len(copies))
	}
	told := w.told(t, copies)
	for _, m := range w.pool {
		w.check(t, m, told[m.ID], effectsBefore[m.ID], effects[m.ID], states[m.Key])
	}
	for key, before := range statesBefore {
		if w.level == waybill.Latest && newer(before, states[key]) {
			t.Fatalf("the state of %s went from %+v back to %+v", key, before, states[key])
		}
	}
}

// check compares one message with the promises. outcomes are what its producer was told,
// copy by copy. Copies may differ: a
// message whose handler fails is done once a newer state is.
func (w *workload) check(t *rapid.T, m waybill.Message, outcomes []waybill.Outcome, before, after int, state waybill.Message) {
	forgotten := false
	horizons, err := w.in.ledger.Horizons(t.Context())
	must(t, err)
	for _, h := range horizons {
		forgotten = forgotten || w.level == waybill.Once && h.Producer == m.Producer && m.ID.Compare(h.ID) < 0
	}
	fail := func(what string) {
		t.Helper()
		t.Fatalf("%s: %s; its producer was told %q, effects %d, before %d, fails %v, forgotten %v, state %s",
			m.ID, what, outcomes, after, before, w.failing[m.ID], forgotten, state.ID)
	}
	if after > 1 {
		fail("took effect twice")
	}
	if after != before && !slices.Contains(outcomes, waybill.Done) {
		fail("took effect, and its producer was not told")
	}
	for _, outcome := range outcomes {
		switch {
		case outcome == waybill.Done && w.level == waybill.Once && after != 1:
			fail("took no effect")
		case outcome == waybill.Done && w.level == waybill.Latest && newer(m, state):
			fail("its state is not there")
		case outcome == waybill.Retry && !w.failing[m.ID]:
			fail("is asked for again though its handler is well")
		case outcome == waybill.Rejected && !forgotten:
			fail("is rejected though nothing is wrong with it")
		}
	}
}

// told reads the receipts that would leave now: one for each copy.
func (w *workload) told(t *rapid.T, copies []int) map[waybill.ID][]waybill.Outcome {
	told, count := map[waybill.ID][]waybill.Outcome{}, 0
	for _, a := range w.in.receipts.queues {
		for _, r := range a.waiting {
			told[r.ID] = append(told[r.ID], r.Outcome)
			count++
		}
	}
	w.in.receipts = newReceipts(w.in)
	if count != len(copies) {
		t.Fatalf("%d receipts for %d copies", count, len(copies))
	}
	return told
}

// effects reads the handler's tables.
func (w *workload) effects(t *rapid.T) (effects map[waybill.ID]int, states map[string]waybill.Message) {
	effects, states = map[waybill.ID]int{}, map[string]waybill.Message{}
	rows, err := w.db.QueryContext(t.Context(), w.names.SQL(`
SELECT message_id, '' FROM {effect}
UNION ALL
SELECT message_id, business_mark FROM {state}`))
	must(t, err)
	defer rows.Close()
	for rows.Next() {
		var id waybill.ID
		var key string
		must(t, rows.Scan(&id, &key))
		if key == "" {
			effects[id]++
			continue
		}
		for _, m := range w.pool {
			if m.ID == id {
				states[key] = m
			}
		}
	}
	must(t, rows.Err())
	return effects, states
}

// floor has a producer tell a floor.
func (w *workload) floor(t *rapid.T) {
	must(t, w.in.ledger.SaveFloor(t.Context(), producers.Draw(t, "producer"), idOf(minutes.Draw(t, "minute"), 0)))
}

// prune removes records as of some time.
func (w *workload) prune(t *rapid.T) {
	retention := time.Duration(rapid.IntRange(0, 3).Draw(t, "retention")) * time.Minute
	_, err := w.in.ledger.Prune(t.Context(), minute(minutes.Draw(t, "now")), retention, 3)
	must(t, err)
}

func newer(a, b waybill.Message) bool {
	return cmp.Or(cmp.Compare(a.TimeStamp, b.TimeStamp), a.ID.Compare(b.ID)) > 0
}

func must(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// settler is a subscription that counts what is acknowledged.
type settler struct {
	broker.Receiver
	acknowledged int
}

func (s *settler) Settle(_ context.Context, deliveries []broker.Delivery, disposition broker.Disposition) error {
	if disposition == broker.Ack {
		s.acknowledged += len(deliveries)
	}
	return nil
}
