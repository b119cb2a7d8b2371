// Package address opens databases and brokers by their addresses, as the command and tests
// name them. No error shows the password of an address.
//
// A program that imports it has the drivers of all databases and the adapters of all
// brokers, unless it is built with the tag waybill_lean: then it has those whose own tags
// are given, waybill_postgres, waybill_mysql, waybill_sqlite, waybill_amqp1,
// waybill_stomp, waybill_activemq, waybill_rabbitmq, waybill_nats, waybill_kafka and
// waybill_embedded. An address of another kind is then an error that names the tag.
//
// The files: database.go and broker.go (which kinds there are), one file for each kind that
// opens it, and beside it one with _left_out for programs without it.
package address

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/mysql"
	"github.com/waybill-go/waybill/store/postgres"
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
func OpenDatabase(addr string) (*sql.DB, store.Dialect, error) { return OpenDatabaseAs(addr, "") }

// OpenDatabaseAs is OpenDatabase, with a name by which the server shows the connections:
// PostgreSQL's application_name, of which it shows 63 bytes, and MySQL's and MariaDB's connection
// attribute program_name. One that the address, or for PostgreSQL the environment, sets by
// itself goes before it. A name is without commas; "" stands for none.
func OpenDatabaseAs(addr, name string) (*sql.DB, store.Dialect, error) {
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
		db, err = openPostgres(addr, name)
	case "mysql", "mariadb":
		dialect = mysql.Dialect()
		db, err = openMySQL(addr, name)
	case "sqlite":
		dialect = sqlite.Dialect()
		db, err = openSQLite(rest)
	default:
		return nil, nil, fmt.Errorf("waybill: no database is called %.20q: %s", scheme, databaseForms)
	}
	if errors.As(err, new(leftOutError)) {
		return nil, nil, fmt.Errorf("waybill: the database's address %s: %w", Redact(addr), err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("waybill: the database's address %s: %s", Redact(addr), scrub(addr, err))
	}
	return db, dialect, nil
}

// Listener returns what hears of messages that other processes commit in the database at
// addr, to tables with this prefix, in the form that relay.Options.Listen takes; nil where
// the database does not tell. Its connection has the name too, as those of OpenDatabaseAs.
func Listener(addr, prefix, name string) func(ctx context.Context, notify func()) error {
	switch scheme, _, _ := strings.Cut(addr, ":"); scheme {
	case "postgres", "postgresql":
		return listenPostgres(addr, prefix, name)
	}
	return nil
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
