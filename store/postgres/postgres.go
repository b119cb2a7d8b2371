// Package postgres is Waybill's dialect of PostgreSQL, 13 and newer. It imports no
// driver: it works through database/sql with pgx and with lib/pq, and package
// pgxdriver has what pgx alone can do.
//
// Arrays travel as text and are cast in the statement, so that the text of a
// statement does not depend on the number of its rows (one prepared statement
// serves all) and no driver's own array type is needed. Every argument has an
// explicit cast, so that all of pgx's query modes infer the same types.
package postgres

import (
	"database/sql"
	"errors"

	"github.com/waybill-go/waybill/store"
)

// clock is the server's clock when the expression is evaluated, in µs.
const clock = `(date_part('epoch', clock_timestamp()) * 1000000)::bigint`

type dialect struct{}

// Dialect returns the dialect of PostgreSQL. Its user needs to read and write
// Waybill's tables; store.Migrate needs CREATE on their schema too.
func Dialect() store.Dialect { return dialect{} }

// Name returns "postgres".
func (dialect) Name() string { return "postgres" }

// Capabilities declares what PostgreSQL does. At READ COMMITTED each statement of a
// guard sees what was committed before it began.
func (dialect) Capabilities() store.Capabilities {
	return store.Capabilities{GuardIsolation: sql.LevelReadCommitted, MaxBatch: 1000, OrStop: `\set ON_ERROR_STOP on`}
}

// Condition classifies errors by their SQLSTATE, which pgx and lib/pq both tell
// through a method SQLState.
func (dialect) Condition(err error) store.Condition {
	var coded interface{ SQLState() string }
	if !errors.As(err, &coded) {
		if store.Unreachable(err) {
			return store.Unavailable
		}
		return store.Other
	}
	code := coded.SQLState()
	switch code {
	case "42P01", "42703", "3F000": // undefined table, undefined column, invalid schema
		return store.NoTable
	case "55P03": // lock not available
		return store.Conflict
	case "57P01", "57P02", "57P03", "57P05", // shutdown, crash, starting up, idle session ended
		"25P03", "25P04", // session ended while idle in a transaction, or since that took too long
		"25006", "58030": // read-only, as a standby after a failover; I/O error
		return store.Unavailable
	}
	if len(code) == 5 {
		switch code[:2] {
		case "40": // serialization failure, deadlock
			return store.Conflict
		case "08", "53": // connection exception; out of disk, memory or connections
			return store.Unavailable
		}
	}
	return store.Other
}

// Advice implements store.Adviser. Since PostgreSQL 15 only its owner may create in
// the schema public.
func (dialect) Advice(err error) string {
	var coded interface{ SQLState() string }
	if errors.As(err, &coded) && coded.SQLState() == "42501" {
		return "the database's user may not create tables here: have an administrator GRANT CREATE ON SCHEMA ... to it, use a schema of its own (the table prefix \"app.\"), or run the statements that 'waybill init --print' shows"
	}
	return ""
}
