package storetest

import (
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// Benchmark measures what a message costs in the database, each step by itself: one
// connection, 256-byte bodies, batches of 500 where there are any.
func Benchmark(b *testing.B, h Harness) {
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
				return inTx(b, db, func(tx *sql.Tx) error { return store.Insert(b.Context(), tx, h.Dialect, names, rows) })
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
			if err := inTx(b, db, func(tx *sql.Tx) error { return store.Insert(b.Context(), tx, h.Dialect, names, rows) }); err != nil {
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
				b.Fatalf("%d rows deleted, want %d", n, batch)
			}
			return err
		})
	})
	guards := []struct {
		name string
		keys int64
		run  func(l *store.Ledger, tx *sql.Tx, marks []store.Mark) ([]store.Verdict, error)
	}{
		{"guard once", 1 << 60, func(l *store.Ledger, tx *sql.Tx, m []store.Mark) ([]store.Verdict, error) {
			return l.RecordOnce(b.Context(), tx, m)
		}},
		{"guard latest, new keys", 1 << 60, func(l *store.Ledger, tx *sql.Tx, m []store.Mark) ([]store.Verdict, error) {
			return l.RecordLatest(b.Context(), tx, m)
		}},
		{"guard latest, 10,000 keys", 10_000, func(l *store.Ledger, tx *sql.Tx, m []store.Mark) ([]store.Verdict, error) {
			return l.RecordLatest(b.Context(), tx, m)
		}},
	}
	for _, guard := range guards {
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
				if _, err := guard.run(ledger, tx, marks); err != nil {
					return err
				}
				return tx.Commit()
			})
		})
	}
}

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

func perMessage(b *testing.B, size int, f func() error) {
	b.Helper()
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "messages/s")
}

func inTx(b *testing.B, db *sql.DB, f func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(b.Context(), nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}
