package upgrade

import (
	"database/sql"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// kind is a kind of database that a fleet has.
type kind struct {
	name, driver string
	identity     string                    // the type of a column that counts
	source       func(t *testing.T) string // of a fresh database
}

var kinds = []kind{
	{"sqlite", "sqlite", "integer PRIMARY KEY AUTOINCREMENT", func(t *testing.T) string {
		// Without a sync: it would be for a machine that dies, and here processes do.
		return "file:" + filepath.Join(t.TempDir(), "fleet.db") + "?_txlock=immediate&_pragma=busy_timeout(60000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)"
	}},
	{"postgres", "pgx", "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", func(t *testing.T) string {
		at := parse(t, testserver.Address(t, "WAYBILL_TEST_POSTGRES"))
		at.Path = "/" + create(t, "pgx", at.String(), " WITH (FORCE)")
		return at.String()
	}},
	{"mysql", "mysql", "bigint AUTO_INCREMENT PRIMARY KEY", func(t *testing.T) string {
		at := parse(t, testserver.Address(t, "WAYBILL_TEST_MYSQL"))
		c := mysqldriver.NewConfig()
		c.Net, c.Addr, c.User = "tcp", at.Host, at.User.Username()
		if at.Port() == "" {
			c.Addr = net.JoinHostPort(at.Host, "3306")
		}
		c.Passwd, _ = at.User.Password()
		c.DBName = strings.TrimPrefix(at.Path, "/")
		c.DBName = create(t, "mysql", c.FormatDSN(), "")
		return c.FormatDSN()
	}},
}

func parse(t *testing.T, at string) *url.URL {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// create makes a database of its own on a server, and drops it in the end.
func create(t *testing.T, driver, source, force string) (name string) {
	t.Helper()
	admin, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	name = "upgrade_" + strings.ReplaceAll(waybill.NewID().String(), "-", "")
	if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec("DROP DATABASE " + name + force); err != nil {
			t.Error(err)
		}
		admin.Close()
	})
	return name
}

// makeTables makes the services' own tables.
func (f *fleet) makeTables() {
	f.t.Helper()
	columns := `(id ` + f.kind.identity + `, consumer varchar(20), destination varchar(20), business_key varchar(20),
		version bigint, sequence bigint, time_stamp bigint, body varchar(40))`
	statements := []string{
		`CREATE TABLE effects ` + columns, `CREATE TABLE made ` + columns,
		`CREATE TABLE states (business_key varchar(20) PRIMARY KEY, version bigint)`,
	}
	for _, name := range []string{"order", "price"} {
		for _, n := range []string{"0", "1", "2"} {
			statements = append(statements, `INSERT INTO states VALUES ('`+name+` `+n+`', 0)`)
		}
	}
	for _, text := range statements {
		if _, err := f.db.Exec(text); err != nil {
			f.t.Fatal(err)
		}
	}
}

// count reads one number.
func (f *fleet) count(query string) (n int) {
	f.t.Helper()
	if err := f.db.QueryRow(query).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

// read reads what was made, or effects.
func (f *fleet) read(t *testing.T, query string) (all []effect) {
	t.Helper()
	rows, err := f.db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var e effect
		if err := rows.Scan(&e.key, &e.version, &e.sequence, &e.timeStamp, &e.body); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
