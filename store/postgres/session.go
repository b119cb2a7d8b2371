package postgres

import (
	"errors"

	"github.com/waybill-go/waybill/store"
)

// Setup changes no session: behind a pooler it may be another one with each transaction.
// Where a session's defaults keep a statement out, the transaction around it is told
// otherwise, for itself alone.
func (dialect) Setup() store.Setup {
	return store.Setup{Transaction: []string{
		`SET TRANSACTION READ WRITE`,
		`SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '10s', true)`,
	}}
}

// ReadOnly implements store.SessionDialect.
func (dialect) ReadOnly(err error) bool { return state(err) == "25006" }

// TimedOut implements store.SessionDialect. A statement that its caller has canceled ends
// with the same state.
func (dialect) TimedOut(err error) bool {
	switch state(err) {
	case "57014", "55P03": // statement_timeout, lock_timeout
		return true
	}
	return false
}

// Explain implements store.SessionDialect.
func (d dialect) Explain(err error) string {
	switch state(err) {
	case "25006":
		return "the database takes no writes, as a standby or after a failover: the connection is dropped and a new one is tried; where that does not help, lead the address to the primary (target_session_attrs=read-write finds it among several hosts)"
	case "42501":
		return "the database's user lacks a right: have an administrator GRANT SELECT, INSERT, UPDATE, DELETE on Waybill's tables, and a policy of row-level security let their rows through"
	case "26000", "42P05", "08P01":
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
