package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
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
		err  error
		want store.Condition
	}{
		{field{Code: 5}, store.Conflict}, {field{Code: 6}, store.Conflict}, {&method{517}, store.Conflict},
		{&method{8}, store.Unavailable}, {&method{13}, store.Unavailable}, {field{Code: 14}, store.Unavailable}, {&method{266}, store.Unavailable},
		{field{1, "no such table: qmessage"}, store.NoTable}, {field{1, `near "x": syntax error`}, store.Other}, {&method{19}, store.Other}, {&method{2067}, store.Other},
		{errors.New("no such table"), store.Other}, {nil, store.Other},
	} {
		if got := sqlite.Dialect().Condition(c.err); got != c.want {
			t.Errorf("%#v: condition %d, want %d", c.err, got, c.want)
		}
		if c.err == nil {
			continue
		}
		if got := sqlite.Dialect().Condition(fmt.Errorf("wrapped: %w", c.err)); got != c.want {
			t.Errorf("wrapped %#v: condition %d, want %d", c.err, got, c.want)
		}
	}
}

func TestABusyDatabaseIsAConflict(t *testing.T) {
	db := open(t, "_pragma=busy_timeout(0)&_pragma=journal_mode(wal)&_txlock=deferred")
	if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Producer); err != nil {
		t.Fatal(err)
	}
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	if err != nil {
		t.Fatal(err)
	}
	names, err := store.NewNames("")
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
	for name, tx := range map[string]*sql.Tx{"beside a writer": begin(), "after a read": reader} {
		if err := insert(tx); queue.Condition(err) != store.Conflict {
			t.Errorf("a write %s: %v, want a conflict", name, err)
		}
	}
	if err := writer.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := insert(reader); queue.Condition(err) != store.Conflict {
		t.Errorf("a write on what is no longer the newest: %v, want a conflict", err)
	}
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

func TestAnAttachedDatabaseIsASchema(t *testing.T) {
	db := open(t, "_txlock=immediate")
	db.SetMaxOpenConns(1) // ATTACH belongs to the connection
	if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "app.", store.Producer); err == nil {
		t.Error("a schema that is not attached was taken")
	}
	queue, err := store.NewQueue(db, sqlite.Dialect(), "app.")
	if err != nil {
		t.Fatal(err)
	}
	if err := queue.CheckSchema(t.Context()); !errors.Is(err, waybill.ErrSchema) {
		t.Errorf("a schema that is not attached: %v, want ErrSchema", err)
	}
	if _, err := db.ExecContext(t.Context(), `ATTACH ? AS app`, filepath.Join(t.TempDir(), "app.db")); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"app.", "app.mail_", ""} {
		for _, side := range []store.Side{store.Producer, store.Consumer} {
			if err := store.Migrate(t.Context(), db, sqlite.Dialect(), prefix, side); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if _, err := db.ExecContext(t.Context(), `INSERT INTO `+prefix+`qmessage (destination, business_mark, message_content) VALUES ('o', 'k', 'x')`); err != nil {
				t.Fatal(err)
			}
		}
		queue, err := store.NewQueue(db, sqlite.Dialect(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := queue.Scan(t.Context(), 0, 10, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) != 2 || rows[1].Sequence != 2 {
			t.Errorf("prefix %q: rows %+v, want two of one key", prefix, rows)
		}
		ledger, err := store.NewLedger(db, sqlite.Dialect(), prefix, "c")
		if err != nil {
			t.Fatal(err)
		}
		if err := ledger.SaveFloor(t.Context(), "p", waybill.ID{}); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.Prune(context.Background(), rows[0].MessageID.Time(), 0, 10); err != nil {
			t.Error(err)
		}
	}
}
