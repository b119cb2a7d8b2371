package sqlite_test

import (
	"database/sql"
	"errors"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/sqlite"
)

type (
	errNo    int
	extended uint16
	// field has its code as mattn/go-sqlite3 has it, method as ncruces/go-sqlite3.
	field struct {
		Code errNo
		text string
	}
	method struct{ code extended }
)

func (e field) Error() string    { return e.text }
func (e *method) Error() string  { return "sqlite3: error" }
func (e *method) Code() extended { return e.code }

func TestErrorsOfOtherDriversAreClassified(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want store.Condition
	}{
		{"busy", field{Code: 5}, store.Conflict},
		{"locked", field{Code: 6}, store.Conflict},
		{"busy, by its extended code", &method{517}, store.Conflict},
		{"read-only", &method{8}, store.Unavailable},
		{"full", &method{13}, store.Unavailable},
		{"cannot open", field{Code: 14}, store.Unavailable},
		{"I/O error, by its extended code", &method{266}, store.Unavailable},
		{"no table", field{1, "no such table: qmessage"}, store.NoTable},
		{"a syntax error", field{1, `near "x": syntax error`}, store.Other},
		{"a constraint", &method{19}, store.Other},
		{"a constraint, by its extended code", &method{2067}, store.Other},
		{"a text without a code", errors.New("no such table"), store.Other},
		{"no error", nil, store.Other},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialecttest.WantCondition(t, sqlite.Dialect(), c.err, c.want)
		})
	}
}

func TestAFullDatabaseIsKnownByItsErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"full", &method{13}, true},
		{"full, as a field", field{Code: 13}, true},
		{"no room for the shared memory", &method{4874}, true},
		{"another I/O error", &method{266}, false},
		{"read-only", &method{8}, false},
		{"no error", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialecttest.WantFull(t, sqlite.Dialect(), c.err, c.want)
		})
	}
	t.Run("a file that may not grow", func(t *testing.T) {
		db := open(t, "_pragma=max_page_count(8)")
		_, err := db.Exec(`CREATE TABLE t (x BLOB); INSERT INTO t VALUES (zeroblob(1000000))`)
		dialecttest.WantFull(t, sqlite.Dialect(), err, true)
		dialecttest.WantCondition(t, sqlite.Dialect(), err, store.Unavailable)
	})
}

func TestABusyDatabaseIsAConflict(t *testing.T) {
	db := open(t, "_pragma=busy_timeout(0)&_pragma=journal_mode(wal)&_txlock=deferred")
	names := dialecttest.Migrate(t, db, sqlite.Dialect(), "")
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	if err != nil {
		t.Fatal(err)
	}
	insert := func(tx *sql.Tx) error {
		return store.Insert(t.Context(), tx, sqlite.Dialect(), names, []store.NewRow{{ID: waybill.NewID(), Destination: "o", Key: "k", Body: []byte{}}})
	}
	begin := func() *sql.Tx {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tx.Rollback() })
		return tx
	}
	// This one reads before the other writes: it can never write.
	reader := begin()
	if err := reader.QueryRowContext(t.Context(), `SELECT count(*) FROM qmessage`).Scan(new(int)); err != nil {
		t.Fatal(err)
	}
	writer := begin()
	if err := insert(writer); err != nil {
		t.Fatal(err)
	}
	wantConflict := func(what string, err error) {
		t.Helper()
		if got := queue.Condition(err); got != store.Conflict {
			t.Errorf("%s: got the condition %v of error %v, want a Conflict", what, got, err)
		}
	}
	wantConflict("a write beside a writer", insert(begin()))
	wantConflict("a write after a read, beside a writer", insert(reader))
	if err := writer.Commit(); err != nil {
		t.Fatal(err)
	}
	wantConflict("a write on what is no longer the newest", insert(reader))
}

func TestMigrateWaitsForABusyDatabase(t *testing.T) {
	db := open(t, "_pragma=busy_timeout(0)&_pragma=journal_mode(wal)")
	writer, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if _, err := writer.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Producer) }()
	if _, err := writer.ExecContext(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
