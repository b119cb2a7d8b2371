package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// Benchmark measures what a message costs in the database, each step by itself and one
// call at a time: bodies of 256 bytes, 1 or 20 messages a Send and 500 in each batch of
// the other steps.
func Benchmark(b *testing.B, h Harness) {
	h.check(b)
	const batch = 500
	content := make([]byte, 256)
	for _, size := range []int{1, 20} {
		b.Run(fmt.Sprint("send ", size), func(b *testing.B) {
			db, names := opened(b, h)
			var n atomic.Int64
			perMessage(b, size, func() error {
				rows := make([]store.NewRow, size)
				for i := range rows {
					rows[i] = store.NewRow{ID: waybill.NewID(), Destination: "orders", Key: fmt.Sprint("order ", n.Add(1)%10_000), Body: content}
				}
				return inTx(b.Context(), db, func(tx *sql.Tx) error { return store.Insert(b.Context(), tx, h.Dialect, names, rows) })
			})
		})
	}
	b.Run("scan and delete", func(b *testing.B) {
		db, names := opened(b, h)
		queue, err := store.NewQueue(db, h.Dialect, "")
		if err != nil {
			b.Fatal(err)
		}
		var after int64
		perMessage(b, batch, func() error {
			b.StopTimer()
			rows := make([]store.NewRow, batch)
			for i := range rows {
				rows[i] = store.NewRow{ID: waybill.NewID(), Destination: "orders", Body: content}
			}
			if err := inTx(b.Context(), db, func(tx *sql.Tx) error { return store.Insert(b.Context(), tx, h.Dialect, names, rows) }); err != nil {
				return err
			}
			b.StartTimer()
			found, err := queue.Scan(b.Context(), after, batch, 0)
			if err != nil {
				return err
			}
			after = found[len(found)-1].ID
			n, err := queue.Delete(b.Context(), field(found, messageID))
			if n != batch {
				b.Fatalf("got %d rows deleted, want %d", n, batch)
			}
			return err
		})
	})
	for _, guard := range []struct {
		name   string
		record func(l *store.Ledger, ctx context.Context, tx *sql.Tx, marks []store.Mark) ([]store.Verdict, error)
		keys   int64
	}{
		{"guard once", (*store.Ledger).RecordOnce, 1 << 60},
		{"guard latest, new keys", (*store.Ledger).RecordLatest, 1 << 60},
		{"guard latest, 10,000 keys", (*store.Ledger).RecordLatest, 10_000},
	} {
		b.Run(guard.name, func(b *testing.B) {
			db, _ := opened(b, h)
			ledger, err := store.NewLedger(db, h.Dialect, "", consumer)
			if err != nil {
				b.Fatal(err)
			}
			var n int64
			perMessage(b, batch, func() error {
				marks := make([]store.Mark, batch)
				for i := range marks {
					n++
					marks[i] = store.Mark{ID: waybill.NewID(), Producer: "orders", Destination: "orders", Key: fmt.Sprint("order ", n%guard.keys), TimeStamp: n}
				}
				tx, err := ledger.Begin(b.Context())
				if err != nil {
					return err
				}
				defer tx.Rollback()
				if _, err := guard.record(ledger, b.Context(), tx, marks); err != nil {
					return err
				}
				return tx.Commit()
			})
		})
	}
}

// opened is a database with the tables of both sides.
func opened(b *testing.B, h Harness) (*sql.DB, store.Names) {
	db := h.Open(b)
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if err := store.Migrate(b.Context(), db, h.Dialect, "", side); err != nil {
			b.Fatal(err)
		}
	}
	names, err := store.NewNames("")
	if err != nil {
		b.Fatal(err)
	}
	return db, names
}

// perMessage measures f, which handles size messages each time.
func perMessage(b *testing.B, size int, f func() error) {
	b.Helper()
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "messages/s")
}
