package postgres_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/postgres"
)

// What reads pages of the queue has to walk an index whatever the statistics say:
// those of a queue are always old.
func TestPagesAreReadByAnIndexWhateverTheStatisticsSay(t *testing.T) {
	for _, c := range []struct{ name, before, after string }{
		{"never analyzed", ``, ``},
		{"analyzed while empty", `ANALYZE qmessage`, ``},
		{"analyzed while all rows were rejected", fill(300, "o", 2) + `; ANALYZE qmessage`, ``},
		{"analyzed while all rows were another destination's", fill(300, "p", 0) + `; ANALYZE qmessage`, ``},
		{"vacuumed while a hundredth was left", fill(30000, "p", 0) + `; DELETE FROM qmessage WHERE id % 100 > 0`, `VACUUM qmessage`},
		{"vacuumed while a thousandth was left", fill(30000, "p", 0) + `; DELETE FROM qmessage WHERE id % 1000 > 0`, `VACUUM ANALYZE qmessage`},
		{"vacuumed while the newest were left", fill(30000, "p", 0) + `; DELETE FROM qmessage WHERE id < 29900`, `VACUUM ANALYZE qmessage`},
		{"up to date", ``, `ANALYZE qmessage`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := open(t, pgx.QueryExecModeSimpleProtocol)
			db.SetMaxOpenConns(1)
			if err := store.Migrate(t.Context(), db, postgres.Dialect(), "", store.Producer); err != nil {
				t.Fatal(err)
			}
			run := func(text string) {
				t.Helper()
				if text == "" {
					return
				}
				if _, err := db.ExecContext(t.Context(), text); err != nil {
					t.Fatal(err)
				}
			}
			run(`ALTER TABLE qmessage SET (autovacuum_enabled = false)`)
			run(c.before)
			if strings.Contains(c.after, "VACUUM") {
				run(c.after)
			}
			run(fill(30000, "o", 0))
			if c.after == "ANALYZE qmessage" {
				run(c.after)
			}
			names, err := store.NewNames("")
			if err != nil {
				t.Fatal(err)
			}
			d := postgres.Dialect()
			const top = 1 << 40
			for _, p := range []struct {
				name, index string
				statement   store.Statement
			}{
				{"Scan", "qmessage_pkey", d.Scan(names, 0, 500)},
				{"ScanDestination", "qmessage_pkey", d.ScanDestination(names, "o", false, 0, top, 500)},
				{"Sweep", "qmessage_pkey", d.Sweep(names, 0, top, 500)},
				{"Floor", "qmessage_message_id", d.Floor(names, waybill.NewID())},
				{"List", "qmessage_pkey", d.List(names, "", store.Pending, 0, 50)},
				{"ScanDue", "qmessage_due", d.ScanDue(names, 0, 0, 500)},
				{"Delete", "qmessage_message_id", d.Delete(names, make([]waybill.ID, 500))},
			} {
				for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
					if plan := explain(t, db, mode, p.statement); !strings.Contains(plan, p.index) || strings.Contains(plan, "Seq Scan") ||
						p.name != "ScanDue" && strings.Contains(plan, "Sort") {
						t.Errorf("%s, %s:\n%s", p.name, mode, plan)
					}
				}
			}
		})
	}
}

// fill inserts n rows.
func fill(n int, destination string, status int) string {
	return fmt.Sprintf(`INSERT INTO qmessage (destination, message_content, status)
		SELECT '%s', decode(repeat('00', 256), 'hex'), %d FROM generate_series(1, %d)`, destination, status, n)
}

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
