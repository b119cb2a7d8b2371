package inbox

import (
	"context"
	"database/sql"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

func TestABatchShrinksWhereItIsSlowOrLosesAndGrowsAgain(t *testing.T) {
	w := newWorker(&route{in: &Inbox{o: Options{BatchTime: 250 * time.Millisecond}}, o: HandleOptions{Batch: 200}})
	for _, step := range []struct { // each goes on from the one before
		name         string
		n            int // messages that were there; 0 for as many as may be
		took         time.Duration
		lostConflict bool
		want         int
	}{
		{name: "the greatest stays", took: 10 * time.Millisecond, want: 200},
		{name: "slow", took: 500 * time.Millisecond, want: 100},
		{name: "fast again, at once", took: 10 * time.Millisecond, want: 200},
		{name: "lost", took: time.Second, lostConflict: true, want: 100},
		{name: "slowly, since it lost with 200", took: 10 * time.Millisecond, want: 101},
		{name: "slowly on", took: 10 * time.Millisecond, want: 102},
		{name: "a small one tells nothing", n: 50, took: 10 * time.Millisecond, want: 102},
		{name: "slow again", took: time.Second, want: 25},
		{name: "fast up to where it was", took: 10 * time.Millisecond, want: 50},
		{name: "fast on", took: 10 * time.Millisecond, want: 100},
		{name: "where it was", took: 10 * time.Millisecond, want: 102},
		{name: "slowly from there", took: 10 * time.Millisecond, want: 103},
		{name: "a small one lost", n: 8, took: time.Second, lostConflict: true, want: 4},
		{name: "one alone lost", n: 1, took: time.Second, lostConflict: true, want: 1},
		{name: "one alone is slow", took: time.Minute, want: 1},
		{name: "one alone is fast", took: 10 * time.Millisecond, want: 2},
	} {
		t.Run(step.name, func(t *testing.T) {
			n := step.n
			if n == 0 {
				n = w.size
			}
			w.lostConflict = step.lostConflict
			if w.resize(n, step.took); w.size != step.want {
				t.Errorf("got a next batch of %d, want %d", w.size, step.want)
			}
		})
	}
	for range 1000 {
		w.resize(w.size, 0)
	}
	if w.size != 200 {
		t.Errorf("got a next batch of %d after a long time without conflicts, want Options.Batch, 200", w.size)
	}
}

// busy is an error as SQLite's drivers have it.
type busy struct{}

func (busy) Error() string { return "database is locked" }
func (busy) Code() int     { return 5 }

// severalWriters is SQLite's dialect as if several transactions could write at a time.
type severalWriters struct{ store.Dialect }

func (d severalWriters) Capabilities() store.Capabilities {
	traits := d.Dialect.Capabilities()
	traits.SingleWriter = false
	return traits
}

func TestABatchThatHasLostIsHalvedUnlessItWasOnlyLate(t *testing.T) {
	for _, c := range []struct {
		name    string
		dialect store.Dialect
		want    int
	}{
		{"several writers", severalWriters{sqlite.Dialect()}, 100},
		{"one writer", sqlite.Dialect(), 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := newInbox(t, c.dialect, memory.New(nil), &Options{Consumer: "test"})
			calls := 0
			handler := Handler(func(context.Context, *sql.Tx, *waybill.Message) error {
				if calls++; calls == 1 {
					return busy{}
				}
				return nil
			})
			w := newWorker(newRoute(in, "orders", waybill.Once, handler.alone(), HandleOptions{Workers: 1, Batch: 200, Timeout: time.Minute, MaxTries: 1}))
			var batch []*item
			for range 200 {
				x := &item{sourceOf: store.Source}
				x.Message.ID, x.Message.Producer = waybill.NewID(), "shop"
				batch = append(batch, x)
			}
			if err := w.attempt(t.Context(), t.Context(), batch, newOutcomes(w.r)); err != nil {
				t.Fatalf("got %v, want an outcome", err)
			}
			if w.resize(len(batch), time.Millisecond); w.size != c.want || calls != 201 {
				t.Errorf("got a next batch of %d after %d calls, want %d after 201", w.size, calls, c.want)
			}
		})
	}
}
