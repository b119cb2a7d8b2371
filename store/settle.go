package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// LockedError says that some rows were not written because other transactions hold locks
// of them, as a person's who looks at rows FOR UPDATE. All others are written: nobody
// waits for a lock for longer than two seconds.
type LockedError struct {
	IDs []waybill.ID // of their messages, in order
	Err error        // the database's own, where it was that which has told; else nil
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("waybill: %d rows are locked by other transactions, among them that of message %s: they are written when these have ended", len(e.IDs), e.IDs[0])
}

func (e *LockedError) Unwrap() error { return e.Err }

// waryTime is how long after a row was found locked nobody waits for the lock of another.
const waryTime = 10 * time.Second

// settle writes rows by their message ids, a batch in one transaction, without waiting
// for the locks of others for long: it returns how many rows the first of the statements has
// changed, and a *LockedError for those that are locked, or with answered those of which an answer
// is. The caller has a turn.
func (q *Queue) settle(ctx context.Context, doing string, ids []waybill.ID, answered bool, write func(ids []waybill.ID) []Statement) (changed int64, err error) {
	locked := &LockedError{}
	for batch := range batches(q.dialect, ids) {
		n, some, err := q.settleBatch(ctx, batch, answered, write, locked)
		changed += n
		if err != nil {
			return changed, wrap(q.dialect, Producer, doing, err)
		}
		locked.IDs = append(locked.IDs, some...)
	}
	if len(locked.IDs) == 0 {
		return changed, nil
	}
	slices.SortFunc(locked.IDs, waybill.ID.Compare)
	return changed, locked
}

func (q *Queue) settleBatch(ctx context.Context, ids []waybill.ID, answered bool, write func(ids []waybill.ID) []Statement, why *LockedError) (changed int64, locked []waybill.ID, err error) {
	if !q.isWary() {
		changed, err = q.settleAll(ctx, write(ids))
		if !q.isLocked(err) {
			return changed, nil, err
		}
		why.Err = err
	}
	err = q.sessions.inOneTxNow(ctx, func(tx Session) error {
		changed, locked = 0, nil
		free, err := readEach[waybill.ID](ctx, tx, q.dialect.Unlocked(q.names, ids))
		if err != nil {
			return err
		}
		if len(free) > 0 && answered {
			said, err := q.lockAnswers(ctx, tx, free)
			if err != nil {
				return err
			}
			for k := range said {
				free = slices.DeleteFunc(free, func(id waybill.ID) bool { return id == k.id })
			}
		}
		if len(free) > 0 {
			if changed, err = runFirst(ctx, tx, write(free)); err != nil {
				return err
			}
		}
		rest := slices.DeleteFunc(slices.Clone(ids), func(id waybill.ID) bool { return slices.Contains(free, id) })
		if len(rest) > 0 {
			locked, err = readEach[waybill.ID](ctx, tx, q.dialect.Present(q.names, rest))
		}
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	return changed, locked, nil
}

// settleAll runs statements in one transaction, and does not do so again where they have
// waited for a lock in vain.
func (q *Queue) settleAll(ctx context.Context, statements []Statement) (changed int64, err error) {
	run := func(on Session) (begun bool, err error) {
		changed, err = runFirst(ctx, on, statements)
		return err == nil || q.dialect.Locked(err), err
	}
	if len(statements) == 1 {
		err = q.sessions.runNow(ctx, nil, run)
	} else {
		err = q.sessions.runNow(ctx, nil, q.sessions.transacted(ctx, run))
	}
	if err != nil {
		return 0, err
	}
	return changed, nil
}

// runFirst runs statements and returns how many rows the first has changed.
func runFirst(ctx context.Context, on Session, statements []Statement) (changed int64, err error) {
	result, err := on.ExecContext(ctx, statements[0].SQL, statements[0].Args...)
	if err != nil {
		return 0, err
	}
	if changed, err = result.RowsAffected(); err != nil {
		return 0, err
	}
	return changed, run(ctx, on, statements[1:]...)
}

// isWary says whether a row was found locked lately.
func (q *Queue) isWary() bool { return time.Now().UnixNano() < q.wary.Load() }

// isLocked says whether a statement has waited in vain for the lock of a row, and notes it.
func (q *Queue) isLocked(err error) bool {
	if err == nil || !q.dialect.Locked(err) {
		return false
	}
	q.wary.Store(time.Now().Add(waryTime).UnixNano())
	return true
}

// readEach reads rows of one column.
func readEach[T any](ctx context.Context, on Session, s Statement) (ids []T, err error) {
	err = each(ctx, on, s, func(rows *sql.Rows) error {
		var id T
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	return ids, err
}

// settleOne is settle for one row, in a turn of its own. It reports whether there was such
// a row.
func (q *Queue) settleOne(ctx context.Context, doing string, id waybill.ID, s Statement) (bool, error) {
	var n int64
	err := q.sessions.inTurn(ctx, q.sessions.writes, func() (err error) {
		n, err = q.settle(ctx, doing, []waybill.ID{id}, false, func([]waybill.ID) []Statement { return []Statement{s} })
		return err
	})
	return n > 0, err
}

// Delete deletes the rows with these message ids, whatever their status, and returns
// how many there were: beside an error, how many are gone already. For those that others
// have locked, and for them alone, it is a *LockedError. Calls that wait for
// their turn are made one, and one of them returns the number of all.
func (q *Queue) Delete(ctx context.Context, ids []waybill.ID) (int64, error) {
	for len(ids) > 0 {
		d, leads := q.deletions.join(ids)
		if leads {
			n, err := q.lead(ctx, d)
			return n, errorOf(err, ids)
		}
		select {
		case <-d.done:
		case <-ctx.Done():
			return 0, wrap(q.dialect, Producer, "delete confirmed messages", ctx.Err())
		}
		if !d.abandoned {
			return 0, errorOf(d.err, ids)
		}
	}
	return 0, nil
}

// errorOf is what an error of a joined deletion says to the call for these ids: that others'
// rows are locked says nothing.
func errorOf(err error, ids []waybill.ID) error {
	var locked *LockedError
	if !errors.As(err, &locked) {
		return err
	}
	own := &LockedError{Err: locked.Err}
	for _, id := range locked.IDs {
		if slices.Contains(ids, id) {
			own.IDs = append(own.IDs, id)
		}
	}
	if len(own.IDs) == 0 {
		return nil
	}
	return own
}

// deletions joins calls of Delete, so that many small ones, as of many destinations, do
// not cost a commit each.
type deletions struct {
	mu      sync.Mutex
	waiting *deletion // nil while none waits for its turn
}

// deletion is some calls of Delete, which the first of them does for all.
type deletion struct {
	ids       []waybill.ID
	done      chan struct{}
	err       error
	abandoned bool // the first one's context ended before
}

// join adds ids to the deletion that waits for its turn, or begins one, which the caller
// leads then.
func (d *deletions) join(ids []waybill.ID) (joined *deletion, leads bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == nil {
		d.waiting, leads = &deletion{done: make(chan struct{})}, true
	}
	d.waiting.ids = append(d.waiting.ids, ids...)
	return d.waiting, leads
}

// close ends the joining.
func (d *deletions) close() {
	d.mu.Lock()
	d.waiting = nil
	d.mu.Unlock()
}

// lead does a deletion once it is its turn.
func (q *Queue) lead(ctx context.Context, d *deletion) (deleted int64, err error) {
	defer func() {
		d.err, d.abandoned = err, err != nil && ctx.Err() != nil
		close(d.done)
	}()
	select {
	case q.sessions.writes <- struct{}{}:
		defer func() { <-q.sessions.writes }()
		q.deletions.close()
	case <-ctx.Done():
		q.deletions.close()
		return 0, wrap(q.dialect, Producer, "delete confirmed messages", ctx.Err())
	}
	return q.settle(ctx, "delete confirmed messages", d.ids, false, func(ids []waybill.ID) []Statement {
		return []Statement{q.dialect.Delete(q.names, ids)}
	})
}

// CountCopies adds one to Retry of the rows with these ids, but for those that others have
// locked: nothing rests on that number.
func (q *Queue) CountCopies(ctx context.Context, ids []int64) error {
	for batch := range batches(q.dialect, ids) {
		err := q.sessions.inTurn(ctx, q.sessions.writes, func() error { return q.countCopies(ctx, batch) })
		if err != nil {
			return wrap(q.dialect, Producer, "count copies", err)
		}
	}
	return nil
}

func (q *Queue) countCopies(ctx context.Context, ids []int64) error {
	if !q.isWary() {
		_, err := q.settleAll(ctx, []Statement{q.dialect.CountCopies(q.names, ids)})
		if !q.isLocked(err) {
			return err
		}
	}
	return q.sessions.inOneTxNow(ctx, func(tx Session) error {
		free, err := readEach[int64](ctx, tx, q.dialect.UnlockedRows(q.names, ids))
		if err != nil || len(free) == 0 {
			return err
		}
		return run(ctx, tx, q.dialect.CountCopies(q.names, free))
	})
}

// Reject keeps a pending row for a person, with the reason (cut to 4000 bytes) and the
// database's clock as its NotBefore: it is not sent any more. It reports whether there was such a row; a second rejection
// changes nothing. Where others have locked it, that is a *LockedError.
func (q *Queue) Reject(ctx context.Context, id waybill.ID, reason string) (bool, error) {
	return q.settleOne(ctx, "reject a message", id, q.dialect.Reject(q.names, id, clip(reason)))
}

// Postpone schedules a pending row's next copy for the database's clock plus delay,
// counts one more copy and adds failures to those of its consumer's handler. With tries
// above 0 it does nothing where as many have been counted already, as of a receipt that
// comes twice. The reason (cut to 4000 bytes) is its LastError from then on. It reports
// whether there was such a row. Where others have locked it, that is a *LockedError.
func (q *Queue) Postpone(ctx context.Context, id waybill.ID, delay time.Duration, failures, tries int, reason string) (bool, error) {
	return q.settleOne(ctx, "postpone a message", id, q.dialect.Postpone(q.names, id, delay.Microseconds(), failures, tries, clip(reason)))
}
