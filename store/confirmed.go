package store

import (
	"cmp"
	"context"
	"database/sql"
	"math/rand/v2"
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
// *LockedError; where many of these are not committed, some others may be among them (their reasons cut to 4000 bytes; TimeStamp is the
// database's). A confirmation stays whatever is said after it, since the effect has
// taken place; it takes the place of a rejection. Of two answers of a consumer on one
// message a confirmation counts, and otherwise the last.
func (q *Queue) SaveAnswers(ctx context.Context, answers []Answer) error {
	if q.Older() {
		return &waybill.SchemaError{Side: string(Producer), Have: 1, Want: newestVersion(q.dialect, Producer)}
	}
	locked := &LockedError{}
	for batch := range batches(q.dialect, onePerConsumer(answers)) {
		if err := q.saveBatch(ctx, batch, locked); err != nil {
			return wrap(q.dialect, Producer, "note who has confirmed", err)
		}
	}
	if len(locked.IDs) > 0 {
		slices.SortFunc(locked.IDs, waybill.ID.Compare)
		locked.IDs = slices.Compact(locked.IDs)
		return locked
	}
	return nil
}

// maxInVain is how many waits in vain for the locks of others a batch of answers costs, one by one.
const maxInVain = 4

// saveBatch writes answers, as settleBatch does rows, and adds to locked those that it has left.
func (q *Queue) saveBatch(ctx context.Context, batch []Answer, locked *LockedError) error {
	if !q.isWary() {
		err := q.saveAnswers(ctx, batch)
		if !q.isLocked(err) {
			return err
		}
		locked.Err = err
	}
	left, err := q.saveUnlocked(ctx, batch)
	locked.IDs = append(locked.IDs, left...)
	if !q.isLocked(err) {
		return err
	}
	// What somebody has written and not committed, or the gap that it belongs into, no statement
	// sees, and to write the same waits for it. One by one, so that no other one does; and from
	// anywhere on, so that those that come behind many such have their turn with a next call.
	waits, first := 0, rand.N(len(batch))
	for i := range batch {
		a := batch[(first+i)%len(batch)]
		if len(batch) > 1 && waits < maxInVain {
			err = q.saveAnswers(ctx, []Answer{a})
		}
		switch {
		case waits == maxInVain:
			locked.IDs = append(locked.IDs, a.MessageID)
		case q.isLocked(err):
			waits++
			locked.IDs, locked.Err = append(locked.IDs, a.MessageID), err
		case err != nil:
			return err
		}
	}
	return nil
}

func (q *Queue) saveAnswers(ctx context.Context, answers []Answer) error {
	return q.sessions.inTurn(ctx, q.sessions.writes, func() error {
		_, err := q.settleAll(ctx, []Statement{q.dialect.SaveAnswers(q.names, answers)})
		return err
	})
}

// saveUnlocked writes answers but for those that others have locked, and returns the messages of
// these.
func (q *Queue) saveUnlocked(ctx context.Context, answers []Answer) (left []waybill.ID, err error) {
	ids := make([]waybill.ID, len(answers))
	for i, a := range answers {
		ids[i] = a.MessageID
	}
	err = q.sessions.inOneTx(ctx, q.sessions.writes, func(tx Session) error {
		left = nil
		locked, err := q.lockAnswers(ctx, tx, slices.Compact(ids))
		if err != nil {
			return err
		}
		free := make([]Answer, 0, len(answers))
		for _, a := range answers {
			if locked[answerKey{a.MessageID, a.Consumer}] {
				left = append(left, a.MessageID)
			} else {
				free = append(free, a)
			}
		}
		if len(free) == 0 {
			return nil
		}
		return run(ctx, tx, q.dialect.SaveAnswers(q.names, free))
	})
	if err != nil {
		return nil, err
	}
	return left, nil
}

// answerKey is what qconfirmed knows an answer by.
type answerKey struct {
	id       waybill.ID
	consumer string
}

// lockAnswers locks the answers on messages, but for those that others have locked, which it
// returns.
func (q *Queue) lockAnswers(ctx context.Context, tx Session, ids []waybill.ID) (locked map[answerKey]bool, err error) {
	free := map[answerKey]bool{}
	err = each(ctx, tx, q.dialect.UnlockedAnswers(q.names, ids), func(rows *sql.Rows) error {
		var k answerKey
		err := rows.Scan(&k.id, &k.consumer)
		free[k] = true
		return err
	})
	if err != nil {
		return nil, err
	}
	locked = map[answerKey]bool{}
	err = each(ctx, tx, q.dialect.Answers(q.names, ids), func(rows *sql.Rows) error {
		a, err := scanAnswer(rows)
		if k := (answerKey{a.MessageID, a.Consumer}); !free[k] {
			locked[k] = true
		}
		return err
	})
	return locked, err
}

func scanAnswer(rows *sql.Rows) (a Answer, err error) {
	var outcome int
	var reason sql.NullString
	err = rows.Scan(&a.MessageID, &a.Consumer, &outcome, &reason, &a.TimeStamp)
	a.Rejected, a.Reason = outcome == Rejected, reason.String
	return a, err
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
			a, err := scanAnswer(rows)
			answers = append(answers, a)
			return err
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
// with its answers in one transaction. One whose answers others have locked is locked, too.
func (q *Queue) DeleteAnswered(ctx context.Context, ids []waybill.ID) (int64, error) {
	var deleted int64
	err := q.sessions.inTurn(ctx, q.sessions.writes, func() (err error) {
		deleted, err = q.settle(ctx, "delete confirmed messages", ids, !q.Older(), func(ids []waybill.ID) []Statement {
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
