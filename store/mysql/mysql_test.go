package mysql_test

import (
	"database/sql"
	_ "embed"
	"fmt"
	"net/url"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/mysql"
	"github.com/waybill-go/waybill/store/storetest"
)

//go:embed testdata/version1.sql
var version1 string

func TestConformance(t *testing.T) {
	for _, setting := range []struct {
		name string
		set  func(*mysqldriver.Config)
	}{
		{"driver's defaults", func(*mysqldriver.Config) {}},
		{"other settings", func(c *mysqldriver.Config) {
			c.ClientFoundRows, c.InterpolateParams, c.ParseTime, c.MultiStatements = true, true, true, true
			c.Collation = "utf8mb4_unicode_ci"
			c.Params = map[string]string{
				"sql_mode":  "'ANSI,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE,ONLY_FULL_GROUP_BY,TRADITIONAL'",
				"time_zone": "'-11:00'",
			}
		}},
		{"a lax sql_mode", func(c *mysqldriver.Config) {
			c.InterpolateParams = true
			c.Params = map[string]string{"sql_mode": "''", "time_zone": "'+13:00'"}
		}},
	} {
		t.Run(setting.name, func(t *testing.T) {
			storetest.Test(t, harness(setting.set))
		})
	}
}

// What sessions are set to is nothing that the engine depends on.
func TestConformanceOfAnEngineInStrangeSessions(t *testing.T) {
	for _, setting := range []struct {
		name   string
		params map[string]string
	}{
		{"READ UNCOMMITTED without autocommit", map[string]string{
			"autocommit": "0", "tx_isolation": "'READ-UNCOMMITTED'", "innodb_lock_wait_timeout": "1", "sql_safe_updates": "1",
			"sql_mode": "'STRICT_ALL_TABLES,PAD_CHAR_TO_FULL_LENGTH,EMPTY_STRING_IS_NULL'",
		}},
		{"SERIALIZABLE and read-only", map[string]string{
			"tx_isolation": "'SERIALIZABLE'", "tx_read_only": "1", "sql_mode": "'ORACLE'", "max_statement_time": "0.2", "sql_select_limit": "1",
		}},
	} {
		t.Run(setting.name, func(t *testing.T) {
			strange := harness(interpolated)
			strange.Engine = func(t testing.TB, db *sql.DB) *sql.DB {
				config := server(t)
				config.InterpolateParams, config.Params = true, setting.params
				if err := db.QueryRow(`SELECT DATABASE()`).Scan(&config.DBName); err != nil {
					t.Fatal(err)
				}
				return connect(t, config)
			}
			storetest.Test(t, strange)
		})
	}
}

func TestProperties(t *testing.T) { storetest.Properties(t, harness(interpolated)) }

func BenchmarkStore(b *testing.B) { storetest.Benchmark(b, harness(interpolated)) }

func BenchmarkPrune(b *testing.B) { storetest.BenchmarkPrune(b, harness(interpolated)) }

// interpolated is how the command opens a database.
func interpolated(c *mysqldriver.Config) { c.InterpolateParams = true }

func harness(set func(*mysqldriver.Config)) storetest.Harness {
	return storetest.Harness{
		Version1: version1,
		Dialect:  mysql.Dialect(),
		Open:     func(t testing.TB) *sql.DB { return open(t, set) },
		Sever:    sever,
		Schema:   schema,
	}
}

func server(t testing.TB) *mysqldriver.Config {
	u, err := url.Parse(testserver.Address(t, "WAYBILL_TEST_MYSQL"))
	if err != nil {
		t.Fatal(err)
	}
	config := mysqldriver.NewConfig()
	config.Net, config.Addr, config.User = "tcp", u.Host, u.User.Username()
	config.Passwd, _ = u.User.Password()
	return config
}

func connect(t testing.TB, config *mysqldriver.Config) *sql.DB {
	connector, err := mysqldriver.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	t.Cleanup(func() { db.Close() })
	return db
}

// open makes a database of its own.
func open(t testing.TB, set func(*mysqldriver.Config)) *sql.DB {
	admin := connect(t, server(t))
	config := server(t)
	config.DBName = dialecttest.DatabaseName()
	set(config)
	if _, err := admin.Exec(`CREATE DATABASE ` + config.DBName); err != nil {
		t.Fatal(err)
	}
	drop(t, admin, config.DBName)
	return connect(t, config)
}

func drop(t testing.TB, admin *sql.DB, name string) {
	t.Cleanup(func() {
		if _, err := admin.Exec(`DROP DATABASE IF EXISTS ` + name); err != nil {
			t.Error(err)
		}
	})
}

func schema(t *testing.T) string {
	name := dialecttest.DatabaseName()
	drop(t, connect(t, server(t)), name)
	return name
}

func sever(t *testing.T, db *sql.DB, session storetest.Session) {
	var id int64
	if err := session.QueryRowContext(t.Context(), `SELECT CONNECTION_ID()`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), fmt.Sprintf(`KILL %d`, id)); err != nil {
		t.Fatal(err)
	}
	// The session is marked at once and ends a little later.
	for n := 1; n > 0; {
		if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM information_schema.processlist WHERE id = ?`, id).Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
}
