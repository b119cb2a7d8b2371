package sqlite_test

import (
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

func TestPagesAreReadByAnIndex(t *testing.T) {
	for _, analyzed := range []string{"", "ANALYZE"} {
		db := open(t, "_txlock=immediate")
		for _, side := range []store.Side{store.Producer, store.Consumer} {
			if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", side); err != nil {
				t.Fatal(err)
			}
		}
		names, err := store.NewNames("")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), `
			WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
			INSERT INTO qmessage (destination, message_content) SELECT 'o', 'x' FROM n`); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), analyzed); err != nil {
			t.Fatal(err)
		}
		d := sqlite.Dialect()
		for name, c := range map[string]struct {
			statement store.Statement
			by        string
		}{
			"Scan":            {d.Scan(names, 0, 500), "INTEGER PRIMARY KEY (rowid>?)"},
			"ScanDestination": {d.ScanDestination(names, "o", false, 0, 9, 500), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},
			"Sweep":           {d.Sweep(names, 0, 9, 500), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},
			"ScanDue":         {d.ScanDue(names, 0, 0, 500), "qmessage_due"},
			"Floor":           {d.Floor(names, waybill.NewID()), "sqlite_autoindex_qmessage_1 (message_id<?)"},
			"List":            {d.List(names, "", store.Rejected, 0, 50), "qmessage_rejected"},
			"Delete":          {d.Delete(names, make([]waybill.ID, 3)), "sqlite_autoindex_qmessage_1 (message_id=?)"},
			"OnceWindow":      {d.OnceWindow(names, "c", waybill.ID{}, waybill.NewID(), 500), "PRIMARY KEY (consumer=? AND message_id>? AND message_id<?)"},
		} {
			rows, err := db.QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+c.statement.SQL, c.statement.Args...)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			defer rows.Close()
			var plan strings.Builder
			for rows.Next() {
				var id, parent, unused int
				var detail string
				if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
					t.Fatal(err)
				}
				plan.WriteString(detail + "\n")
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(plan.String(), c.by) || strings.Contains(plan.String(), "TEMP B-TREE FOR ORDER BY") {
				t.Errorf("%s (%s): plan\n%swant it by %s", name, analyzed, plan.String(), c.by)
			}
		}
	}
}
