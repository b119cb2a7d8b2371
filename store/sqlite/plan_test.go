package sqlite_test

import (
	"database/sql"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/sqlite"
)

func TestPagesAreReadByAnIndex(t *testing.T) {
	const analyze = `ANALYZE`
	const fill = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
		INSERT INTO qmessage (destination, message_content) SELECT 'o', 'x' FROM n`
	const fillAnother = `INSERT INTO qmessage (destination, message_content, status) VALUES ('p', 'x', 0), ('p', 'x', 2), ('p', 'x', 0)`
	for _, c := range []struct {
		name       string
		misled     bool
		statements []string
	}{
		{"never analyzed", false, []string{fill}},
		{"analyzed while empty", false, []string{analyze, fill}},
		{"analyzed while there were a few rows", true, []string{fillAnother, analyze, fill}},
		{"up to date", false, []string{fill, analyze}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := open(t, "_txlock=immediate")
			names := dialecttest.Migrate(t, db, sqlite.Dialect(), "")
			for _, text := range c.statements {
				if _, err := db.ExecContext(t.Context(), text); err != nil {
					t.Fatal(err)
				}
			}
			indexes := map[string]string{
				"Scan":            "INTEGER PRIMARY KEY (rowid>?)",
				"ScanDestination": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
				"Sweep":           "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
				"ScanNewest":      "sqlite_autoindex_qmessage_1 (message_id>? AND message_id<?)",
				"ScanPast":        "INTEGER PRIMARY KEY (rowid>?)",
				"Rows":            "INTEGER PRIMARY KEY (rowid=?)",
				"Find":            "sqlite_autoindex_qmessage_1 (message_id=?)",
				"Find one":        "sqlite_autoindex_qmessage_1 (message_id=?)",
				"FindBriefly":     "sqlite_autoindex_qmessage_1 (message_id=?)",
				"Answers":         "PRIMARY KEY (message_id=?)",
				"ScanDue":         "qmessage_due",
				"Floor":           "sqlite_autoindex_qmessage_1 (message_id<?)",
				"RejectedFloor":   "qmessage_rejected_id (message_id>? AND message_id<?)",
				"List pending":    "INTEGER PRIMARY KEY (rowid>?)",
				"List rejected":   "qmessage_rejected",
				"Delete":          "sqlite_autoindex_qmessage_1 (message_id=?)",
				"CountCopies":     "INTEGER PRIMARY KEY (rowid=?)",
				"ScanUnanswered":  "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
				"Answered":        "PRIMARY KEY (message_id>?)",
				"DeleteAnswers":   "PRIMARY KEY (message_id=?)",
				"OnceWindow":      "PRIMARY KEY (consumer=? AND message_id>? AND message_id<?)",
				"PruneOnce":       "PRIMARY KEY (consumer=? AND message_id=?)",
			}
			if c.misled {
				// A table of a few rows is read as a whole, but where an index is named.
				maps.DeleteFunc(indexes, func(name, _ string) bool {
					return !slices.Contains([]string{"Scan", "Delete", "CountCopies", "Find", "Find one", "FindBriefly", "ScanNewest", "Floor"}, name)
				})
			}
			dialecttest.EachIndexed(t, sqlite.Dialect(), names, indexes, func(t *testing.T, s store.Statement, index string) {
				few := strings.Contains(t.Name(), "/Find") // what is asked for may be sorted
				if plan := explain(t, db, s); !strings.Contains(plan, index) || !few && strings.Contains(plan, "TEMP B-TREE FOR ORDER BY") {
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
