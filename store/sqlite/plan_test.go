package sqlite_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/sqlite"
)

func TestPagesAreReadByAnIndex(t *testing.T) {
	for _, c := range []struct{ name, analyze string }{{"never analyzed", ""}, {"analyzed", "ANALYZE"}} {
		t.Run(c.name, func(t *testing.T) {
			db := open(t, "_txlock=immediate")
			names := dialecttest.Migrate(t, db, sqlite.Dialect(), "")
			for _, text := range []string{
				`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
				INSERT INTO qmessage (destination, message_content) SELECT 'o', 'x' FROM n`,
				c.analyze,
			} {
				if _, err := db.ExecContext(t.Context(), text); err != nil {
					t.Fatal(err)
				}
			}
			dialecttest.EachIndexed(t, sqlite.Dialect(), names, map[string]string{
				"Scan":            "INTEGER PRIMARY KEY (rowid>?)",
				"ScanDestination": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
				"Sweep":           "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
				"ScanDue":         "qmessage_due",
				"Floor":           "sqlite_autoindex_qmessage_1 (message_id<?)",
				"List pending":    "INTEGER PRIMARY KEY (rowid>?)",
				"List rejected":   "qmessage_rejected",
				"Delete":          "sqlite_autoindex_qmessage_1 (message_id=?)",
				"CountCopies":     "INTEGER PRIMARY KEY (rowid=?)",
				"ScanUnanswered":  "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
				"Answered":        "PRIMARY KEY (message_id>?)",
				"DeleteAnswers":   "PRIMARY KEY (message_id=?)",
				"OnceWindow":      "PRIMARY KEY (consumer=? AND message_id>? AND message_id<?)",
				"PruneOnce":       "PRIMARY KEY (consumer=? AND message_id=?)",
			}, func(t *testing.T, s store.Statement, index string) {
				if plan := explain(t, db, s); !strings.Contains(plan, index) || strings.Contains(plan, "TEMP B-TREE FOR ORDER BY") {
					t.Errorf("got the plan\n%swant it by %s", plan, index)
				}
			})
		})
	}
}

// explain returns the plan of a statement, a line a step.
func explain(t *testing.T, db *sql.DB, s store.Statement) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+s.SQL, s.Args...)
	if err != nil {
		t.Fatal(err)
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
	return plan.String()
}
