package store

import (
	"context"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// Delete deletes the rows with these message ids, whatever their status, and returns
// how many there were: beside an error, how many are gone already. Calls that wait for
// their turn are made one, and one of them returns the number of all.
func (q *Queue) Delete(ctx context.Context, ids []waybill.ID) (int64, error) {
	for len(ids) > 0 {
		d, leads := q.deletions.join(ids)
		if leads {
			n, err := q.lead(ctx, d)
			return n, wrap(q.dialect, Producer, "delete confirmed messages", err)
		}
		select {
		case <-d.done:
		case <-ctx.Done():
			return 0, wrap(q.dialect, Producer, "delete confirmed messages", ctx.Err())
		}
		if !d.abandoned {
			return 0, wrap(q.dialect, Producer, "delete confirmed messages", d.err)
		}
	}
	return 0, nil
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
		return 0, ctx.Err()
	}
	for batch := range batches(q.dialect, d.ids) {
		st := q.dialect.Delete(q.names, batch)
		err := q.sessions.runNow(ctx, nil, func(on Session) (begun bool, err error) {
			result, err := on.ExecContext(ctx, st.SQL, st.Args...)
			if err != nil {
				return false, err
			}
			n, err := result.RowsAffected()
			deleted += n
			return true, err
		})
		if err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// CountCopies adds one to Retry of the rows with these ids.
func (q *Queue) CountCopies(ctx context.Context, ids []int64) error {
	for batch := range batches(q.dialect, ids) {
		if _, err := q.exec(ctx, "count copies", q.dialect.CountCopies(q.names, batch)); err != nil {
			return err
		}
	}
	return nil
}

// Reject keeps a pending row for a person, with the reason (cut to 4000 bytes): it is
// not sent any more. It reports whether there was such a row; a second rejection
// changes nothing.
func (q *Queue) Reject(ctx context.Context, id waybill.ID, reason string) (bool, error) {
	n, err := q.exec(ctx, "reject a message", q.dialect.Reject(q.names, id, clip(reason)))
	return n > 0, err
}

// Postpone schedules a pending row's next copy for the database's clock plus delay,
// counts one more copy and adds failures to those of its consumer's handler. With tries
// above 0 it does nothing where as many have been counted already, as of a receipt that
// comes twice. The reason (cut to 4000 bytes) is its LastError from then on. It reports
// whether there was such a row.
func (q *Queue) Postpone(ctx context.Context, id waybill.ID, delay time.Duration, failures, tries int, reason string) (bool, error) {
	n, err := q.exec(ctx, "postpone a message", q.dialect.Postpone(q.names, id, delay.Microseconds(), failures, tries, clip(reason)))
	return n > 0, err
}
