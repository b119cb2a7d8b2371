package store_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// later is a dialect of a program to come: it has a second migration.
type later struct {
	store.Dialect
	statements []string
}

func (d later) Migrations(n store.Names) []store.Migration {
	return append(d.Dialect.Migrations(n), store.Migration{Side: store.Producer, Version: 2, Statements: d.statements})
}

func (d later) Advice(err error) string {
	if strings.Contains(err.Error(), "no_such_table") {
		return "make that table"
	}
	return ""
}

func open(t *testing.T) *sql.DB {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "test.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestOlderTablesAreSaidToBeAndAreUpgraded(t *testing.T) {
	db := open(t)
	if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Producer); err != nil {
		t.Fatal(err)
	}
	names, err := store.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	broken := later{sqlite.Dialect(), []string{`CREATE TABLE extra (a INTEGER)`, `ALTER TABLE no_such_table ADD COLUMN a INTEGER`}}
	var schemaErr *waybill.SchemaError
	if err := store.CheckSchema(t.Context(), db, broken, names, store.Producer); !errors.As(err, &schemaErr) || schemaErr.Have != 1 || schemaErr.Want != 2 {
		t.Errorf("older tables: %v, want a SchemaError with versions 1 and 2", err)
	}
	err = store.Migrate(t.Context(), db, broken, "", store.Producer)
	if err == nil || !strings.Contains(err.Error(), "version 2") || !strings.Contains(err.Error(), "(make that table)") {
		t.Errorf("a migration that fails: %v, want its version and the dialect's advice", err)
	}
	if err := store.CheckSchema(t.Context(), db, sqlite.Dialect(), names, store.Producer); err != nil {
		t.Errorf("a migration that failed left its traces: %v", err)
	}
	if _, err := db.Exec(`SELECT * FROM extra`); err == nil {
		t.Error("a migration that failed left a table")
	}
	mended := later{sqlite.Dialect(), []string{`CREATE TABLE extra (a INTEGER)`}}
	if err := store.Migrate(t.Context(), db, mended, "", store.Producer); err != nil {
		t.Fatal(err)
	}
	if err := store.CheckSchema(t.Context(), db, mended, names, store.Producer); err != nil {
		t.Error(err)
	}
	if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Producer); !errors.As(err, &schemaErr) || schemaErr.Have != 2 || schemaErr.Want != 1 {
		t.Errorf("an older program on newer tables: %v, want a SchemaError", err)
	}
}

func TestAScriptHasTheStatementsOfItsSideAlone(t *testing.T) {
	for side, want := range map[store.Side][2]string{store.Producer: {"app_qmessage", "app_n1_record"}, store.Consumer: {"app_n1_record", "app_qmessage"}} {
		script, err := store.Script(sqlite.Dialect(), "app_", side)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(script, want[0]) || strings.Contains(script, want[1]) || !strings.Contains(script, "'"+string(side)+"', 1") {
			t.Errorf("the %s's script:\n%s", side, script)
		}
	}
	if _, err := store.Script(sqlite.Dialect(), "no prefix", store.Producer); err == nil {
		t.Error("a wrong prefix was taken")
	}
}
