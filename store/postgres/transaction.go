package postgres

import (
	"database/sql"
	"errors"
	"reflect"

	"github.com/waybill-go/waybill/store"
)

// declareHold opens a cursor that outlives its transaction. PostgreSQL runs such a
// cursor's query to its end at COMMIT, so that one that fails turns the COMMIT of
// anybody who has not closed it before into a rollback, with this error. The session ends
// with it, since what follows would commit statement by statement. The query is volatile,
// so the planner does not run it at once.
const declareHold = `DECLARE waybill_hold CURSOR WITH HOLD FOR SELECT CAST(
	'this transaction is committed by Waybill alone: ' || pg_terminate_backend(pg_backend_pid())::text AS integer)`

// declareMildHold does the same for roles that may not end sessions.
const declareMildHold = `DECLARE waybill_hold CURSOR WITH HOLD FOR SELECT CAST(
	'this transaction is committed by Waybill alone' || left(random()::text, 0) AS integer)`

// Hold opens a cursor at which every COMMIT but the owner's fails. After a ROLLBACK the
// cursor is gone, and the owner's CLOSE fails. Where a server knows no such cursors
// (CockroachDB), the transaction is only watched.
func (dialect) Hold(_ string, _ *sql.TxOptions, readWrite bool) []store.Hold {
	hold := func(name, declare string, joined bool) store.Hold {
		begin := []string{declare}
		switch {
		case readWrite && joined:
			begin = []string{setReadWrite + `; ` + declare}
		case readWrite:
			begin = []string{setReadWrite, declare}
		}
		return store.Hold{Name: name, Begin: begin, Unknown: noCursor, Refused: noWrites, Commit: []string{`CLOSE waybill_hold`}}
	}
	// Behind this one there is no other: what does not know its statement is taken as it is.
	nothing := store.Hold{Name: "nothing", Refused: func(err error) bool { return noWrites(err) || noCursor(err) }}
	if readWrite {
		nothing.Begin = []string{setReadWrite}
	}
	return []store.Hold{
		// pgx and lib/pq send as it is what has no arguments.
		hold("a cursor", declareHold, true), hold("a mild cursor", declareMildHold, true),
		// Drivers that prepare everything have one statement at a time.
		hold("a cursor", declareHold, false), hold("a mild cursor", declareMildHold, false),
		nothing,
	}
}

const setReadWrite = `SET TRANSACTION READ WRITE`

// noWrites knows the errors of SET TRANSACTION READ WRITE: during recovery, or in what is
// read-only already.
func noWrites(err error) bool {
	switch state(err) {
	case "0A000", "25001", "25006":
		return true
	}
	return false
}

// ReadOnlyDefault implements store.TransactionDialect.
func (dialect) ReadOnlyDefault() string { return "" }

// noCursor knows the errors of servers, and roles, that may not declare such a cursor: no
// such statement or function, not supported, not allowed.
func noCursor(err error) bool {
	switch state(err) {
	case "42601", "42883", "0A000", "42501":
		return true
	}
	return false
}

var (
	errIdle   = errors.New("COMMIT or ROLLBACK was sent as a statement")
	errFailed = errors.New("a statement has failed, its error was not returned, and PostgreSQL has given the transaction up")
)

// Watch reads what the server says of the transaction with every answer, as pgx keeps it.
func (dialect) Watch(driverConn any) store.Watch {
	state := connState(driverConn)
	if state == nil {
		return store.Watch{}
	}
	return store.Watch{Busy: state.IsBusy, Ended: func() error {
		switch state.TxStatus() {
		case 'I':
			return errIdle
		case 'E':
			return errFailed
		}
		return nil
	}}
}

// pgxState is what pgx's PgConn knows of its connection.
type pgxState interface {
	TxStatus() byte
	IsBusy() bool
}

// connState finds driverConn.Conn().PgConn(), which pgx's connections have; nil for other
// drivers'.
func connState(driverConn any) pgxState {
	m := reflect.ValueOf(pgxConn(driverConn)).MethodByName("PgConn")
	if !returnsOne(m) {
		return nil
	}
	state, _ := m.Call(nil)[0].Interface().(pgxState)
	return state
}

// pgxConn is driverConn.Conn(), or driverConn itself where it has no such method.
func pgxConn(driverConn any) any {
	if m := reflect.ValueOf(driverConn).MethodByName("Conn"); returnsOne(m) {
		v := m.Call(nil)[0]
		if v.Kind() == reflect.Pointer && v.IsNil() {
			return struct{}{}
		}
		return v.Interface()
	}
	return driverConn
}

func returnsOne(m reflect.Value) bool {
	return m.IsValid() && m.Type().NumIn() == 0 && m.Type().NumOut() == 1
}

// Probe is empty: outside of a transaction PostgreSQL refuses SAVEPOINT, but each
// savepoint that it takes costs the transaction another id.
func (dialect) Probe() store.Probe { return store.Probe{} }
