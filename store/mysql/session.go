package mysql

import "github.com/waybill-go/waybill/store"

// isolation and timeLimit are named differently in MySQL and MariaDB: each reads the
// comment that is its own and skips the other's.
const (
	isolation = `/*!80000 transaction_isolation */ /*M! tx_isolation */`
	readOnly  = `/*!80000 transaction_read_only */ /*M! tx_read_only */`
	timeLimit = `/*!80000 max_execution_time */ /*M! max_statement_time */`
)

// setUp ends what somebody has left open on the connection, since autocommit = 1 would
// commit it. The engine's statements commit one by one; they read what is committed, and
// at READ COMMITTED their locks are no wider than their rows. sql_mode has none of the
// modes that change what a statement means, and rows are checked strictly.
const setUp = `
SET @waybill_isolation = @@SESSION.` + isolation + `, SESSION ` + isolation + ` = 'READ-COMMITTED',
	@waybill_read_only = @@SESSION.` + readOnly + `, SESSION ` + readOnly + ` = 0,
	@waybill_autocommit = @@SESSION.autocommit, SESSION autocommit = 1,
	@waybill_sql_mode = @@SESSION.sql_mode, SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',
	@waybill_safe_updates = @@SESSION.sql_safe_updates, SESSION sql_safe_updates = 0,
	@waybill_time_limit = @@SESSION.` + timeLimit + `, SESSION ` + timeLimit + ` = 0,
	@waybill_lock_wait = @@SESSION.innodb_lock_wait_timeout, SESSION innodb_lock_wait_timeout = 10`

const setBack = `
SET SESSION ` + isolation + ` = @waybill_isolation, SESSION ` + readOnly + ` = @waybill_read_only,
	SESSION autocommit = @waybill_autocommit, SESSION sql_mode = @waybill_sql_mode,
	SESSION sql_safe_updates = @waybill_safe_updates, SESSION ` + timeLimit + ` = @waybill_time_limit,
	SESSION innodb_lock_wait_timeout = @waybill_lock_wait`

// Setup implements store.SessionDialect.
func (dialect) Setup() store.Setup {
	return store.Setup{Begin: []string{`ROLLBACK`, setUp}, End: []string{setBack}}
}

// ReadOnly implements store.SessionDialect. MariaDB and MySQL say 1290 of other options
// than read_only too, none of which hinders statements as Waybill's.
func (dialect) ReadOnly(err error) bool {
	switch number, _ := errorNumber(err); number {
	case 1290, 1792, 1836, 3989: // --read-only, transaction, server, schema
		return true
	}
	return false
}

// TimedOut implements store.SessionDialect.
func (dialect) TimedOut(err error) bool {
	switch number, _ := errorNumber(err); number {
	case 1969, 3024: // max_statement_time, max_execution_time
		return true
	}
	return false
}

// Explain implements store.SessionDialect.
func (d dialect) Explain(err error) string {
	number, _ := errorNumber(err)
	switch {
	case d.ReadOnly(err):
		return "the database takes no writes, as a replica or after a failover: the connection is dropped and a new one is tried; where that does not help, lead the address to the primary, or have an administrator SET GLOBAL read_only = 0"
	case number == 1449:
		return "the account that made Waybill's trigger is gone, and the trigger runs with its rights: run 'waybill init --side producer' with an account that stays"
	case number == 1044, number == 1142, number == 1143, number == 1370:
		return "the database's user lacks a right: have an administrator GRANT SELECT, INSERT, UPDATE, DELETE on Waybill's tables"
	}
	return ""
}
