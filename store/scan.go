package store

import (
	"context"
	"database/sql"
	"slices"

	waybill "github.com/waybill-go/waybill"
)

// Scan reads rows with id > after in order of id, whatever their status, until
// limit rows or maxBytes of headers and bodies are reached (0 or less: no bound of
// bytes); at least one row if there is one.
func (q *Queue) Scan(ctx context.Context, after int64, limit, maxBytes int) ([]Row, error) {
	return q.scan(ctx, "scan messages", Row{ID: after}, limit, maxBytes, func(last Row, size int) Statement {
		return q.dialect.Scan(q.names, last.ID, size)
	})
}

// ScanDestination reads pending rows of one destination with after < id <= upTo that
// are due by the database's clock, in order of id; limit and maxBytes are Scan's.
func (q *Queue) ScanDestination(ctx context.Context, destination string, topic bool, after, upTo int64, limit, maxBytes int) ([]Row, error) {
	return q.scan(ctx, "scan a destination", Row{ID: after}, limit, maxBytes, func(last Row, size int) Statement {
		return q.dialect.ScanDestination(q.names, destination, topic, last.ID, upTo, size)
	})
}

// DueByMessageID is a Dialect whose index has delayed rows in order of their time and, where
// that is the same, of their message ids.
type DueByMessageID interface {
	// ScanDueByMessageID reads pending rows that have (not_before, message_id) > (notBefore, id)
	// and 0 < not_before <= clock, in that order, by an index.
	ScanDueByMessageID(n Names, notBefore int64, id waybill.ID, limit int) Statement
}

// Place is a row's place in the order of ScanDue, and in that of GlanceRejected. The zero
// Place stands before all.
type Place struct {
	NotBefore int64 // in µs since the Unix epoch
	ID        int64
	MessageID waybill.ID
}

// Place is the row's own place.
func (r *Row) Place() Place { return Place{NotBefore: r.NotBefore, ID: r.ID, MessageID: r.MessageID} }

// ScanDue reads pending rows that were delayed and have become due by the database's
// clock, those behind after alone, in order of NotBefore and, where that is the same, of
// ID or, with a DueByMessageID, MessageID; limit and maxBytes are Scan's.
func (q *Queue) ScanDue(ctx context.Context, after Place, limit, maxBytes int) ([]Row, error) {
	from := Row{NotBefore: after.NotBefore, ID: after.ID, MessageID: after.MessageID}
	return q.scan(ctx, "scan due messages", from, limit, maxBytes, func(last Row, size int) Statement {
		if d, ok := q.dialect.(DueByMessageID); ok && !q.Older() { // older tables have the index by id
			return d.ScanDueByMessageID(q.names, last.NotBefore, last.MessageID, size)
		}
		return q.dialect.ScanDue(q.names, last.NotBefore, last.ID, size)
	})
}

// ScanNewest reads at most limit pending rows with after < message id < below in order of
// message id, which is that of the times at which they were sent, without their Headers,
// Body and LastError.
func (q *Queue) ScanNewest(ctx context.Context, after, below waybill.ID, limit int) ([]Row, error) {
	rows, _, err := q.rowsIn(ctx, q.sessions.helping, "scan the newest messages", q.dialect.ScanNewest(q.names, after, below, limit), 0)
	return rows, err
}

// Lane is one destination: a queue or a topic.
type Lane struct {
	Destination string
	Topic       bool
}

// Passed is a row that ScanPast has read.
type Passed struct {
	ID     int64
	Before int64 // the id of the row before it; where it is less than ID - 1, ids are missing
	Wanted bool  // the row is pending, and not of a destination that was to be passed
}

// ScanPast walks over size rows with id > after in order of id, so it takes a bounded time
// however few of them are wanted: those that are pending and not of a destination in
// passed. It returns these and besides, so that the caller knows which ids are missing and
// how far it has come, each row before which an id is missing, and the last. At most
// 100 destinations are passed, those behind the first 100 are not.
func (q *Queue) ScanPast(ctx context.Context, passed []Lane, after int64, size int) (all []Passed, err error) {
	if passed = passed[:min(len(passed), maxPassed)]; len(passed) == 0 {
		passed = []Lane{{}} // no destination has this name
	}
	last := Passed{ID: after}
	told := true // last is in all, or need not be
	err = q.each(ctx, "scan past destinations", q.dialect.ScanPast(q.names, passed, after, size), func(rows *sql.Rows) error {
		last.Before = last.ID
		err := rows.Scan(&last.ID, &last.Wanted)
		if told = last.Wanted || last.Before < last.ID-1; told {
			all = append(all, last)
		}
		return err
	})
	if !told {
		all = append(all, last)
	}
	return all, err
}

const maxPassed = 100

// scan reads pages behind the row last. next builds the statement for the page of at
// most size rows behind a row.
func (q *Queue) scan(ctx context.Context, doing string, last Row, limit, maxBytes int, next func(last Row, size int) Statement) ([]Row, error) {
	p := pages{queue: q, doing: doing, limit: limit, maxBytes: maxBytes}
	for !p.full() {
		size := p.size()
		page, err := p.read(ctx, next(last, size), size)
		if err != nil {
			return nil, err
		}
		if len(page) < size {
			break
		}
		last = page[len(page)-1]
	}
	return p.rows, nil
}

// Rows reads those of the ids that are pending, in order of id, until maxBytes of
// headers and bodies are reached (0 or less: no bound): a result may lack rows that
// are there, but never the first.
func (q *Queue) Rows(ctx context.Context, ids []int64, maxBytes int) ([]Row, error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	p := pages{queue: q, doing: "read messages", limit: len(ids), maxBytes: maxBytes}
	for len(ids) > 0 && !p.full() {
		size := min(p.size(), len(ids))
		if _, err := p.read(ctx, q.dialect.Rows(q.names, ids[:size]), size); err != nil {
			return nil, err
		}
		ids = ids[size:]
	}
	return p.rows, nil
}

// Sweep reads at most limit pending rows with after < id <= upTo in order of id,
// without their Headers, Body and LastError.
func (q *Queue) Sweep(ctx context.Context, after, upTo int64, limit int) ([]Row, error) {
	rows, _, err := q.rowsIn(ctx, q.sessions.helping, "sweep messages", q.dialect.Sweep(q.names, after, upTo, limit), 0)
	return rows, err
}
