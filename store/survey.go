package store

import (
	"context"

	waybill "github.com/waybill-go/waybill"
)

// SurveyDialect is the part of a Dialect for pages that people look at. What it reads is
// bounded in rows, whatever number the tables have; what it writes depends on a row being as
// a person saw it. Rows are without headers and body, and of last_error and reason they have
// the first 500 characters.
type SurveyDialect interface {
	// Glance reads rows with id > from in order of id or, newest, with id < from in the
	// opposite order, whatever their status.
	Glance(n Names, from int64, newest bool, limit int) Statement
	// GlanceRejected reads rejected rows behind a place by an index that tables have from
	// version 2 on: in order of message_id or, where a DueByMessageID has the index for it,
	// of not_before and message_id. That costs as much as its rows, however many there are.
	GlanceRejected(n Names, after Place, limit int) Statement
	// ResendSeen is Resend under the row's own id, if its not_before is this one.
	ResendSeen(n Names, id waybill.ID, notBefore int64) Statement
	// DiscardSeen is Discard, if the row's not_before is this one.
	DiscardSeen(n Names, id waybill.ID, notBefore int64) Statement
	// GlanceKept reads rows of n_rejected with id > after in order of id.
	GlanceKept(n Names, after int64, limit int) Statement
	// ResendKeptSeen makes a rejected row of n_rejected pending, as ResendKept does under
	// its own id, if its tries are these.
	ResendKeptSeen(n Names, id int64, tries int) Statement
	// DiscardKeptSeen deletes a rejected row of n_rejected, if its tries are these.
	DiscardKeptSeen(n Names, id int64, tries int) Statement
}

// Glance reads at most limit rows with id > from in order of id or, newest, with id < from
// in the opposite order, whatever their status: without Headers and Body, and with the first
// 500 characters of LastError.
func (q *Queue) Glance(ctx context.Context, from int64, newest bool, limit int) ([]Row, error) {
	rows, _, err := q.rowsIn(ctx, q.sessions.helping, "look at messages", q.dialect.Glance(q.names, from, newest, limit), 0)
	return rows, err
}

// GlanceRejected reads at most limit rejected rows behind a row's place, as Glance does: in
// order of MessageID, or in that of ScanDue. It is a *waybill.SchemaError where the tables
// are Older.
func (q *Queue) GlanceRejected(ctx context.Context, after Place, limit int) ([]Row, error) {
	if q.Older() {
		return nil, &waybill.SchemaError{Side: string(Producer), Have: 1, Want: newestVersion(q.dialect, Producer)}
	}
	rows, _, err := q.rowsIn(ctx, q.sessions.helping, "look at rejected messages", q.dialect.GlanceRejected(q.names, after, limit), 0)
	return rows, err
}

// ResendSeen is Resend under the same id, for a rejected row whose NotBefore is as it was
// read. Every resend changes that, so of several people who have seen a row only the first
// sends it again, also where it was rejected again since.
func (q *Queue) ResendSeen(ctx context.Context, id waybill.ID, notBefore int64) (bool, error) {
	n, err := q.execBoth(ctx, "send a rejected message again", q.dialect.ResendSeen(q.names, id, notBefore), q.dialect.DeleteRejections(q.names, id))
	return n > 0, err
}

// DiscardSeen is Discard for a row whose NotBefore is as it was read; see ResendSeen.
func (q *Queue) DiscardSeen(ctx context.Context, id waybill.ID, notBefore int64) (bool, error) {
	n, err := q.execBoth(ctx, "discard a rejected message", q.dialect.DiscardSeen(q.names, id, notBefore), q.dialect.DeleteAnswers(q.names, []waybill.ID{id}))
	return n > 0, err
}

// Glance reads at most limit messages with ID > after in order of ID, of all consumers:
// without Headers and Body, and with the first 500 characters of Reason.
func (k *Keeper) Glance(ctx context.Context, after int64, limit int) ([]Kept, error) {
	l := k.ledger
	return l.keptRows(ctx, "look at kept messages", l.dialect.GlanceKept(l.names, after, limit))
}

// ResendSeen has a rejected message handled again whose Tries are as they were read, by its
// ID; false says that there is none. See Queue.ResendSeen.
func (k *Keeper) ResendSeen(ctx context.Context, id int64, tries int) (bool, error) {
	return k.change(ctx, "have a kept message handled again", k.ledger.dialect.ResendKeptSeen(k.ledger.names, id, tries))
}

// DiscardSeen deletes a rejected message whose Tries are as they were read, by its ID; false
// says that there is none.
func (k *Keeper) DiscardSeen(ctx context.Context, id int64, tries int) (bool, error) {
	return k.change(ctx, "discard a kept message", k.ledger.dialect.DiscardKeptSeen(k.ledger.names, id, tries))
}

func (k *Keeper) change(ctx context.Context, doing string, s Statement) (bool, error) {
	n, err := k.ledger.sessions.exec(ctx, k.ledger.sessions.writes, nil, s)
	return n > 0, wrap(k.ledger.dialect, Consumer, doing, err)
}
