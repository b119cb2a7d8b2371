package sqlite_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/sqlite"
)

// openAttachable opens a database to attach others to: ATTACH belongs to a connection,
// of which there is one.
func openAttachable(t *testing.T) *sql.DB {
	db := open(t, "_txlock=immediate")
	db.SetMaxOpenConns(1)
	return db
}

func TestADatabaseThatIsNotAttachedIsNoSchema(t *testing.T) {
	db := openAttachable(t)
	if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "app.", store.Producer); err == nil {
		t.Error("Migrate: got no error, want one")
	}
	queue, err := store.NewQueue(db, sqlite.Dialect(), "app.")
	if err != nil {
		t.Fatal(err)
	}
	if err := queue.CheckSchema(t.Context()); !errors.Is(err, waybill.ErrSchema) {
		t.Errorf("CheckSchema: got error %v, want ErrSchema", err)
	}
}

// ALTER TABLE … RENAME reads all of them.
func TestAnUpgradeLeavesViewsAlone(t *testing.T) {
	db := open(t, "_txlock=immediate")
	dialecttest.MakeVersion1(t, db, sqlite.Dialect())
	for _, text := range []string{
		`CREATE VIEW keys AS SELECT sequence FROM qmessage_key`, `CREATE VIEW states AS SELECT time_stamp FROM n2_record`,
		`CREATE TABLE gone (a INTEGER)`, `CREATE VIEW broken AS SELECT a FROM gone`, `DROP TABLE gone`,
		`INSERT INTO qmessage_key (destination, business_mark, sequence, time_stamp) VALUES ('o', 'k', 7, 9)`,
		`INSERT INTO n2_record (consumer, dest_name, business_mark, time_stamp, message_id, producer) VALUES ('c', 'o', 'k', 5, 'a', 'p')`,
	} {
		if _, err := db.Exec(text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	dialecttest.Migrate(t, db, sqlite.Dialect(), "")
	for view, want := range map[string]string{`SELECT group_concat(sequence) FROM keys`: "7,7", `SELECT group_concat(time_stamp) FROM states`: "5,5"} {
		var got string
		if err := db.QueryRow(view).Scan(&got); err != nil || got != want {
			t.Errorf("%s: got %q, error %v, want %q", view, got, err, want)
		}
	}
}

func TestAnAttachedDatabaseIsASchema(t *testing.T) {
	db := openAttachable(t)
	if _, err := db.ExecContext(t.Context(), `ATTACH ? AS app`, filepath.Join(t.TempDir(), "app.db")); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"app.", "app.mail_", ""} {
		t.Run(prefix, func(t *testing.T) {
			names := dialecttest.Migrate(t, db, sqlite.Dialect(), prefix)
			for range 2 {
				if _, err := db.ExecContext(t.Context(), names.SQL(`INSERT INTO {qmessage} (destination, business_mark, message_content) VALUES ('o', 'k', 'x')`)); err != nil {
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
				t.Errorf("got the rows %+v, want two of one key", rows)
			}
			ledger, err := store.NewLedger(db, sqlite.Dialect(), prefix, "c")
			if err != nil {
				t.Fatal(err)
			}
			if err := ledger.SaveFloor(t.Context(), "p", waybill.ID{}); err != nil {
				t.Fatal(err)
			}
			if _, err := ledger.Prune(t.Context(), rows[0].MessageID.Time(), 0, 10); err != nil {
				t.Error(err)
			}
		})
	}
}
