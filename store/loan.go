package store

import (
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
)

// loan is the connection of a Transaction as others may use it: one at a time, and nobody
// once the transaction is being ended.
type loan struct {
	mu         sync.Mutex  // held while it is in use
	over       atomic.Bool // it is not lent any more
	driverConn any
}

// end lends the connection no more, and waits until it is not in use.
func (l *loan) end() {
	l.over.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock() // what was lent has come back
}

var (
	errLent  = errors.New("waybill: the transaction's connection is in use by another call, such as one that this one was made from")
	errTaken = errors.New("it has been committed or rolled back")
)

// OnConn calls f with the driver's connection that tx runs on, as sql.Conn.Raw shows it,
// for what only the driver can do: that is part of the transaction. tx has to be the SQL of
// a Transaction, as an inbox's handlers and InTx have it; found reports whether it is. While
// f runs, the transaction does not end and the connection is given to nobody else. f must
// not end the transaction, use tx, or keep the connection.
//
// Behind the transaction's end, also that by tx.Commit or tx.Rollback, f is not called
// and the error matches waybill.ErrTxEnded. Nor is it while another f runs, be it that this
// call comes from there.
func OnConn(tx *sql.Tx, f func(driverConn any) error) (found bool, err error) {
	t := heldTransaction(tx)
	if t == nil {
		return false, nil
	}
	if !t.loan.mu.TryLock() {
		if t.loan.over.Load() { // it is end that has it
			return true, &endedError{errTaken}
		}
		return true, errLent
	}
	defer t.loan.mu.Unlock()
	if t.loan.over.Load() || t.isDone() {
		return true, &endedError{errTaken}
	}
	return true, f(t.loan.driverConn)
}
