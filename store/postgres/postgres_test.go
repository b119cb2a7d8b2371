package postgres_test

import (
	"database/sql"
	_ "embed"
	"fmt"
	"maps"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/waybill-go/waybill/internal/address"
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

// What sessions are set to is nothing that the engine depends on.
func TestConformanceOfAnEngineInStrangeSessions(t *testing.T) {
	for _, setting := range []struct {
		name   string
		params map[string]string
	}{
		{"SERIALIZABLE", map[string]string{"default_transaction_isolation": "serializable", "TimeZone": "Pacific/Apia", "bytea_output": "escape"}},
		{"read-only", map[string]string{"default_transaction_read_only": "on", "default_transaction_isolation": "repeatable read"}},
		{"short limits of time", map[string]string{"statement_timeout": "200ms", "lock_timeout": "20ms", "idle_in_transaction_session_timeout": "5s"}},
	} {
		t.Run(setting.name, func(t *testing.T) {
			strange := harness(pgx.QueryExecModeCacheStatement)
			strange.Engine = func(t testing.TB, db *sql.DB) *sql.DB {
				var schema string
				if err := db.QueryRow(`SHOW search_path`).Scan(&schema); err != nil {
					t.Fatal(err)
				}
				return connect(t, pgx.QueryExecModeCacheStatement, schema, setting.params)
			}
			storetest.Test(t, strange)
		})
	}
}

// Behind PgBouncer in transaction mode each transaction may have another session.
func TestConformanceOfAnEngineBehindPgBouncer(t *testing.T) {
	pooled := harness(pgx.QueryExecModeCacheStatement)
	pooled.Open = openDatabase
	pooled.Engine = func(t testing.TB, db *sql.DB) *sql.DB {
		u, err := url.Parse(testserver.Address(t, "WAYBILL_TEST_PGBOUNCER"))
		if err != nil {
			t.Fatal(err)
		}
		if err := db.QueryRow(`SELECT current_database()`).Scan(&u.Path); err != nil {
			t.Fatal(err)
		}
		engine, _, err := address.OpenDatabase(u.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { engine.Close() })
		return engine
	}
	storetest.Test(t, pooled)
}

// A service may have a pool of pgx's and nothing else.
func TestConformanceOverAPool(t *testing.T) {
	pooled := harness(pgx.QueryExecModeCacheStatement)
	pooled.Open = func(t testing.TB) *sql.DB {
		name := schema(t)
		config, err := pgxpool.ParseConfig(testserver.Address(t, "WAYBILL_TEST_POSTGRES"))
		if err != nil {
			t.Fatal(err)
		}
		config.ConnConfig.RuntimeParams["search_path"] = name
		config.MaxConns = 16
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		db := stdlib.OpenDBFromPool(pool)
		t.Cleanup(func() { db.Close() })
		if _, err := db.Exec(`CREATE SCHEMA ` + name); err != nil {
			t.Fatal(err)
		}
		return db
	}
	storetest.Test(t, pooled)
}

// openDatabase makes a database of its own: a pooler lets no address choose a schema.
func openDatabase(t testing.TB) *sql.DB {
	config, err := pgx.ParseConfig(testserver.Address(t, "WAYBILL_TEST_POSTGRES"))
	if err != nil {
		t.Fatal(err)
	}
	admin := stdlib.OpenDB(*config)
	config.Database = dialecttest.DatabaseName()
	if _, err := admin.Exec(`CREATE DATABASE ` + config.Database); err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(16)
	t.Cleanup(func() {
		db.Close()
		if _, err := admin.Exec(`DROP DATABASE ` + config.Database + ` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
		admin.Close()
	})
	return db
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
	name := schema(t)
	db := connect(t, mode, name, nil)
	if _, err := db.Exec(`CREATE SCHEMA ` + name); err != nil {
		t.Fatal(err)
	}
	return db
}

// connect opens a pool whose connections see a schema alone.
func connect(t testing.TB, mode pgx.QueryExecMode, schema string, params map[string]string) *sql.DB {
	config, err := pgx.ParseConfig(testserver.Address(t, "WAYBILL_TEST_POSTGRES"))
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = mode
	maps.Copy(config.RuntimeParams, params)
	config.RuntimeParams["search_path"] = schema
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	t.Cleanup(func() { db.Close() })
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

func BenchmarkPrune(b *testing.B) {
	storetest.BenchmarkPrune(b, harness(pgx.QueryExecModeCacheStatement))
}
