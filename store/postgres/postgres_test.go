package postgres_test

import (
	"database/sql"
	_ "embed"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/postgres"
	"github.com/waybill-go/waybill/store/storetest"
)

//go:embed testdata/version1.sql
var version1 string

func TestConformance(t *testing.T) {
	// A pooler in front of the server asks for modes without prepared statements.
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		t.Run(mode.String(), func(t *testing.T) {
			storetest.Test(t, harness(mode))
		})
	}
}

func TestProperties(t *testing.T) { storetest.Properties(t, harness(pgx.QueryExecModeCacheStatement)) }

func BenchmarkStore(b *testing.B) {
	storetest.Benchmark(b, harness(pgx.QueryExecModeCacheStatement))
}

func harness(mode pgx.QueryExecMode) storetest.Harness {
	return storetest.Harness{
		Version1:    version1,
		Dialect:     postgres.Dialect(),
		Open:        func(t testing.TB) *sql.DB { return open(t, mode) },
		Placeholder: func(n int) string { return fmt.Sprint("$", n) },
		Sever:       sever,
		Schema:      func(t *testing.T) string { return schema(t) },
	}
}

// open makes a schema of its own and a pool whose connections see nothing else. (To
// make and drop a database takes a checkpoint each.)
func open(t testing.TB, mode pgx.QueryExecMode) *sql.DB {
	config, err := pgx.ParseConfig(testserver.Address(t, "WAYBILL_TEST_POSTGRES"))
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = mode
	name := schema(t)
	config.RuntimeParams["search_path"] = name
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	t.Cleanup(func() { db.Close() })
	if _, err := db.Exec(`CREATE SCHEMA ` + name); err != nil {
		t.Fatal(err)
	}
	return db
}

// schema names a schema that is dropped when the test ends.
func schema(t testing.TB) string {
	config, err := pgx.ParseConfig(testserver.Address(t, "WAYBILL_TEST_POSTGRES"))
	if err != nil {
		t.Fatal(err)
	}
	name := dialecttest.DatabaseName()
	t.Cleanup(func() {
		admin := stdlib.OpenDB(*config)
		defer admin.Close()
		if _, err := admin.Exec(`DROP SCHEMA IF EXISTS ` + name + ` CASCADE`); err != nil {
			t.Error(err)
		}
	})
	return name
}

func sever(t *testing.T, db *sql.DB, session storetest.Session) {
	var pid int
	if err := session.QueryRowContext(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	// It waits until the session is gone.
	if _, err := db.ExecContext(t.Context(), `SELECT pg_terminate_backend($1, 10000)`, pid); err != nil {
		t.Fatal(err)
	}
}
