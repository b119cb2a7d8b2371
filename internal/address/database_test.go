package address_test

import (
	"bytes"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/store"
)

func TestAddressesOpenTheirDatabase(t *testing.T) {
	for _, c := range []struct{ addr, dialect string }{
		{"postgres://user:secret@db.example.com/app", "postgres"},
		{"postgresql://user:secret@db.example.com:6432/app?sslmode=require&default_query_exec_mode=exec", "postgres"},
		{"postgres:///app?host=/var/run/postgresql", "postgres"},
		{"mysql://user:s%40cret%2F@db.example.com/app", "mysql"},
		{"mysql://user@[::1]:3307/app?tls=skip-verify&timeout=5s", "mysql"},
		{"mariadb://user:secret@db.example.com/app", "mysql"},
		{"sqlite:file.db", "sqlite"},
		{"sqlite:path/to/file.db", "sqlite"},
		{"sqlite:/absolute/file.db", "sqlite"},
		{"sqlite:///absolute/file.db", "sqlite"},
	} {
		t.Run(c.addr, func(t *testing.T) {
			db, dialect, err := address.OpenDatabase(c.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if got := dialect.Name(); got != c.dialect {
				t.Errorf("got the dialect %s, want %s", got, c.dialect)
			}
		})
	}
}

func TestAnAddressThatIsNoneSaysWhatWouldBe(t *testing.T) {
	for _, c := range []struct{ addr, says string }{
		{"", "postgres://"},
		{"orders.db", "sqlite:path/to/file.db"},
		{"oracle://user:hunter2@host/app", `"oracle"`},
		{"host=localhost password=hunter2 dbname=app", "mysql://"},
		{"root:hunter2@tcp(localhost:3306)/app", "mysql://"},
		{"postgres://user:hunter2@host:port/app", "percent-encode"},
		{"postgres://user:hun%ter2@host/app", "percent-encode"},
		{"postgres://user:123?hunter2@host/app", "percent-encode"},
		{"mysql://user:123?hunter2@host/app", "percent-encode"},
		{"postgres://user:hunter2/with/slashes@host/app", "percent-encode"},
		{"postgres://", "the host is missing"},
		{"postgres://user:hunter2@host/app?sslmode=perhaps", "sslmode"},
		{"postgres://user@host/app?sslmode=perhaps&password=hunter2", "sslmode"},
		{"mysql://user:hunter2@host", "the name of the database is missing"},
		{"mysql://user:hunter2@host/", "the name of the database is missing"},
		{"mysql://user:hunter2@/app", "the host is missing"},
		{"mysql://user:hunter2@host/app?tls=perhaps", "perhaps"},
		{"mysql://user:hunter2@host/app?timeout=soon", "soon"},
		{"sqlite:", "file's name is missing"},
		{"sqlite:dir/", "file's name is missing"},
		{"sqlite::memory:", "name a file"},
		{"sqlite:file.db?mode=ro", "takes no parameters"},
	} {
		t.Run(c.addr, func(t *testing.T) {
			_, _, err := address.OpenDatabase(c.addr)
			if err == nil {
				t.Fatal("got no error, want one")
			}
			wantError(t, err, c.says)
		})
	}
}

// wantError checks that an error says what would be right, and no word of the passwords
// that the tables here have.
func wantError(t *testing.T, err error, says string) {
	t.Helper()
	text := err.Error()
	if !strings.HasPrefix(text, "waybill: ") || !strings.Contains(text, says) {
		t.Errorf("got error %q, want one that says %q", text, says)
	}
	for _, secret := range []string{"hunter2", "slashes"} {
		if strings.Contains(text, secret) {
			t.Errorf("got error %q, want one without the password", text)
		}
	}
}

func TestRedactHidesPasswordsAndNothingElse(t *testing.T) {
	for addr, want := range map[string]string{
		"postgres://user:hunter2@host:5432/app":           "postgres://user:xxxxx@host:5432/app",
		"postgres://user@host/app":                        "postgres://user@host/app",
		"postgres://user:hunt@er2@host/app":               "postgres://user:xxxxx@host/app",
		"postgres://user:hun/ter2@host/app":               "postgres://user:xxxxx@host/app",
		"postgres://host/app?user=u&password=hunter2&a=b": "postgres://host/app?user=u&password=xxxxx&a=b",
		"postgres://host/app?PassWord=hunter2":            "postgres://host/app?PassWord=xxxxx",
		"postgres://host/app?pass%77ord=hunter2":          "postgres://host/app?pass%77ord=xxxxx",
		"postgres://host/app?sslpassword=hunter2":         "postgres://host/app?sslpassword=xxxxx",
		"amqp1s://user:hunter2@host:5671":                 "amqp1s://user:xxxxx@host:5671",
		"kafka://host1,host2:9092":                        "kafka://host1,host2:9092",
		"nats://:hunter2@host":                            "nats://:xxxxx@host",
		"mysql://host/app?a=b?password=hunter2&c=d":       "mysql://host/app?a=b?password=xxxxx&c=d",
		"mysql://host/app?password=hun?ter2&c=d":          "mysql://host/app?password=xxxxx&c=d",
		"embedded:path/to/dir":                            "embedded:path/to/dir",
		"sqlite:file.db":                                  "sqlite:file.db",
		"":                                                "",
	} {
		t.Run(addr, func(t *testing.T) {
			if got := address.Redact(addr); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestAnOpenedDatabaseWorks(t *testing.T) {
	for _, c := range []struct{ name, variable string }{
		{"postgres", "WAYBILL_TEST_POSTGRES"}, {"mysql", "WAYBILL_TEST_MYSQL"}, {"sqlite", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := "sqlite:" + filepath.Join(t.TempDir(), "50% #1 äöü.db")
			if c.variable != "" {
				addr = testserver.Address(t, c.variable)
			}
			db, dialect, err := address.OpenDatabase(addr)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			var now int64
			if err := db.QueryRowContext(t.Context(), dialect.Clock().SQL).Scan(&now); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestASQLiteFileSyncsEachCommitAndCanBeOpenedManyTimesAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	done := make(chan error)
	for range 8 {
		go func() {
			done <- func() error {
				db, dialect, err := address.OpenDatabase("sqlite:" + path)
				if err != nil {
					return err
				}
				defer db.Close()
				if err := store.Migrate(t.Context(), db, dialect, "", store.Producer); err != nil {
					return err
				}
				for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
					var got string
					if err := db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil {
						return err
					}
					if got != want {
						t.Errorf("%s: got %s, want %s", pragma, got, want)
					}
				}
				return nil
			}()
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestWhatMySQLsDriverSaysIsInTheLog(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close() // no greeting, as of a server that ends
		}
	}()
	var text bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewJSONHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})))
	db, _, err := address.OpenDatabase("mysql://user:secret@" + l.Addr().String() + "/app")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("got no error of a server that says nothing, want one")
	}
	if !strings.Contains(text.String(), `"msg":"MySQL driver"`) {
		t.Errorf("got the log %s, want what the driver says", text.String())
	}
}
