package sqlite_test

import (
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

func TestAConnectionThatTakesNoWritesIsDropped(t *testing.T) {
	db := open(t, "_txlock=immediate&_pragma=busy_timeout(30000)&_pragma=journal_mode(wal)")
	db.SetMaxOpenConns(1)
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", side); err != nil {
			t.Fatal(err)
		}
	}
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := store.NewLedger(db, sqlite.Dialect(), "", "shipping")
	if err != nil {
		t.Fatal(err)
	}
	for _, use := range []struct {
		name string
		use  func() error
	}{
		{"a statement", func() error {
			_, err := queue.AcquireLease(t.Context(), "relay", "a", time.Minute)
			return err
		}},
		{"a guard", func() error {
			tx, err := ledger.Begin(t.Context())
			if err != nil {
				return err
			}
			defer tx.Rollback()
			_, err = ledger.RecordOnce(t.Context(), tx, []store.Mark{{ID: waybill.NewID(), Destination: "o"}})
			return err
		}},
		{"a handler's statement", func() error {
			tx, err := ledger.Begin(t.Context())
			if err != nil {
				return err
			}
			defer tx.Rollback()
			_, err = tx.SQL().Exec(`DELETE FROM qmessage`)
			if err != nil && tx.Alive(t.Context(), err) {
				t.Error("the connection is said to be well")
			}
			return err
		}},
	} {
		t.Run(use.name, func(t *testing.T) {
			if _, err := db.Exec(`PRAGMA query_only = on`); err != nil { // the pool's one connection
				t.Fatal(err)
			}
			if err := use.use(); err == nil || !sqlite.Dialect().ReadOnly(err) {
				t.Errorf("got error %v, want that of a read-only database", err)
			}
			if err := use.use(); err != nil {
				t.Errorf("with a new connection: %v", err)
			}
		})
	}
}

func TestACheckSaysInWordsThatTheDatabaseTakesNoWritesOrMayLoseThem(t *testing.T) {
	db := open(t, "_pragma=query_only(on)&_pragma=synchronous(off)")
	writer := db
	db.SetMaxOpenConns(1)
	if _, err := writer.Exec(`PRAGMA query_only = off`); err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Producer); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Exec(`PRAGMA query_only = on`); err != nil {
		t.Fatal(err)
	}
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	if err != nil {
		t.Fatal(err)
	}
	found, err := queue.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var blocking, remarks []string
	for _, f := range found {
		if f.Blocks {
			blocking = append(blocking, f.Text)
		} else {
			remarks = append(remarks, f.Text)
		}
	}
	if len(blocking) != 1 || !strings.Contains(blocking[0], "takes no writes") {
		t.Errorf("got %q as what blocks, want that the database takes no writes, once", blocking)
	}
	if len(remarks) != 1 || !strings.Contains(remarks[0], "synchronous is OFF") {
		t.Errorf("got the remarks %q, want that synchronous is OFF", remarks)
	}
}
