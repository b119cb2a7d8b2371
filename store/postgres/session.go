package postgres

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/waybill-go/waybill/store"
)

// Setup changes no session: behind a pooler it may be another one with each transaction.
// Where a session's defaults keep a statement out, the transaction around it is told
// otherwise, for itself alone.
func (dialect) Setup() store.Setup {
	return store.Setup{HangUp: hangUp, Transaction: []string{
		`SET TRANSACTION READ WRITE`,
		`SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '10s', true)`,
	}}
}

// hangUp closes the connection of pgx: where that comes from a pgxpool.Pool, database/sql
// would give it back.
func hangUp(driverConn any) {
	if c, ok := pgxConn(driverConn).(interface {
		Close(ctx context.Context) error
	}); ok {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = c.Close(ctx)
	}
}

// ReadOnly implements store.SessionDialect.
func (dialect) ReadOnly(err error) bool { return state(err) == "25006" }

// Full implements store.SessionDialect.
func (dialect) Full(err error) bool { return state(err) == "53100" }

// Refused implements store.SessionDialect.
func (dialect) Refused(err error) bool {
	switch state(err) {
	case "28000", "28P01", "3D000": // no such user or not from here, a wrong password, no such database
		return true
	}
	return false
}

// TimedOut implements store.SessionDialect. A statement that its caller has canceled ends
// with the same state.
func (dialect) TimedOut(err error) bool {
	switch state(err) {
	case "57014", "55P03": // statement_timeout, lock_timeout
		return true
	}
	return false
}

// Locked implements store.SessionDialect.
func (dialect) Locked(err error) bool { return state(err) == "55P03" }

// Misled implements store.SessionDialect: SET search_path and SET ROLE outlast their
// transaction.
func (d dialect) Misled(err error) bool {
	return err != nil && (d.Condition(err) == store.NoTable || state(err) == "42501")
}

// Explain implements store.SessionDialect.
func (d dialect) Explain(err error) string {
	switch state(err) {
	case "53100":
		return "the database has no room: make some on its disk; everything waits until then"
	case "25006":
		return "the database takes no writes, as a standby or after a failover: the connection is dropped and a new one is tried; where that does not help, lead the address to the primary (target_session_attrs=read-write finds it among several hosts)"
	case "42501":
		return "the database's user lacks a right: have an administrator GRANT SELECT, INSERT, UPDATE, DELETE on Waybill's tables, and a policy of row-level security let their rows through"
	case "26000", "42P05": // no such prepared statement, or one too many
		return "a pooler such as PgBouncer in transaction mode takes each statement to another session: add default_query_exec_mode=exec to the address"
	}
	return ""
}

// state is an error's SQLSTATE; "" where there is none.
func state(err error) string {
	var coded interface{ SQLState() string }
	if errors.As(err, &coded) {
		return coded.SQLState()
	}
	return ""
}

const hiddenRows = `
SELECT false, format('row-level security applies to user %s on table %s: rows that its policies hide are not seen, so messages may stay unsent; give the user a policy that lets all rows through, or BYPASSRLS', current_user, name)
FROM unnest(string_to_array($1::text, ',')) AS name
WHERE CASE WHEN to_regclass(name) IS NULL THEN false ELSE row_security_active(to_regclass(name)) END`

const looseCommits = `
SELECT false, format('%s is off: a power cut or a crash may take back what has been committed, and with it messages or the memory of them; set it to on', name)
FROM pg_settings
WHERE name IN ('synchronous_commit', 'fsync') AND setting = 'off'
ORDER BY name`

// Findings implements store.SessionDialect.
func (dialect) Findings(n store.Names, side store.Side) []store.Statement {
	tables := []string{n.Message, n.MessageKey, n.Relay}
	if side == store.Consumer {
		tables = []string{n.Once, n.Latest, n.Horizon, n.Rejected}
	}
	return []store.Statement{{SQL: hiddenRows, Args: []any{strings.Join(tables, ",")}}, {SQL: looseCommits}}
}
