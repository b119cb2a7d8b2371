package store

import (
	"context"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// Delete deletes the rows with these message ids, whatever their status, and returns
// how many there were: beside an error, how many are gone already.
func (q *Queue) Delete(ctx context.Context, ids []waybill.ID) (int64, error) {
	var deleted int64
	for batch := range batches(q.dialect, ids) {
		n, err := q.exec(ctx, "delete confirmed messages", q.dialect.Delete(q.names, batch))
		if err != nil {
			return deleted, err
		}
		deleted += n
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
