// Package mysql is Waybill's dialect of MySQL 8.0.17 and newer and of MariaDB 10.10
// and newer. It imports no driver and depends on none of its settings
// (clientFoundRows, multiStatements, parseTime, interpolateParams), nor on the
// server's sql_mode or time zone.
//
// Two decisions follow from what these databases cannot do:
//
//   - Keys are compared by bytes, also in their case and in spaces at their end. No
//     collation that does so has the same name in both (see schema.go).
//   - A statement that inserts into a table with a trigger may not read a table that
//     the trigger writes (error 1442), so an INSERT cannot take a key's sequence from
//     qmessage_key while a trigger fills it for writers of plain SQL. Here the
//     trigger fills sequence and time stamp for Send as well: one statement, however
//     many rows and keys.
//
// Transactions that Waybill begins (outbox.InTx, a handler's) are XA branches of one
// phase; transaction.go says why. In them the server refuses DDL, LOCK TABLES and
// procedures that commit, and on MySQL 8.0.29 and newer temporary tables too, unless
// xa_detach_on_prepare is off.
package mysql

import (
	"database/sql"
	"reflect"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// clock is the server's clock in µs when the statement began. UTC_TIMESTAMP has no
// hour that comes twice, as UNIX_TIMESTAMP(NOW(6)) has where summer time ends.
const clock = `TIMESTAMPDIFF(MICROSECOND, DATE '1970-01-01', UTC_TIMESTAMP(6))`

type dialect struct{}

// Dialect returns the dialect of MySQL and MariaDB. Its user needs to read and write
// Waybill's tables; store.Migrate needs CREATE and TRIGGER too, and Advice says so where
// they are missing.
func Dialect() store.Dialect { return dialect{} }

// Name returns "mysql".
func (dialect) Name() string { return "mysql" }

// Capabilities declares what InnoDB does. At its default level, REPEATABLE READ, a guard
// would not see what other transactions committed since its own began. MaxBatch stays
// below 1000, where MariaDB turns a list of ids into a join and scans the table.
func (dialect) Capabilities() store.Capabilities {
	return store.Capabilities{GuardIsolation: sql.LevelReadCommitted, MaxBatch: 500, Delimiter: "$$"}
}

// Condition classifies errors by their number.
func (d dialect) Condition(err error) store.Condition {
	number, ok := errorNumber(err)
	if ok && d.Full(err) {
		return store.Unavailable
	}
	if !ok {
		if store.Unreachable(err) || lostConnection(err) {
			return store.Unavailable
		}
		return store.Other
	}
	switch number {
	case 1146, 1049, 1054, 1109: // no such table, database, column; unknown table
		return store.NoTable
	case 1213, 1205, 1020, 3572, 1614, 3101, 1412, 159, 1615:
		// Deadlock, lock wait time-out, record changed since it was read, NOWAIT, XA
		// deadlock, group replication, table changed since the transaction began to read
		// (twice: in triggers, MariaDB passes InnoDB's own number on), statement to be
		// prepared again.
		return store.Conflict
	case 1040, 1203, 1226, 1129, // too many connections, of this user, over its limits, host blocked
		1053, 1077, 1079, 3032, 1047, 1927, 4031, // shutting down, offline, node not ready, killed, idle too long
		1158, 1159, 1160, 1161, 2002, 2003, 2006, 2013, // the network
		1290, 1792, 1836, // read-only, as a replica after a failover
		1037, 1038, 1041: // out of memory
		return store.Unavailable
	}
	return store.Other
}

// errorNumber finds the server's error number in the chain of err: go-sql-driver's
// error has it in a field.
func errorNumber(err error) (number uint64, ok bool) {
	for err := range statement.Tree(err) {
		v := reflect.ValueOf(err)
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct {
			continue
		}
		if f := v.FieldByName("Number"); f.IsValid() && f.CanUint() {
			return f.Uint(), true
		}
	}
	return 0, false
}

// lostConnection knows the errors of go-sql-driver that say so by their text alone.
func lostConnection(err error) bool {
	for err := range statement.Tree(err) {
		switch err.Error() {
		case "invalid connection", "bad connection", "busy buffer":
			return true
		}
	}
	return false
}

// Advice implements store.Adviser.
func (dialect) Advice(err error) string {
	switch number, _ := errorNumber(err); number {
	case 1419:
		return "the server writes a binary log and lets only administrators make triggers: have one run SET GLOBAL log_bin_trust_function_creators = 1, or run the statements that 'waybill init --print' shows"
	case 1044, 1142, 1227, 1370:
		return "the database's user needs CREATE and TRIGGER here, LOCK TABLES for an upgrade, besides SELECT, INSERT, UPDATE and DELETE: have an administrator grant them, or run the statements that 'waybill init --print' shows"
	}
	return ""
}
