package store_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// nextVersion is the dialect of a program to come: it has a second migration.
type nextVersion struct {
	store.Dialect
	statements                []string
	compatibleFrom, worksWith int
}

func (d nextVersion) Migrations(n store.Names) []store.Migration {
	return append(d.Dialect.Migrations(n), store.Migration{
		Side: store.Producer, Version: 3, CompatibleFrom: d.compatibleFrom, WorksWith: d.worksWith, Statements: slices.Clone(d.statements),
	})
}

func (d nextVersion) Advice(err error) string {
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

// migrated opens a database with the producer's tables of this program's version.
func migrated(t *testing.T) (*sql.DB, store.Names) {
	t.Helper()
	db := open(t)
	if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Producer); err != nil {
		t.Fatal(err)
	}
	names, err := store.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	return db, names
}

// wantVersions wants a SchemaError with the versions found and needed.
func wantVersions(t *testing.T, err error, have, want int) {
	t.Helper()
	var schemaErr *waybill.SchemaError
	if !errors.As(err, &schemaErr) || schemaErr.Have != have || schemaErr.Want != want {
		t.Errorf("got error %v, want a SchemaError with the versions %d and %d", err, have, want)
	}
}

func TestOlderTablesAreUpgraded(t *testing.T) {
	db, names := migrated(t)
	next := nextVersion{Dialect: sqlite.Dialect(), statements: []string{`CREATE TABLE extra (a INTEGER)`}}
	wantVersions(t, store.CheckSchema(t.Context(), db, next, names, store.Producer), 2, 3)
	if err := store.Migrate(t.Context(), db, next, "", store.Producer); err != nil {
		t.Fatal(err)
	}
	if err := store.CheckSchema(t.Context(), db, next, names, store.Producer); err != nil {
		t.Errorf("got error %v of upgraded tables, want none", err)
	}
}

func TestNewerTablesAreLeftToNewerPrograms(t *testing.T) {
	db, names := migrated(t)
	next := nextVersion{Dialect: sqlite.Dialect(), statements: []string{`CREATE TABLE extra (a INTEGER)`}}
	if err := store.Migrate(t.Context(), db, next, "", store.Producer); err != nil {
		t.Fatal(err)
	}
	wantVersions(t, store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Producer), 3, 2)
	wantVersions(t, store.CheckSchema(t.Context(), db, sqlite.Dialect(), names, store.Producer), 3, 2)
}

func TestProgramsMeetTablesOneVersionOlderOrNewerWhereTheseAreCompatible(t *testing.T) {
	db, names := migrated(t)
	next := nextVersion{Dialect: sqlite.Dialect(), statements: []string{`CREATE TABLE extra (a INTEGER)`}, compatibleFrom: 2, worksWith: 2}
	check := func(what string, d store.Dialect, older bool) {
		t.Helper()
		queue, err := store.NewQueue(db, d, "")
		if err == nil {
			err = queue.CheckSchema(t.Context())
		}
		if err != nil || queue.Older() != older {
			t.Errorf("%s: got error %v and older tables: %v, want none and %v", what, err, queue.Older(), older)
		}
		if err := store.CheckSchema(t.Context(), db, d, names, store.Producer); err != nil {
			t.Errorf("%s: got error %v", what, err)
		}
	}
	check("a new program and old tables", next, true)
	if err := store.EnsureTables(t.Context(), db, next, "", store.Producer); err != nil {
		t.Fatal(err)
	}
	check("a new program and tables that it has upgraded when it started", next, false)
	check("an old program and new tables", sqlite.Dialect(), false)
	for _, migrate := range []func() error{
		func() error { return store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Producer) },
		func() error { return store.EnsureTables(t.Context(), db, sqlite.Dialect(), "", store.Producer) },
	} {
		if err := migrate(); err != nil {
			t.Errorf("got error %v where an old program finds new tables when it starts, want none", err)
		}
	}
	v, err := store.ReadVersion(t.Context(), db, next, names, store.Producer)
	if want := (store.Version{Have: 3, CompatibleFrom: 2, Newest: 3, Serves: true}); err != nil || v != want {
		t.Errorf("got %+v and error %v, want %+v", v, err, want)
	}
}

func TestAMigrationThatFailsSaysWhatToDoAndLeavesNothing(t *testing.T) {
	db, names := migrated(t)
	broken := nextVersion{Dialect: sqlite.Dialect(), statements: []string{`CREATE TABLE extra (a INTEGER)`, `ALTER TABLE no_such_table ADD COLUMN a INTEGER`}}
	err := store.Migrate(t.Context(), db, broken, "", store.Producer)
	if err == nil || !strings.Contains(err.Error(), "version 3") || !strings.Contains(err.Error(), "(make that table)") {
		t.Errorf("got error %v, want the version and the dialect's advice", err)
	}
	if err := store.CheckSchema(t.Context(), db, sqlite.Dialect(), names, store.Producer); err != nil {
		t.Errorf("got error %v of the tables as they were, want none", err)
	}
	if _, err := db.Exec(`SELECT * FROM extra`); err == nil {
		t.Error("got a table of the migration that failed, want none")
	}
}

func TestAScriptHasTheStatementsOfItsSideAlone(t *testing.T) {
	for _, c := range []struct {
		side           store.Side
		table, another string
	}{
		{store.Producer, "app_qmessage", "app_n1_record"},
		{store.Consumer, "app_n1_record", "app_qmessage"},
	} {
		t.Run(string(c.side), func(t *testing.T) {
			script, err := store.Script(sqlite.Dialect(), "app_", store.ScriptOptions{Sides: []store.Side{c.side}})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{c.table, "'" + string(c.side) + "', 2"} {
				if !strings.Contains(script, want) {
					t.Errorf("got a script without %q:\n%s", want, script)
				}
			}
			if strings.Contains(script, c.another) {
				t.Errorf("got a script with %q, the other side's:\n%s", c.another, script)
			}
		})
	}
}

func TestAScriptNeedsAValidPrefix(t *testing.T) {
	if _, err := store.Script(sqlite.Dialect(), "no prefix", store.ScriptOptions{Sides: []store.Side{store.Producer}}); err == nil {
		t.Error("got no error, want one that says what would do")
	}
}
