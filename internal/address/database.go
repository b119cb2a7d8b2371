// Package address opens databases and brokers by their addresses, as the command and tests
// name them. No error shows the password of an address.
package address

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/mysql"
	"github.com/waybill-go/waybill/store/postgres"
	"github.com/waybill-go/waybill/store/postgres/pgxdriver"
	"github.com/waybill-go/waybill/store/sqlite"
)

// databaseForms is what an error about an address offers.
const databaseForms = `use postgres://user:password@host/database, mysql://user:password@host:3306/database or sqlite:path/to/file.db`

// OpenDatabase returns the database at addr and its dialect. It checks the address
// and does no I/O: the first use connects. The forms are
//
//	postgres://user:password@host:5432/database?sslmode=require   (pgx's parameters)
//	mysql://user:password@host:3306/database?tls=true             (go-sql-driver's parameters)
//	sqlite:path/to/file.db
//
// The pool has at most 40 connections, 4 with SQLite; those to a server are closed after
// a minute without use and after five in any case. A PostgreSQL behind a pooler such as
// PgBouncer is found out at the first connection: statements are not prepared there,
// unless the address has a default_query_exec_mode of its own.
func OpenDatabase(addr string) (*sql.DB, store.Dialect, error) {
	scheme, rest, found := strings.Cut(addr, ":")
	if !found || strings.ContainsAny(scheme, " =/@") {
		return nil, nil, errors.New("waybill: a database's address begins with its kind: " + databaseForms)
	}
	var db *sql.DB
	var dialect store.Dialect
	var err error
	switch scheme {
	case "postgres", "postgresql":
		dialect = postgres.Dialect()
		db, err = openPostgres(addr)
	case "mysql", "mariadb":
		dialect = mysql.Dialect()
		db, err = openMySQL(addr)
	case "sqlite":
		dialect = sqlite.Dialect()
		db, err = openSQLite(rest)
	default:
		return nil, nil, fmt.Errorf("waybill: no database is called %.20q: %s", scheme, databaseForms)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("waybill: the database's address %s: %s", Redact(addr), scrub(addr, err))
	}
	return db, dialect, nil
}

func openPostgres(addr string) (*sql.DB, error) {
	u, err := serverURL(addr)
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(addr)
	if err != nil {
		// The outer error repeats the address.
		var parse *pgconn.ParseConfigError
		if inner := errors.Unwrap(err); errors.As(err, &parse) && inner != nil {
			err = inner
		}
		return nil, err
	}
	if u.Query().Has("default_query_exec_mode") {
		return bounded(stdlib.OpenDB(*config)), nil
	}
	var p pooler
	return bounded(stdlib.OpenDB(*config, stdlib.OptionBeforeConnect(p.before), stdlib.OptionAfterConnect(p.after))), nil
}

// pooler finds out whether a database is behind a pooler, such as PgBouncer. There
// statements cannot be prepared beforehand: they may come to another session.
type pooler struct{ direct, found atomic.Bool }

func (p *pooler) before(_ context.Context, config *pgx.ConnConfig) error {
	if p.found.Load() {
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	return nil
}

func (p *pooler) after(ctx context.Context, conn *pgx.Conn) error {
	if p.found.Load() || p.direct.Load() {
		return nil
	}
	pooled, err := pgxdriver.BehindPooler(ctx, conn.PgConn())
	switch {
	case err != nil:
		_ = conn.Close(ctx)
		return err
	case !pooled:
		p.direct.Store(true)
		return nil
	}
	p.found.Store(true)
	_ = conn.Close(ctx)
	return driver.ErrBadConn // and database/sql connects again
}

const (
	// maxConnections is below what servers allow by default (PostgreSQL 100, MySQL 151).
	maxConnections = 40
	// idleConnections are kept for idleTime.
	idleConnections, idleTime = 10, time.Minute
	// connectionLife: after a failover the name may lead to another server.
	connectionLife = 5 * time.Minute
)

// bounded sets the pool's limits.
func bounded(db *sql.DB) *sql.DB {
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(idleConnections)
	db.SetConnMaxIdleTime(idleTime)
	db.SetConnMaxLifetime(connectionLife)
	return db
}

// openMySQL has the driver send statements with their arguments in one round trip where
// it can (interpolateParams); it prepares, runs and closes them otherwise.
func openMySQL(addr string) (*sql.DB, error) {
	u, err := serverURL(addr)
	if err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(u.Path, "/")
	if name == "" {
		return nil, errors.New("the name of the database is missing: mysql://user:password@host:3306/database")
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = "3306"
	}
	config, err := mysqldriver.ParseDSN("tcp(" + net.JoinHostPort(host, port) + ")/?" + u.RawQuery)
	if err != nil {
		return nil, err
	}
	config.DBName, config.User = name, u.User.Username()
	config.Passwd, _ = u.User.Password()
	if !u.Query().Has("interpolateParams") {
		config.InterpolateParams = true
	}
	config.Logger = driverLog{}
	connector, err := mysqldriver.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return bounded(sql.OpenDB(connector)), nil
}

// driverLog puts what MySQL's driver says of broken connections into the log, at the
// level Debug: where it concerns a caller, the caller gets an error.
type driverLog struct{}

func (driverLog) Print(words ...any) {
	slog.Debug("MySQL driver", slog.String("text", strings.TrimSpace(fmt.Sprintln(words...))))
}

// serverURL parses the address of a database behind a network.
func serverURL(addr string) (*url.URL, error) {
	u, err := url.Parse(addr)
	if err != nil || slices.ContainsFunc(slices.Collect(maps.Keys(u.Query())), isHalfPassword) {
		// The parser's error quotes the address.
		return nil, errors.New("is no valid URL: percent-encode what is special in the user's name and password, such as %40 for '@' and %2F for '/'")
	}
	if u.Host == "" && u.Query().Get("host") == "" {
		return nil, errors.New("the host is missing: " + databaseForms)
	}
	return u, nil
}

// isHalfPassword says whether a parameter's name may be the rest of a password with a
// '?', and the host. A driver would send it to the server, whose error shows it.
func isHalfPassword(name string) bool { return strings.Contains(name, "@") }

// sqliteSettings: WAL lets readers go on beside the one writer; synchronous FULL
// syncs at each commit, since a committed message must survive a power cut; write
// transactions begin IMMEDIATE, because one that reads first and then finds that
// another has written is refused at once, whatever its busy_timeout.
const sqliteSettings = `?_txlock=immediate&_pragma=busy_timeout(30000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=foreign_keys(on)`

// sqliteConnections is small: one transaction writes at a time, and the other
// connections read or wait for their turn.
const sqliteConnections = 4

func openSQLite(path string) (*sql.DB, error) {
	switch {
	case path == "" || strings.HasSuffix(path, "/"):
		return nil, errors.New("the file's name is missing: sqlite:path/to/file.db")
	case strings.Contains(path, ":memory:"):
		return nil, errors.New("a database in memory forgets its messages: name a file, sqlite:path/to/file.db")
	case strings.Contains(path, "?"):
		return nil, errors.New("takes no parameters: the settings that matter are made for you")
	}
	if absolute, found := strings.CutPrefix(path, "//"); found {
		// sqlite:///absolute and sqlite://relative are common elsewhere.
		path = absolute
	}
	segments := strings.Split(filepath.ToSlash(filepath.Clean(path)), "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	db, err := sql.Open("sqlite", "file:"+strings.Join(segments, "/")+sqliteSettings)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(sqliteConnections)
	db.SetMaxIdleConns(sqliteConnections)
	return db, nil
}
