package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/mutant"
)

// Count is the number of rows of one destination and status.
type Count struct {
	Destination string
	Topic       bool
	Status      int
	Rows        int64
	Oldest      waybill.ID // the lowest message id: its Time tells the age
	MaxRetry    int
}

// Count returns the rows' numbers by destination and status, in this order. It reads
// the whole table or an index of it, so its time grows with the backlog.
func (q *Queue) Count(ctx context.Context) ([]Count, error) {
	var counts []Count
	err := q.eachIn(ctx, q.sessions.helping, "count messages", q.dialect.Count(q.names), func(rows *sql.Rows) error {
		var c Count
		if err := rows.Scan(&c.Destination, &c.Topic, &c.Status, &c.Rows, &c.Oldest, &c.MaxRetry); err != nil {
			return err
		}
		counts = append(counts, c)
		return nil
	})
	return counts, err
}

// List reads at most limit rows of one status (Pending or Rejected) with id > after in
// order of id, with their bodies; destination "" stands for all.
func (q *Queue) List(ctx context.Context, destination string, status int, after int64, limit int) ([]Row, error) {
	rows, _, err := q.rows(ctx, "list messages", q.dialect.List(q.names, destination, status, after, limit), 0)
	return rows, err
}

// Find reads the rows with these message ids, whatever their status, in order of id.
func (q *Queue) Find(ctx context.Context, ids []waybill.ID) ([]Row, error) {
	return q.find(ctx, ids, q.dialect.Find)
}

func (q *Queue) find(ctx context.Context, ids []waybill.ID, statement func(Names, []waybill.ID) Statement) ([]Row, error) {
	var found []Row
	for batch := range batches(q.dialect, ids) {
		rows, _, err := q.rows(ctx, "find messages", statement(q.names, batch), 0)
		if err != nil {
			return nil, err
		}
		found = append(found, rows...)
	}
	slices.SortFunc(found, func(a, b Row) int { return cmp.Compare(a.ID, b.ID) })
	return found, nil
}

// Resend puts a rejected row back to work, due now and with its failures forgotten,
// and returns its message id; false says that there is no such rejected row.
//
// The id stays, since copies of the message may still be under way, and consumers
// that drop what they have seen must know them for the same message. asNew gives it a
// new one, for a message that its consumer rejects for ever because it has forgotten
// what it knew of it (waybill.ReasonForgotten). Nothing keeps that one from a second
// effect: the caller has to know better.
//
// Where named consumers have answered, those that have rejected the message are asked
// again and the others' confirmations stay. Under a new id it is a new message for all.
func (q *Queue) Resend(ctx context.Context, id waybill.ID, asNew bool) (waybill.ID, bool, error) {
	newID := id
	if asNew || mutant.ResendAsNew {
		newID = waybill.NewID()
	}
	forget := q.dialect.DeleteRejections(q.names, id)
	if newID != id {
		forget = q.dialect.DeleteAnswers(q.names, []waybill.ID{id})
	}
	n, err := q.execBoth(ctx, "send a rejected message again", q.dialect.Resend(q.names, id, newID), forget)
	return newID, n > 0, err
}

// Discard deletes a rejected row, and who has confirmed it; false says that there is no such rejected row.
func (q *Queue) Discard(ctx context.Context, id waybill.ID) (bool, error) {
	n, err := q.execBoth(ctx, "discard a rejected message", q.dialect.Discard(q.names, id), q.dialect.DeleteAnswers(q.names, []waybill.ID{id}))
	return n > 0, err
}
