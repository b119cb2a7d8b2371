package figure

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	_ "modernc.org/sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// deafDialect is a dialect whose database does not answer who counts what is kept while it is
// locked, whatever a context says.
type deafDialect struct {
	store.Dialect
	locked chan struct{} // has room for one, and a value while it is
}

func (d deafDialect) TallyKept(n store.Names, consumer string, limit int) store.Statement {
	d.locked <- struct{}{}
	<-d.locked
	return d.Dialect.TallyKept(n, consumer, limit)
}

func TestALockedTableHoldsUpNobodyWhoAsksForTheCountOfWhatIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every, timeout = 5 * time.Second, 3 * time.Second
		db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "kept.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Consumer); err != nil {
			t.Fatal(err)
		}
		dialect := deafDialect{sqlite.Dialect(), make(chan struct{}, 1)}
		keeper, err := store.NewKeeper(db, dialect, "", "shipping")
		if err != nil {
			t.Fatal(err)
		}
		ledger, err := store.NewLedger(db, dialect, "", "shipping")
		if err != nil {
			t.Fatal(err)
		}
		k := NewKept(keeper, every)
		// read has several ask at once, of whom each gets this within a time.
		read := func(when string, want KeptCount, known bool, within time.Duration) {
			t.Helper()
			var asking sync.WaitGroup
			began := time.Now()
			for range 3 {
				asking.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), timeout)
					defer cancel()
					if got, ok := k.Read(ctx); got != want || ok != known {
						t.Errorf("%s: got %+v, %t, want %+v, %t", when, got, ok, want, known)
					}
				})
			}
			asking.Wait()
			if took := time.Since(began); took > within {
				t.Errorf("%s: it took %v, want %v at most", when, took, within)
			}
		}
		dialect.locked <- struct{}{}
		read("before the first count", KeptCount{Failing: true}, false, timeout)
		<-dialect.locked
		read("after it", KeptCount{}, true, 0)
		kept := store.Kept{MessageID: waybill.NewID(), Destination: "orders", Delivery: "1", Headers: "{}", Status: store.Rejected, Reason: "no"}
		if err := ledger.Keep(t.Context(), []store.Kept{kept}, make([]time.Duration, 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // of the bubble's time
		dialect.locked <- struct{}{}
		read("while a count hangs", KeptCount{}, true, freshTime)
		read("a second time", KeptCount{}, true, freshTime)
		<-dialect.locked
		synctest.Wait()
		read("when it is over", KeptCount{Rejected: 1}, true, 0)
		time.Sleep(time.Hour) // of the bubble's time
		if _, err := db.Exec(`ALTER TABLE n_rejected RENAME TO gone`); err != nil {
			t.Fatal(err)
		}
		read("when one has failed", KeptCount{Rejected: 1, Failing: true}, true, 0)
	})
}
