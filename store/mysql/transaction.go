package mysql

import (
	"database/sql"
	"slices"

	"github.com/waybill-go/waybill/store"
)

// Hold puts the transaction into an XA branch of one phase. Inside it the server itself
// refuses whatever would end it (COMMIT, ROLLBACK, BEGIN, DDL, LOCK TABLES, procedures
// that commit: error 1399), and after a deadlock, which rolls everything back, it
// refuses all further statements instead of committing them one by one. The branch is
// never prepared, so it ends with its connection.
//
// The driver has begun an ordinary transaction by then, which is left, empty, for the
// branch. Where a server knows no XA (Galera, TiDB), autocommit is off for as long as
// the transaction lasts, and a savepoint tells whether it is still the one that began.
func (dialect) Hold(nonce string, o *sql.TxOptions, readWrite bool) []store.Hold {
	branch := `'waybill-` + nonce + `'`
	begin := []string{`ROLLBACK`}
	if set := characteristics(o, readWrite); set != "" {
		begin = append(begin, `SET TRANSACTION `+set)
	}
	savepoint := []string{`SET @waybill_autocommit = @@SESSION.autocommit, SESSION autocommit = 0`, `SAVEPOINT waybill_hold`}
	if readWrite { // the driver cannot ask for that
		savepoint = slices.Concat(begin, []string{`START TRANSACTION`}, savepoint)
	}
	return []store.Hold{{
		Name:     "an XA branch",
		Plain:    true,
		Begin:    append(begin, `XA START `+branch),
		Unknown:  noXA,
		Refused:  (dialect{}).ReadOnly,
		Commit:   []string{`XA END ` + branch, `XA COMMIT ` + branch + ` ONE PHASE`},
		Commits:  true,
		Rollback: []string{`XA END ` + branch, `XA ROLLBACK ` + branch},
		Catch:    `BEGIN`,
	}, {
		Name:    "a savepoint",
		Plain:   readWrite,
		Begin:   savepoint,
		Refused: func(err error) bool { return (dialect{}).ReadOnly(err) || noXA(err) },
		Commit:  []string{`RELEASE SAVEPOINT waybill_hold`},
		After:   []string{`SET SESSION autocommit = @waybill_autocommit`},
	}}
}

// noXA knows the errors of servers without XA: no such statement, not supported, disabled.
func noXA(err error) bool {
	number, _ := errorNumber(err)
	return number == 1064 || number == 1235 || number == 1289
}

// characteristics are what SET TRANSACTION sets; "" for the session's own.
func characteristics(o *sql.TxOptions, readWrite bool) string {
	var set string
	switch o.Isolation {
	case sql.LevelReadUncommitted:
		set = `ISOLATION LEVEL READ UNCOMMITTED`
	case sql.LevelReadCommitted:
		set = `ISOLATION LEVEL READ COMMITTED`
	case sql.LevelRepeatableRead, sql.LevelSnapshot:
		set = `ISOLATION LEVEL REPEATABLE READ`
	case sql.LevelSerializable, sql.LevelLinearizable:
		set = `ISOLATION LEVEL SERIALIZABLE`
	}
	access := `READ WRITE`
	if o.ReadOnly {
		access = `READ ONLY`
	}
	switch {
	case set != "":
		return set + `, ` + access
	case o.ReadOnly, readWrite:
		return access
	}
	return ""
}

// ReadOnlyDefault implements store.TransactionDialect: tx_read_only may be set for the server.
func (dialect) ReadOnlyDefault() string { return `SELECT @@SESSION.` + readOnly }

// Watch knows nothing: go-sql-driver keeps what the server says of a transaction to
// itself, and inside an XA branch nothing need be known.
func (dialect) Watch(any) store.Watch { return store.Watch{} }

// Probe sets a savepoint, which lasts no longer than its own statement where no
// transaction is open.
func (dialect) Probe() store.Probe {
	return store.Probe{
		Statements: []string{`SAVEPOINT waybill_probe`, `RELEASE SAVEPOINT waybill_probe`},
		Ended: func(err error) bool {
			number, _ := errorNumber(err)
			return number == 1305 // SAVEPOINT waybill_probe does not exist
		},
	}
}
