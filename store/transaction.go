package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/mutant"
)

// Transaction is a transaction that only its owner ends: whoever calls Begin. Others may
// be given SQL: that one's Commit and Rollback, and statements that would end it, fail
// or are found out before anything is committed. It is for one goroutine.
type Transaction struct {
	beginner *Beginner
	dialect  Dialect
	db       *sql.DB
	conn     *sql.Conn
	tx       *sql.Tx
	hold     Hold
	watch    Watch
	// ended is why it cannot be committed any more; set once.
	ended error
	over  bool
	// caught says that Hold.Catch has run: nothing of the hold is left.
	caught bool
	// spoilt says that the connection is in a state that its pool must not see.
	spoilt atomic.Bool
	// loan is what others have the connection by; see OnConn.
	loan loan
	// forget ends what waits for the end of Begin's context.
	forget func()

	mu        sync.Mutex
	committed map[any]func(Execer, func()) // what AfterCommit was given
}

// held has the transactions that are open, by their *sql.Tx, so that Insert need not
// probe them.
var held sync.Map

// begin leaves the connection without a transaction where it fails.
func (t *Transaction) begin(ctx context.Context, o *sql.TxOptions) (err error) {
	options := o
	if t.hold.Plain {
		options = nil
	}
	// When ctx ends, database/sql rolls back beside whoever uses the connection by OnConn;
	// so it hears of that only when nobody does any more.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t.loan.end()
		cancel()
	})
	t.forget = func() {
		stop()
		cancel()
	}
	if t.tx, err = t.conn.BeginTx(own, options); err != nil {
		return err
	}
	for _, s := range t.hold.Begin {
		if _, err := t.exec(ctx, s); err != nil {
			_ = t.undo()
			return err
		}
	}
	err = t.conn.Raw(func(driverConn any) error {
		driverConn = unwrapped(driverConn)
		if !mutant.CommitUnchecked {
			t.watch = t.dialect.Watch(driverConn)
		}
		t.loan.driverConn = driverConn
		return nil
	})
	if err != nil {
		_ = t.undo()
		return err
	}
	held.Store(t.tx, t)
	return nil
}

// unwrapped is the driver's own connection beneath those of wrappers, as for traces, that show
// it as XSAM/otelsql does.
func unwrapped(driverConn any) any {
	for {
		wrapper, ok := driverConn.(interface{ Raw() driver.Conn })
		if !ok {
			return driverConn
		}
		inner := wrapper.Raw()
		if inner == nil {
			return driverConn
		}
		driverConn = inner
	}
}

// exec runs a statement on the transaction's connection. As long as the transaction is
// open it has to go through it: a sql.Conn whose connection breaks waits for what is open
// on it, and would wait for ever.
func (t *Transaction) exec(ctx context.Context, text string) (sql.Result, error) {
	result, err := t.tx.ExecContext(ctx, text)
	if errors.Is(err, sql.ErrTxDone) {
		return t.conn.ExecContext(ctx, text)
	}
	return result, err
}

// SQL is the transaction as handlers get it.
func (t *Transaction) SQL() *sql.Tx { return t.tx }

// ExecContext implements Session.
func (t *Transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	result, err := t.tx.ExecContext(ctx, query, args...)
	t.noteOwn(err)
	return result, err
}

// QueryContext implements Session.
func (t *Transaction) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := t.tx.QueryContext(ctx, query, args...)
	t.noteOwn(err)
	return rows, err
}

// Note takes an error of a statement that was run in the transaction; nil changes nothing.
// Where the connection takes no writes, as after a failover, it is closed in the end and
// not given back to its pool, which would hand it out again and again.
func (t *Transaction) Note(err error) {
	if err == nil || !t.dialect.ReadOnly(err) {
		return
	}
	t.spoilt.Store(true)
	t.beginner.refused()
}

// noteOwn is Note for a statement of Waybill's own.
func (t *Transaction) noteOwn(err error) {
	t.Note(err)
	if t.dialect.Misled(err) {
		t.spoilt.Store(true)
	}
}

// Intact returns nil as long as nothing that can be seen from here has ended the
// transaction, and otherwise an error that matches waybill.ErrTxEnded and says what has.
// It asks nothing of the database, unless nothing else holds or watches the transaction.
func (t *Transaction) Intact() error {
	_, err := t.look()
	return err
}

// look is Intact, and says whether a result has been left unread.
func (t *Transaction) look() (isBusy bool, err error) {
	if t.ended != nil || mutant.CommitUnchecked {
		return false, t.ended
	}
	var why error
	if t.watch.Ended != nil || t.watch.Busy != nil {
		// Under the connection's lock: where a context ends, database/sql rolls back beside this.
		_ = t.conn.Raw(func(any) error {
			if t.watch.Ended != nil {
				why = t.watch.Ended()
			}
			isBusy = t.watch.Busy != nil && t.watch.Busy()
			return nil
		})
	}
	switch {
	case t.isDone():
		why = errors.New("tx.Commit or tx.Rollback was called, or its context has ended")
	case t.watch.Ended == nil && len(t.hold.Commit) == 0:
		ctx, cancel := context.WithTimeout(context.Background(), rollbackTime)
		defer cancel()
		why = ask(ctx, t.tx, t.dialect.Probe())
	}
	t.end(why)
	return isBusy, t.ended
}

// isDone says whether database/sql takes the transaction to be committed or rolled back.
func (t *Transaction) isDone() bool {
	// A statement of no database is refused in any case, but with another error where the
	// transaction is still open.
	//nolint:sqlclosecheck // it is of no database, and Close says what is wrong with it
	return errors.Is(t.tx.StmtContext(context.Background(), new(sql.Stmt)).Close(), sql.ErrTxDone)
}

// Settled is Intact for the end of what others have done in the transaction: it returns
// an error, too, where they have left a result unread, which keeps it from being committed.
func (t *Transaction) Settled() error {
	isBusy, err := t.look()
	if err == nil && isBusy {
		return errBusy
	}
	return err
}

var errBusy = errors.New("waybill: a result of the transaction has not been closed (Rows, BatchResults): nothing can be committed before that")

// Alive reports whether the database still answers on the transaction's connection, be it
// with an error, and takes writes there. err is what has raised the question.
func (t *Transaction) Alive(ctx context.Context, err error) bool {
	if t.Note(err); t.dialect.ReadOnly(err) {
		return false
	}
	_, err = t.exec(ctx, `SELECT 1`)
	return err == nil || condition(t.dialect, err) != Unavailable
}

func (t *Transaction) end(why error) {
	if why != nil && t.ended == nil {
		t.ended = &endedError{why}
	}
}

// Commit commits the transaction if it is still the one that Begin began, and otherwise
// rolls back what there is and returns an error that matches waybill.ErrTxEnded. Any
// other error comes from the database, as from sql.Tx.Commit, and matches
// waybill.ErrConflict where the transaction has lost to another one.
func (t *Transaction) Commit(ctx context.Context) error {
	if t.over {
		return sql.ErrTxDone
	}
	t.loan.end()
	err := t.Settled()
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = t.close(context.WithoutCancel(ctx))
	}
	if err != nil {
		t.Note(err)
		_ = t.Rollback()
		return Conflicting(t.dialect, err)
	}
	if t.watch.Allow != nil {
		t.watch.Allow()
	}
	t.over = true
	err = t.tx.Commit()
	t.Note(err)
	if condition(t.dialect, err) == Unavailable && !t.dialect.Capabilities().SingleWriter {
		t.spoilt.Store(true) // no network lies before the other
	}
	t.after()
	if t.hold.Commits {
		if err != nil {
			t.spoilt.Store(true)
		}
		err = nil
	}
	t.lend()
	return Conflicting(t.dialect, err)
}

// lend gives the connection to those who wait for the commit, also where it is not known
// whether it took place. The last of them to be done gives it back to its pool.
func (t *Transaction) lend() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.committed) == 0 || t.spoilt.Load() {
		t.release(false)
		for _, f := range t.committed {
			f(t.db, func() {})
		}
		return
	}
	t.part()
	var left atomic.Int64
	left.Store(int64(len(t.committed)))
	for _, f := range t.committed {
		f(t.conn, sync.OnceFunc(func() {
			if left.Add(-1) == 0 {
				_ = t.conn.Close()
			}
		}))
	}
}

// AfterCommit has f called when tx has been committed, if tx is the SQL of a Transaction
// that is open; it reports whether it is. on is the connection that it was committed on,
// which f may run statements on until it calls done, be it later and from another goroutine,
// beside other keys' f; where that connection is of no use any more, on is its pool. f must
// not block. Of several calls with one key the last counts. f may be called, too, where the
// commit has failed, or may have.
func AfterCommit(tx Execer, key any, f func(on Execer, done func())) bool {
	t := heldTransaction(tx)
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.committed == nil {
		t.committed = map[any]func(Execer, func()){}
	}
	t.committed[key] = f
	return true
}

// Rollback rolls the transaction back; after Commit it does nothing. It returns nil, or,
// where that is found out only now, that the database had rolled it back already: an
// error that matches waybill.ErrConflict, since the database does so where a transaction
// has lost to another one.
func (t *Transaction) Rollback() error {
	if t.over {
		return nil
	}
	t.loan.end()
	t.over = true
	err := t.undo()
	t.release(false)
	return err
}

// Forsake has the connection closed in the end, and not given back to its pool: somebody
// may go on using it, who has it from the driver.
func (t *Transaction) Forsake() { t.spoilt.Store(true) }

// rollbackTime bounds what a rollback asks of a database that may be away: its end of
// the connection ends the transaction too.
const rollbackTime = 10 * time.Second

func (t *Transaction) undo() error {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTime)
	defer cancel()
	lost := t.unhold(ctx)
	wasDone := errors.Is(t.tx.Rollback(), sql.ErrTxDone)
	if t.ended != nil || t.caught && wasDone {
		// Of what a handler may have begun, or of Hold.Catch, which nobody else ends then.
		if _, err := t.exec(ctx, `ROLLBACK`); condition(t.dialect, err) == Unavailable {
			t.spoilt.Store(true)
		}
	}
	t.after()
	return lost
}

func (t *Transaction) after() {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTime)
	defer cancel()
	for _, s := range t.hold.After {
		if _, err := t.exec(ctx, s); err != nil {
			t.spoilt.Store(true)
		}
	}
	if release := t.watch.Release; release != nil {
		// Only while the connection is open: Raw does nothing on one that is not.
		_ = t.conn.Raw(func(any) error { release(); return nil })
	}
}

// part ends what the transaction has beside its connection.
func (t *Transaction) part() {
	if t.tx != nil {
		held.Delete(t.tx)
	}
	if t.forget != nil {
		t.forget()
	}
}

// release gives the connection back to its pool, or closes it where it is of no use.
func (t *Transaction) release(dead bool) {
	t.part()
	if t.spoilt.Load() || dead {
		discard(t.dialect, t.conn)
		return
	}
	_ = t.conn.Close()
}

// discard closes a connection in place of giving it back to its pool.
func discard(dialect Dialect, conn *sql.Conn) {
	_ = conn.Raw(func(driverConn any) error {
		if hangUp := dialect.Setup().HangUp; hangUp != nil {
			hangUp(unwrapped(driverConn))
		}
		return driver.ErrBadConn
	})
	_ = conn.Close()
}

// endedError matches waybill.ErrTxEnded.
type endedError struct{ why error }

func (e *endedError) Error() string {
	return fmt.Sprintf("waybill: the transaction has ended before its time: %v", e.why)
}
func (e *endedError) Unwrap() error        { return e.why }
func (e *endedError) Is(target error) bool { return target == waybill.ErrTxEnded }

// heldTransaction is the Transaction that tx belongs to; nil where it belongs to none.
func heldTransaction(tx Execer) *Transaction {
	if t, ok := held.Load(tx); ok {
		return t.(*Transaction)
	}
	return nil
}
