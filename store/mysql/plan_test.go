package mysql_test

import (
	"database/sql"
	"strings"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/mysql"
)

func TestPagesAreReadByAnIndex(t *testing.T) {
	db := open(t, func(c *mysqldriver.Config) { c.InterpolateParams = true })
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if err := store.Migrate(t.Context(), db, mysql.Dialect(), "", side); err != nil {
			t.Fatal(err)
		}
	}
	names, err := store.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	d := mysql.Dialect()
	for _, rows := range []int{0, 3, 3000} {
		if rows > 0 {
			many := strings.TrimSuffix(strings.Repeat("('o', 'x'),", rows), ",")
			if _, err := db.ExecContext(t.Context(), `INSERT INTO qmessage (destination, message_content) VALUES `+many); err != nil {
				t.Fatal(err)
			}
		}
		for name, c := range map[string]struct {
			statement  store.Statement
			table, key string
		}{
			"Scan":            {d.Scan(names, 0, 500), "qmessage", "PRIMARY"},
			"ScanDestination": {d.ScanDestination(names, "o", false, 0, 1<<40, 500), "qmessage", "PRIMARY"},
			"Sweep":           {d.Sweep(names, 0, 1<<40, 500), "qmessage", "PRIMARY"},
			"ScanDue":         {d.ScanDue(names, 0, 0, 500), "qmessage", "qmessage_due"},
			"Floor":           {d.Floor(names, waybill.NewID()), "qmessage", "qmessage_message_id"},
			"List":            {d.List(names, "", store.Pending, 0, 50), "qmessage", "PRIMARY"},
			"Delete":          {d.Delete(names, make([]waybill.ID, 500)), "q", "qmessage_message_id"},
			"CountCopies":     {d.CountCopies(names, make([]int64, 500)), "q", "PRIMARY"},
			"PruneOnce":       {d.PruneOnce(names, "c", make([]waybill.ID, 500)), "r", "PRIMARY"},
		} {
			if plan := explain(t, db, c.statement); plan[c.table] != c.key {
				t.Errorf("%s with %d rows: plan %v, want table %s by %s", name, rows, plan, c.table, c.key)
			}
		}
	}
}

// explain returns the index by which each table is read.
func explain(t *testing.T, db *sql.DB, s store.Statement) map[string]string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `EXPLAIN `+s.SQL, s.Args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	plan := map[string]string{}
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		var table, key string
		for i, name := range columns {
			switch name {
			case "table":
				table = values[i].String
			case "key":
				key = values[i].String
			case "Extra":
				if strings.Contains(values[i].String, "filesort") {
					key = "filesort"
				}
			}
		}
		plan[table] = key
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan
}
