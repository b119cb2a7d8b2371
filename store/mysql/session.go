package mysql

import (
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

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
	@waybill_select_limit = @@SESSION.sql_select_limit, SESSION sql_select_limit = DEFAULT,
	@waybill_lock_wait = @@SESSION.innodb_lock_wait_timeout, SESSION innodb_lock_wait_timeout = 2`

const setBack = `
SET SESSION ` + isolation + ` = @waybill_isolation, SESSION ` + readOnly + ` = @waybill_read_only,
	SESSION autocommit = @waybill_autocommit, SESSION sql_mode = @waybill_sql_mode,
	SESSION sql_safe_updates = @waybill_safe_updates, SESSION ` + timeLimit + ` = @waybill_time_limit,
	SESSION sql_select_limit = @waybill_select_limit, SESSION innodb_lock_wait_timeout = @waybill_lock_wait`

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

// Full implements store.SessionDialect. What the operating system says of a write comes in the
// text of errors that have other reasons, too: 28 is that there is no space left, and 122 that a
// quota is used up.
func (dialect) Full(err error) bool {
	number, _ := errorNumber(err)
	switch number {
	case 20, 1021, 1114: // disk full (twice), table full
		return true
	case 3, 1004, 1026, 1030: // writing, making and writing a file; a storage engine's own
		return outOfSpace.MatchString(err.Error())
	}
	return false
}

// Refused implements store.SessionDialect.
func (dialect) Refused(err error) bool {
	number, _ := errorNumber(err)
	switch number {
	case 1044, 1045, 1049, 1698: // no right on the database, a wrong password, no such database, no password taken
		return true
	}
	return false
}

var outOfSpace = regexp.MustCompile(`(?i)\b(?:errno|errcode|error):? "?(?:28|122)\b`)

// TimedOut implements store.SessionDialect.
func (dialect) TimedOut(err error) bool {
	switch number, _ := errorNumber(err); number {
	case 1969, 3024: // max_statement_time, max_execution_time
		return true
	}
	return false
}

// Locked implements store.SessionDialect.
func (dialect) Locked(err error) bool {
	number, _ := errorNumber(err)
	return number == 1205
}

// Misled implements store.SessionDialect: USE and SET ROLE outlast their transaction.
func (d dialect) Misled(err error) bool {
	return err != nil && (d.Condition(err) == store.NoTable || d.lacksRight(err))
}

func (dialect) lacksRight(err error) bool {
	switch number, _ := errorNumber(err); number {
	case 1044, 1142, 1143, 1370:
		return true
	}
	return false
}

// Explain implements store.SessionDialect.
func (d dialect) Explain(err error) string {
	number, _ := errorNumber(err)
	switch {
	case d.Full(err):
		return "the database has no room: make some on its disk; everything waits until then"
	case d.ReadOnly(err):
		return "the database takes no writes, as a replica or after a failover: the connection is dropped and a new one is tried; where that does not help, lead the address to the primary, or have an administrator SET GLOBAL read_only = 0"
	case number == 1665:
		return "the server's binary log (binlog_format = STATEMENT) takes no transactions at READ COMMITTED, which Waybill's are: have an administrator SET GLOBAL binlog_format = 'MIXED', or 'ROW', and start this program again"
	case number == 1172:
		return "an upgrade of the producer's tables was broken off between two of its steps: run 'waybill init --side producer', which goes on with it"
	case number == 1449:
		return "the account that made Waybill's trigger is gone, and the trigger runs with its rights: run 'waybill init --side producer' with an account that stays"
	case d.lacksRight(err):
		return "the database's user lacks a right: have an administrator GRANT SELECT, INSERT, UPDATE, DELETE on Waybill's tables"
	}
	return ""
}

// Findings implements store.SessionDialect.
func (dialect) Findings(store.Names, store.Side) []store.Statement {
	return []store.Statement{{SQL: `
SELECT 0, CONCAT('innodb_flush_log_at_trx_commit is ', @@GLOBAL.innodb_flush_log_at_trx_commit,
	': a power cut or a crash may take back what has been committed in the last second, and with it messages or the memory of them; set it to 1')
FROM (SELECT 1) AS one
WHERE @@GLOBAL.innodb_flush_log_at_trx_commit <> 1`}}
}

// trial has an id below all others, so that it uses up none of theirs.
const trial = `
INSERT INTO {qmessage} (id, destination, business_mark, message_content)
VALUES (?, 'check', ?, 'x')`

// Trial implements store.Repairer.
func (dialect) Trial(n store.Names) store.Statement {
	id := -1 - rand.Int64N(1<<62)
	return statement.New(n, trial, id, strconv.FormatInt(id, 10))
}

// Repair makes the trigger of the tables' version again, where it runs as an account that
// is gone or has lost its rights, or is missing.
func (d dialect) Repair(n store.Names, side store.Side, version int, err error) []store.Statement {
	switch number, _ := errorNumber(err); number {
	case 1449, 4025, 3819: // no such definer; a check that the trigger's columns fail
	default:
		return nil
	}
	var drop, create []store.Statement
	for _, m := range d.Migrations(n) {
		if m.Side != side || m.Version > version {
			continue
		}
		for _, text := range m.Statements {
			switch trimmed := strings.TrimSpace(text); {
			case strings.HasPrefix(trimmed, "DROP TRIGGER"):
				drop = []store.Statement{{SQL: text}}
			case strings.HasPrefix(trimmed, "CREATE TRIGGER"):
				create = []store.Statement{{SQL: text}}
			}
		}
	}
	return append(drop, create...)
}
