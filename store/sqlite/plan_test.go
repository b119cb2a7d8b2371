package sqlite_test

import (
	"database/sql"
	"fmt"
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
	// few fills each table with as many rows. With statistics of a single row or two SQLite reads
	// the table as a whole whatever a statement says (docs/operate/databases.md).
	few := func(rows int) (statements []string) {
		for i := range rows {
			statements = append(statements, fmt.Sprintf(`
				INSERT INTO qmessage (destination, business_mark, message_content, status) VALUES ('p', 'k%[1]d', 'x', %[1]d %% 2 * 2);
				INSERT INTO qconfirmed (message_id, consumer, outcome, time_stamp) SELECT message_id, 'c', 0, 1 FROM qmessage WHERE business_mark = 'k%[1]d';
				INSERT INTO n1_record (consumer, message_id, time_stamp, producer) SELECT 'c', message_id, 1, 'p' FROM qmessage WHERE business_mark = 'k%[1]d';
				INSERT INTO n2_record (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer)
					SELECT 'c', 'p', 0, 'k%[1]d', 1, message_id, 'p' FROM qmessage WHERE business_mark = 'k%[1]d';
				INSERT INTO n_horizon (consumer, producer) VALUES ('c', 'p%[1]d')`, i))
		}
		return append(statements, analyze)
	}
	for _, c := range []struct {
		name       string
		statements []string
	}{
		{"never analyzed", []string{fill}},
		{"analyzed while empty", []string{analyze, fill}},
		{"analyzed while there were three rows", append(few(3), fill)},
		{"analyzed while there were a few rows", append(few(9), fill)},
		{"up to date", []string{fill, analyze}},
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
				"Rejections":      "qmessage_rejected",
				"List pending":    "INTEGER PRIMARY KEY (rowid>?)",
				"List rejected":   "qmessage_rejected",
				"Delete":          "sqlite_autoindex_qmessage_1 (message_id=?)",
				"CountCopies":     "INTEGER PRIMARY KEY (rowid=?)",
				"ScanUnanswered":  "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
				"Answered":        "PRIMARY KEY (message_id>?)",
				"DeleteAnswers":   "PRIMARY KEY (message_id=?)",
				"OnceWindow":      "PRIMARY KEY (consumer=? AND message_id>? AND message_id<?)",
				"PruneOnce":       "PRIMARY KEY (consumer=? AND message_id=?)",

				"Present":          "sqlite_autoindex_qmessage_1 (message_id=?)",
				"UnlockedAnswers":  "PRIMARY KEY (message_id=?)",
				"UnlockedRows":     "INTEGER PRIMARY KEY (rowid=?)",
				"Reject":           "sqlite_autoindex_qmessage_1 (message_id=?)",
				"Postpone":         "sqlite_autoindex_qmessage_1 (message_id=?)",
				"Resend":           "sqlite_autoindex_qmessage_1 (message_id=?)",
				"Discard":          "sqlite_autoindex_qmessage_1 (message_id=?)",
				"DeleteRejections": "PRIMARY KEY (message_id=?)",
				"KeyPage":          "PRIMARY KEY ((destination,dest_type,business_mark)>(?,?,?))",
				"ForgetKeys":       "PRIMARY KEY (destination=? AND dest_type=? AND business_mark=?)",
				"LatestIDs":        "PRIMARY KEY (consumer=? AND dest_name=? AND dest_type=? AND business_mark=?)",
				"Horizons":         "PRIMARY KEY (consumer=? AND producer=?)",
				"StatePage":        "PRIMARY KEY (consumer=? AND (dest_name,dest_type,business_mark)>(?,?,?))",
				"ForgetStates":     "PRIMARY KEY (consumer=? AND dest_name=? AND dest_type=? AND business_mark=?)",
				"ForgottenStates":  "PRIMARY KEY (consumer=? AND dest_name=?)",
				"DueKept":          "n_rejected_waiting (consumer=? AND id>?)",
				"CountWaiting":     "n_rejected_waiting (consumer=?)",
				"LowestWaiting":    "n_rejected_waiting (consumer=?)",
				"KeptRow":          "INTEGER PRIMARY KEY (rowid=?)",
				"ListKept":         "INTEGER PRIMARY KEY (rowid>?)",
				"FindKept":         "n_rejected_message_id (message_id=?)",
				"Glance oldest":    "INTEGER PRIMARY KEY (rowid>?)",
				"Glance newest":    "INTEGER PRIMARY KEY (rowid<?)",
				"GlanceRejected":   "qmessage_rejected_id (message_id>?)",
				"GlanceKept":       "INTEGER PRIMARY KEY (rowid>?)",
				"ResendSeen":       "sqlite_autoindex_qmessage_1 (message_id=?)",
				"DiscardSeen":      "sqlite_autoindex_qmessage_1 (message_id=?)",
				"Tally oldest":     "INTEGER PRIMARY KEY (rowid>?",
				"Tally newest":     "INTEGER PRIMARY KEY (rowid>?",
				"Tally rejected":   "qmessage_rejected",
				"TallyRecords":     "PRIMARY KEY (consumer=?)",
				"NextConsumer":     "SEARCH n1_record USING PRIMARY KEY (consumer>?)",
				"TallyKept of one": "(consumer=?)",
			}
			dialecttest.EachIndexed(t, sqlite.Dialect(), names, indexes, func(t *testing.T, s store.Statement, index string) {
				asked := strings.Contains(t.Name(), "/Find") || strings.Contains(t.Name(), "/Rows") // these may be sorted
				if plan := explain(t, db, s); !strings.Contains(plan, index) || !asked && strings.Contains(plan, "TEMP B-TREE FOR ORDER BY") {
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
