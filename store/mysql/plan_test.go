package mysql_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/mysql"
)

func TestPagesAreReadByAnIndex(t *testing.T) {
	db := open(t, interpolated)
	names := dialecttest.Migrate(t, db, mysql.Dialect(), "")
	for _, text := range []string{`ALTER TABLE qmessage STATS_AUTO_RECALC = 0`, `ANALYZE TABLE qmessage, qconfirmed`} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	// The statistics are those of an empty table, until they are made again in the end.
	for _, rows := range []int{0, 3, 3000, -1} {
		t.Run(fmt.Sprint(rows, " rows more"), func(t *testing.T) {
			if rows < 0 {
				if _, err := db.ExecContext(t.Context(), `ANALYZE TABLE qmessage`); err != nil {
					t.Fatal(err)
				}
			}
			if rows > 0 {
				many := strings.TrimSuffix(strings.Repeat("('o', 'x'),", rows), ",")
				if _, err := db.ExecContext(t.Context(), `INSERT INTO qmessage (destination, message_content) VALUES `+many); err != nil {
					t.Fatal(err)
				}
			}
			dialecttest.EachIndexed(t, mysql.Dialect(), names, map[string]string{
				"Scan":            "qmessage by PRIMARY",
				"ScanDestination": "qmessage by PRIMARY",
				"Sweep":           "qmessage by PRIMARY",
				"ScanNewest":      "qmessage by qmessage_message_id",
				"ScanPast":        "qmessage by PRIMARY",
				"Rows":            "qmessage by PRIMARY",
				"Find":            "qmessage by qmessage_message_id, sorted",
				"FindBriefly":     "qmessage by qmessage_message_id, sorted",
				"Answers":         "qconfirmed by PRIMARY",
				"UnlockedAnswers": "c by PRIMARY",
				"ScanDue":         "qmessage by qmessage_due",
				"Floor":           "qmessage by qmessage_due",
				"RejectedFloor":   "qmessage by qmessage_due",
				"Rejections":      "qmessage by qmessage_due",
				"List pending":    "qmessage by PRIMARY",
				"List rejected":   "qmessage by PRIMARY",
				"Delete":          "q by qmessage_message_id",
				"CountCopies":     "q by PRIMARY",
				"ScanUnanswered":  "q by PRIMARY",
				"Answered":        "qconfirmed by PRIMARY",
				"DeleteAnswers":   "c by PRIMARY",
				"OnceWindow":      "r by PRIMARY",
				"PruneOnce":       "r by PRIMARY",
				"DueKept":         "n_rejected by n_rejected_waiting",
				"CountWaiting":    "n_rejected by n_rejected_waiting",
				"LowestWaiting":   "n_rejected by n_rejected_waiting",
				"ListKept":        "n_rejected by PRIMARY",
				"Glance oldest":   "qmessage by PRIMARY",
				"Glance newest":   "qmessage by PRIMARY",
				"GlanceRejected":  "qmessage by qmessage_due",
				"GlanceKept":      "n_rejected by PRIMARY",
				"Tally oldest":    "qmessage by PRIMARY",
				"Tally newest":    "qmessage by PRIMARY",
				"Tally rejected":  "qmessage by qmessage_due",
				"TallyKept":       "n_rejected by PRIMARY",
			}, func(t *testing.T, s store.Statement, index string) {
				if plan := explain(t, db, s); !strings.Contains(plan, index+"\n") {
					t.Errorf("got the plan\n%swant %s", plan, index)
				}
			})
		})
	}
}

// explain returns the index by which each table is read, a line each.
func explain(t *testing.T, db *sql.DB, s store.Statement) string {
	t.Helper()
	text := s.SQL
	if _, rest, ok := strings.Cut(text, " FOR */"); ok {
		text = rest // EXPLAIN takes no limit of time
	}
	rows, err := db.QueryContext(t.Context(), `EXPLAIN `+text, s.Args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var plan strings.Builder
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		step := map[string]string{}
		for i, name := range columns {
			step[name] = values[i].String
		}
		sorted := ""
		if strings.Contains(step["Extra"], "filesort") {
			sorted = ", sorted"
		}
		fmt.Fprintf(&plan, "%s by %s%s\n", step["table"], step["key"], sorted)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
