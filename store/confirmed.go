package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	waybill "github.com/waybill-go/waybill"
)

// Answer is what one of a destination's named consumers has said of a message which
// others of them have not confirmed. A message that all confirm in time has none.
type Answer struct {
	MessageID waybill.ID
	Consumer  string
	Rejected  bool   // it will never take the message; else it has confirmed it
	Reason    string // why it has rejected it
	TimeStamp int64  // µs: when it was written, by the database's clock
}

// byMessage orders answers as all who write them lock them.
func byMessage(a, b Answer) int {
	return cmp.Or(a.MessageID.Compare(b.MessageID), cmp.Compare(a.Consumer, b.Consumer))
}

// SaveAnswers writes answers, but for those that others have locked, of which it returns a
// *LockedError (their reasons cut to 4000 bytes; TimeStamp is the
// database's). A confirmation stays whatever is said after it, since the effect has
// taken place; it takes the place of a rejection. Of two answers of a consumer on one
// message a confirmation counts, and otherwise the last.
func (q *Queue) SaveAnswers(ctx context.Context, answers []Answer) error {
	if q.Older() {
		return &waybill.SchemaError{Side: string(Producer), Have: 1, Want: newestVersion(q.dialect, Producer)}
	}
	locked := &LockedError{}
	for batch := range batches(q.dialect, onePerConsumer(answers)) {
		err := q.saveAnswers(ctx, batch)
		if q.isLocked(err) && len(batch) > 1 {
			for _, a := range batch { // one by one, so that nobody waits for what is locked
				if err = q.saveAnswers(ctx, []Answer{a}); q.isLocked(err) {
					locked.IDs, locked.Err, err = append(locked.IDs, a.MessageID), err, nil
				}
				if err != nil {
					break
				}
			}
		} else if q.isLocked(err) {
			locked.IDs, locked.Err, err = append(locked.IDs, batch[0].MessageID), err, nil
		}
		if err != nil {
			return wrap(q.dialect, Producer, "note who has confirmed", err)
		}
	}
	if len(locked.IDs) > 0 {
		locked.IDs = slices.Compact(locked.IDs)
		return locked
	}
	return nil
}

func (q *Queue) saveAnswers(ctx context.Context, answers []Answer) error {
	return q.sessions.inTurn(ctx, q.sessions.writes, func() error {
		_, err := q.settleAll(ctx, []Statement{q.dialect.SaveAnswers(q.names, answers)})
		return err
	})
}

// onePerConsumer returns the answers that count, in order.
func onePerConsumer(answers []Answer) []Answer {
	sorted := slices.Clone(answers)
	slices.SortStableFunc(sorted, func(a, b Answer) int {
		if order := byMessage(a, b); order != 0 || a.Rejected == b.Rejected {
			return order
		}
		if a.Rejected {
			return -1
		}
		return 1
	})
	kept := sorted[:0]
	for i, a := range sorted {
		if i+1 < len(sorted) && byMessage(a, sorted[i+1]) == 0 {
			continue
		}
		a.Reason = clip(a.Reason)
		kept = append(kept, a)
	}
	return kept
}

// Answers reads the answers on these messages, in order of message id and consumer.
func (q *Queue) Answers(ctx context.Context, ids []waybill.ID) ([]Answer, error) {
	if q.Older() {
		return nil, nil
	}
	var answers []Answer
	for batch := range batches(q.dialect, ids) {
		err := q.each(ctx, "read who has confirmed", q.dialect.Answers(q.names, batch), func(rows *sql.Rows) error {
			var a Answer
			var outcome int
			var reason sql.NullString
			if err := rows.Scan(&a.MessageID, &a.Consumer, &outcome, &reason, &a.TimeStamp); err != nil {
				return err
			}
			a.Rejected, a.Reason = outcome == Rejected, reason.String
			answers = append(answers, a)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(answers, byMessage)
	return answers, nil
}

// Answered reads the ids above after of messages on which there are answers, whether
// their rows are there or not, at most limit of them and in order.
func (q *Queue) Answered(ctx context.Context, after waybill.ID, limit int) ([]waybill.ID, error) {
	if q.Older() {
		return nil, nil
	}
	var ids []waybill.ID
	err := q.each(ctx, "read what some have confirmed", q.dialect.Answered(q.names, after, limit), func(rows *sql.Rows) error {
		var id waybill.ID
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	return ids, err
}

// ScanUnanswered reads pending rows of one destination with after < id <= upTo that are
// due by the database's clock, on which there are answers and none of this consumer, in
// order of id and at most limit of them, without their Headers, Body and LastError.
func (q *Queue) ScanUnanswered(ctx context.Context, destination string, topic bool, consumer string, after, upTo int64, limit int) ([]Row, error) {
	if q.Older() {
		return nil, nil
	}
	rows, _, err := q.rows(ctx, "scan what a consumer has not confirmed", q.dialect.ScanUnanswered(q.names, destination, topic, consumer, after, upTo, limit), 0)
	return rows, err
}

// FindBriefly is Find without the rows' Headers, Body and LastError.
func (q *Queue) FindBriefly(ctx context.Context, ids []waybill.ID) ([]Row, error) {
	return q.find(ctx, ids, q.dialect.FindBriefly)
}

// DeleteAnswers deletes all answers on these messages.
func (q *Queue) DeleteAnswers(ctx context.Context, ids []waybill.ID) error {
	if q.Older() {
		return nil
	}
	for batch := range batches(q.dialect, ids) {
		if _, err := q.exec(ctx, "forget who has confirmed", q.dialect.DeleteAnswers(q.names, batch)); err != nil {
			return err
		}
	}
	return nil
}

// DeleteAnswered is Delete for messages on which there may be answers: each batch goes
// with its answers in one transaction.
func (q *Queue) DeleteAnswered(ctx context.Context, ids []waybill.ID) (int64, error) {
	var deleted int64
	err := q.sessions.inTurn(ctx, q.sessions.writes, func() (err error) {
		deleted, err = q.settle(ctx, "delete confirmed messages", ids, func(ids []waybill.ID) []Statement {
			all := []Statement{q.dialect.Delete(q.names, ids)}
			if !q.Older() { // there is a place for answers
				all = append(all, q.dialect.DeleteAnswers(q.names, ids))
			}
			return all
		})
		return err
	})
	return deleted, err
}

// execBoth runs two statements in one transaction and returns how many rows the first
// has changed. Where it has changed none, the second does not run. It is one about answers,
// and does not run where there is no place for them.
func (q *Queue) execBoth(ctx context.Context, doing string, first, second Statement) (n int64, err error) {
	err = q.sessions.inOneTx(ctx, q.sessions.writes, func(tx Session) error {
		result, err := tx.ExecContext(ctx, first.SQL, first.Args...)
		if err == nil {
			n, err = result.RowsAffected()
		}
		if err == nil && n > 0 && !q.Older() {
			err = run(ctx, tx, second)
		}
		return err
	})
	if err != nil {
		return 0, wrap(q.dialect, Producer, doing, err)
	}
	return n, nil
}
