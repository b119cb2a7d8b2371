package inbox

import (
	"context"
	"database/sql"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

func TestBatchSize(t *testing.T) {
	w := newWorker(&route{in: &Inbox{o: Options{BatchTime: 250 * time.Millisecond}}, o: HandleOptions{Batch: 200}})
	for i, step := range []struct {
		n      int // messages that were there; 0 for as many as may be
		took   time.Duration
		beaten bool
		want   int
	}{
		{took: 10 * time.Millisecond, want: 200},
		{took: 500 * time.Millisecond, want: 100},
		{took: 10 * time.Millisecond, want: 200}, // time alone: back at once
		{took: time.Second, beaten: true, want: 100},
		{took: 10 * time.Millisecond, want: 101}, // it lost with 200: slowly
		{took: 10 * time.Millisecond, want: 102},
		{n: 50, took: 10 * time.Millisecond, want: 102},
		{took: time.Second, want: 25},
		{took: 10 * time.Millisecond, want: 50}, // up to where it was, fast
		{took: 10 * time.Millisecond, want: 100},
		{took: 10 * time.Millisecond, want: 102},
		{took: 10 * time.Millisecond, want: 103},
		{n: 8, took: time.Second, beaten: true, want: 4},
		{n: 1, took: time.Second, beaten: true, want: 1},
		{took: time.Minute, want: 1},
		{took: 10 * time.Millisecond, want: 2},
	} {
		n := step.n
		if n == 0 {
			n = w.size
		}
		w.beaten = step.beaten
		if w.resize(n, step.took); w.size != step.want {
			t.Fatalf("step %d: the next batch is of %d, want %d", i, w.size, step.want)
		}
	}
	for range 1000 {
		w.resize(w.size, 0)
	}
	if w.size != 200 {
		t.Errorf("after a long peace the next batch is of %d, want Options.Batch, 200", w.size)
	}
}

// busy is an error as SQLite's drivers have it.
type busy struct{}

func (busy) Error() string { return "database is locked" }
func (busy) Code() int     { return 5 }

// severalWriters is SQLite's dialect as if several transactions could write at a time.
type severalWriters struct{ store.Dialect }

func (d severalWriters) Capabilities() store.Capabilities {
	capabilities := d.Dialect.Capabilities()
	capabilities.SingleWriter = false
	return capabilities
}

func TestABatchThatHasLostIsHalvedUnlessItWasOnlyLate(t *testing.T) {
	for _, c := range []struct {
		dialect store.Dialect
		want    int
	}{{severalWriters{sqlite.Dialect()}, 100}, {sqlite.Dialect(), 200}} {
		db, err := sql.Open("sqlite", "file:"+t.TempDir()+"/db?_txlock=immediate")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := store.Migrate(t.Context(), db, c.dialect, "", store.Consumer); err != nil {
			t.Fatal(err)
		}
		in, err := New(db, c.dialect, memory.New(nil), &Options{Consumer: "test"})
		if err != nil {
			t.Fatal(err)
		}
		calls := 0
		handler := func(context.Context, *sql.Tx, *waybill.Message) error {
			if calls++; calls == 1 {
				return busy{}
			}
			return nil
		}
		w := newWorker(newRoute(in, "orders", waybill.Once, handler, HandleOptions{Workers: 1, Batch: 200, Timeout: time.Minute, MaxTries: 1}))
		var batch []*item
		for range 200 {
			x := &item{}
			x.Message.ID, x.Message.Producer = waybill.NewID(), "shop"
			batch = append(batch, x)
		}
		if err := w.attempt(t.Context(), t.Context(), batch, newOutcomes(w.r)); err != nil {
			t.Fatal(err)
		}
		if w.resize(len(batch), time.Millisecond); w.size != c.want || calls != 201 {
			t.Errorf("SingleWriter %v: the next batch is of %d after %d calls, want %d after 201", c.dialect.Capabilities().SingleWriter, w.size, calls, c.want)
		}
	}
}
