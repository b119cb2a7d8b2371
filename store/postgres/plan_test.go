package postgres_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/postgres"
)

// What reads pages of the queue has to walk an index whatever the statistics say:
// those of a queue are always old.
func TestPagesAreReadByAnIndexWhateverTheStatisticsSay(t *testing.T) {
	const analyze = `ANALYZE qmessage`
	full := fill(30000, "o", 0)
	for _, c := range []struct {
		name       string
		statements []string
	}{
		{"never analyzed", []string{full}},
		{"analyzed while empty", []string{analyze, full}},
		{"analyzed while all rows were rejected", []string{fill(300, "o", 2), analyze, full}},
		{"analyzed while all rows were another destination's", []string{fill(300, "p", 0), analyze, full}},
		{"vacuumed while a hundredth was left", []string{fill(30000, "p", 0), `DELETE FROM qmessage WHERE id % 100 > 0`, `VACUUM qmessage`, full}},
		{"vacuumed while a thousandth was left", []string{fill(30000, "p", 0), `DELETE FROM qmessage WHERE id % 1000 > 0`, `VACUUM ANALYZE qmessage`, full}},
		{"vacuumed while the newest were left", []string{fill(30000, "p", 0), `DELETE FROM qmessage WHERE id < 29900`, `VACUUM ANALYZE qmessage`, full}},
		{"up to date", []string{full, analyze}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := open(t, pgx.QueryExecModeSimpleProtocol)
			db.SetMaxOpenConns(1) // explain's settings belong to the connection
			names := dialecttest.Migrate(t, db, postgres.Dialect(), "")
			for _, text := range append([]string{
				`ALTER TABLE qmessage SET (autovacuum_enabled = false)`,
				`ALTER TABLE qconfirmed SET (autovacuum_enabled = false)`,
				`INSERT INTO qconfirmed SELECT gen_random_uuid(), 'shop', 0, NULL, 1 FROM generate_series(1, 30000)`,
				`ALTER TABLE n_rejected SET (autovacuum_enabled = false)`,
				fillKept,
			}, c.statements...) {
				if _, err := db.ExecContext(t.Context(), text); err != nil {
					t.Fatal(err)
				}
			}
			dialecttest.EachIndexed(t, postgres.Dialect(), names, map[string]string{
				"Scan":            "qmessage_pkey",
				"ScanDestination": "qmessage_pkey",
				"ScanDue":         "qmessage_due",
				"ScanNewest":      "qmessage_message_id",
				"ScanPast":        "qmessage_pkey",
				"Rows":            "qmessage_pkey",
				"Find":            "qmessage_message_id",
				"Find one":        "qmessage_message_id",
				"FindBriefly":     "qmessage_message_id",
				"Answers":         "qconfirmed_pkey",
				"UnlockedAnswers": "qconfirmed_pkey",
				"Sweep":           "qmessage_pkey",
				"Floor":           "qmessage_pending",
				"RejectedFloor":   "qmessage_rejected_id",
				"Rejections":      "qmessage_rejected",
				"List pending":    "qmessage_pkey",
				"List rejected":   "qmessage_rejected",
				"Delete":          "qmessage_message_id",
				"CountCopies":     "qmessage_pkey",
				"ScanUnanswered":  "qmessage_pkey",
				"Answered":        "qconfirmed_pkey",
				"DeleteAnswers":   "qconfirmed_pkey",
				"OnceWindow":      "n1_record_pkey",
				"PruneOnce":       "n1_record_pkey",
				"DueKept":         "n_rejected_waiting",
				"CountWaiting":    "n_rejected_waiting",
				"LowestWaiting":   "n_rejected_waiting",
				"KeptRow":         "n_rejected_",
				"ListKept":        "n_rejected_pkey",
				"FindKept":        "n_rejected_message_id",
				"Glance oldest":   "qmessage_pkey",
				"Glance newest":   "qmessage_pkey",
				"GlanceRejected":  "qmessage_rejected_id",
				"GlanceKept":      "n_rejected_pkey",
				"Tally oldest":    "qmessage_pkey",
				"Tally newest":    "qmessage_pkey",
				"Tally rejected":  "qmessage_rejected",
				"TallyKept":       "n_rejected_pkey",
			}, func(t *testing.T, s store.Statement, index string) {
				// The few rows that are due, rejected or asked for may be sorted.
				few := index == "qmessage_due" || strings.Contains(t.Name(), "Tally") || index == "qmessage_rejected" || strings.Contains(t.Name(), "Find") || strings.Contains(t.Name(), "Rows")
				for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
					plan := explain(t, db, mode, s)
					if !strings.Contains(plan, index) || strings.Contains(plan, "Seq Scan") || !few && strings.Contains(plan, "Sort") {
						t.Errorf("%s: got the plan\n%swant it by %s", mode, plan, index)
					}
				}
			})
		})
	}
}

// fill inserts n rows.
func fill(n int, destination string, status int) string {
	return fmt.Sprintf(`INSERT INTO qmessage (destination, message_content, status)
		SELECT '%s', decode(repeat('00', 256), 'hex'), %d FROM generate_series(1, %d)`, destination, status, n)
}

// fillKept keeps messages, of which one in a hundred is to be handled again.
const fillKept = `INSERT INTO n_rejected (consumer, message_id, dest_name, dest_type, business_mark, delivery, headers,
		message_content, status, tries, failures, not_before, kept_at, tried_at, reason)
	SELECT 'c', gen_random_uuid(), 'o', 0, '', i::text, '{}', '', CASE WHEN i % 100 = 0 THEN 0 ELSE 2 END, 1, 0, 0, 1, 1, ''
	FROM generate_series(1, 30000) i`

// explain returns the plan of a statement with its arguments as PREPARE sees them.
func explain(t *testing.T, db *sql.DB, mode string, s store.Statement) string {
	t.Helper()
	text := `EXPLAIN (COSTS OFF) EXECUTE planned`
	var args []string
	for _, a := range s.Args {
		if _, ok := a.(string); ok {
			a = fmt.Sprintf("'%s'", a)
		}
		args = append(args, fmt.Sprint(a))
	}
	if len(args) > 0 {
		text += "(" + strings.Join(args, ", ") + ")"
	}
	for _, text := range []string{`SET plan_cache_mode = ` + mode, `PREPARE planned AS ` + s.SQL} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		if _, err := db.Exec(`DEALLOCATE planned`); err != nil {
			t.Error(err)
		}
	}()
	rows, err := db.QueryContext(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(line + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
