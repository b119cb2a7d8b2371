package store

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// TallyDialect is the part of a Dialect for counting without reading whole tables.
type TallyDialect interface {
	// Tally reads, of at most limit rows of a part of qmessage, the columns destination,
	// dest_type, status, count, the lowest message_id, the greatest retry, the lowest time
	// stamp that may be a time of the database's clock (FirstTime to a minute from now; null
	// for none), the number of pending rows that are not due, the first time at which one of
	// these is (null for none), the number of rows with failures, and the lowest and the
	// highest id; grouped by the first three, in any order. Only rows with above < id < below
	// count, but for RejectedRows. A database that goes on where nobody waits for it any more
	// is told to stop after some seconds.
	Tally(n Names, part TallyPart, above, below int64, limit int) Statement
	// TallyKept reads, of at most limit rows of n_rejected, consumer, dest_name, dest_type,
	// status, count and the lowest kept_at, grouped by the first four and in their order;
	// consumer "" stands for all.
	TallyKept(n Names, consumer string, limit int) Statement
	// TallyRecords reads how many records of Once and of Latest a consumer has, counting to
	// limit each: one row.
	TallyRecords(n Names, consumer string, limit int) Statement
	// NextConsumer reads the first consumer after a name that has records, by the index: one
	// row and column, null for none.
	NextConsumer(n Names, after string) Statement
}

// TallyPart says which rows of qmessage Tally reads.
type TallyPart int

const (
	OldestRows   TallyPart = iota // those with the lowest ids
	NewestRows                    // those with the highest ids
	RejectedRows                  // those that are rejected
)

// Tally is the number of rows of one destination and status, and what else a person wants to
// know of them.
type Tally struct {
	Destination string
	Topic       bool
	Status      int
	Rows        int64
	Oldest      waybill.ID // the lowest message id
	// Sent is when the first of these messages was sent, in µs by the database's clock. It
	// is told by the time stamps, or by the oldest id where senders give versions of their
	// own as time stamps.
	Sent int64
	// Delayed counts the pending rows that are not due yet, and Due is when the first of
	// these is, in µs; 0 where there is none.
	Delayed, Due int64
	MaxRetry     int
	Failed       int64 // rows that a consumer's handler has failed with
}

// Tallies are the numbers of an outbox's rows. What is bounded there may be more of, and
// there may be other destinations too.
type Tallies struct {
	Pending, Rejected               int64
	PendingBounded, RejectedBounded bool
	Destinations                    []Tally // by destination, queues first, and status
}

// tallyFew is how many rows a bounded tally reads first, to learn how long that takes: it may
// be long where rows are large, or where many that were deleted are not yet vacuumed away.
const tallyFew = 200

// Tally counts the outbox's rows, without reading more than limit of them for each status: of
// the pending rows half of these are the oldest, and half the newest ones. Beyond a few it
// reads those of each status for as long as within, and is bounded where it has come to there.
// With a limit of 0 it counts all, as Count does, which takes the longer the more there are.
func (q *Queue) Tally(ctx context.Context, limit int, within time.Duration) (Tallies, error) {
	pending, more, err := q.tallyEnds(ctx, limit, within)
	if err != nil {
		return Tallies{}, err
	}
	all := Tallies{PendingBounded: more, RejectedBounded: more, Destinations: pending.list()}
	if !q.Older() { // whose tables have no index for it everywhere
		rejected, more, err := q.tallyRejected(ctx, limit, within)
		if err != nil {
			return Tallies{}, err
		}
		isRejected := func(t Tally) bool { return t.Status == Rejected }
		all.Destinations = append(slices.DeleteFunc(all.Destinations, isRejected), rejected.list()...)
		all.RejectedBounded = more
	}
	slices.SortFunc(all.Destinations, compareTallies)
	for _, t := range all.Destinations {
		switch t.Status {
		case Pending:
			all.Pending += t.Rows
		case Rejected:
			all.Rejected += t.Rows
		}
	}
	return all, nil
}

// tallyEnds counts rows from both ends, a few first and then as many as there is time for.
func (q *Queue) tallyEnds(ctx context.Context, limit int, within time.Duration) (all tallies, more bool, err error) {
	all = tallies{}
	above, below := int64(math.MinInt64), int64(math.MaxInt64)
	if limit <= 0 {
		_, err := q.tally(ctx, all, q.dialect.Tally(q.names, OldestRows, above, below, math.MaxInt))
		return all, false, err
	}
	until := time.Now().Add(within)
	brief, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	rest := (limit + 1) / 2
	for page, first := min(tallyFew, rest), true; page > 0; first = false {
		asking, began := brief, time.Now()
		if first {
			asking = ctx
		}
		for _, part := range []TallyPart{OldestRows, NewestRows} {
			read, err := q.tally(asking, all, q.dialect.Tally(q.names, part, above, below, page))
			if err != nil && !first && brief.Err() != nil && ctx.Err() == nil {
				return all, true, nil // what was counted before is true
			}
			if err != nil || read.rows < int64(page) {
				return all, false, err
			}
			if part == OldestRows {
				above = read.last
			} else {
				below = read.first
			}
		}
		rest -= page
		page = fits(page, time.Since(began), time.Until(until), rest)
	}
	return all, true, nil
}

// fits is how many rows, of most, are read in half of the time that is left, where some took so
// long.
func fits(rows int, took, left time.Duration, most int) int {
	n := float64(rows) * left.Seconds() / max(took, time.Microsecond).Seconds() / 2
	return int(min(n, float64(most)))
}

// tallyRejected counts the rejected rows, of which there are few as a rule. They lie apart, so
// that each may be a page to read.
func (q *Queue) tallyRejected(ctx context.Context, limit int, within time.Duration) (all tallies, more bool, err error) {
	all = tallies{}
	if limit <= 0 {
		_, err := q.tally(ctx, all, q.dialect.Tally(q.names, RejectedRows, 0, 0, math.MaxInt))
		return all, false, err
	}
	began := time.Now()
	few := min(tallyFew, limit)
	read, err := q.tally(ctx, all, q.dialect.Tally(q.names, RejectedRows, 0, 0, few))
	if err != nil || read.rows < int64(few) {
		return all, false, err
	}
	most := fits(few, time.Since(began), within, limit)
	if most <= few {
		return all, true, nil
	}
	brief, cancel := context.WithDeadline(ctx, began.Add(within))
	defer cancel()
	again := tallies{}
	read, err = q.tally(brief, again, q.dialect.Tally(q.names, RejectedRows, 0, 0, most))
	if err != nil && brief.Err() != nil && ctx.Err() == nil {
		return all, true, nil
	}
	return again, read.rows == int64(most), err
}

// tallyRead is what one statement has counted.
type tallyRead struct {
	rows, first, last int64
}

// tally adds up what a statement of TallyDialect.Tally reads.
func (q *Queue) tally(ctx context.Context, all tallies, s Statement) (read tallyRead, err error) {
	read.first, read.last = math.MaxInt64, math.MinInt64
	err = q.eachIn(ctx, q.sessions.helping, "count messages", s, func(rows *sql.Rows) error {
		var t Tally
		var first, last int64
		var sent, due sql.NullInt64
		if err := rows.Scan(&t.Destination, &t.Topic, &t.Status, &t.Rows, &t.Oldest, &t.MaxRetry, &sent, &t.Delayed, &due, &t.Failed, &first, &last); err != nil {
			return err
		}
		t.Sent, t.Due = sent.Int64, due.Int64
		if !sent.Valid {
			t.Sent = t.Oldest.Time().UnixMicro()
		}
		read.rows, read.first, read.last = read.rows+t.Rows, min(read.first, first), max(read.last, last)
		all.add(&t)
		return nil
	})
	return read, err
}

func compareTallies(a, b Tally) int {
	topic := func(t Tally) int {
		if t.Topic {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.Destination, b.Destination), cmp.Compare(topic(a), topic(b)), cmp.Compare(a.Status, b.Status))
}

// tallyOf is what a Tally is of.
type tallyOf struct {
	destination string
	topic       bool
	status      int
}

// tallies add up what was read of several parts.
type tallies map[tallyOf]*Tally

func (all tallies) add(t *Tally) {
	of := tallyOf{t.Destination, t.Topic, t.Status}
	x := all[of]
	if x == nil {
		all[of] = t
		return
	}
	if t.Delayed > 0 && (x.Delayed == 0 || t.Due < x.Due) {
		x.Due = t.Due
	}
	if t.Oldest.Compare(x.Oldest) < 0 {
		x.Oldest = t.Oldest
	}
	x.Rows, x.Delayed, x.Failed = x.Rows+t.Rows, x.Delayed+t.Delayed, x.Failed+t.Failed
	x.Sent, x.MaxRetry = min(x.Sent, t.Sent), max(x.MaxRetry, t.MaxRetry)
}

func (all tallies) list() []Tally {
	list := make([]Tally, 0, len(all))
	for _, t := range all {
		list = append(list, *t)
	}
	return list
}

// KeptTally is the number of messages of one consumer, destination and status that are kept.
type KeptTally struct {
	Consumer    string
	Destination string
	Topic       bool
	Status      int // Pending or Rejected; see Kept
	Rows        int64
	Oldest      int64 // µs: when the first of these was kept
}

// Tally counts what is kept, in order of consumer, destination and status, of at most limit
// (above 0) messages; bounded says that there may be more.
func (k *Keeper) Tally(ctx context.Context, limit int) (all []KeptTally, bounded bool, err error) {
	l, read := k.ledger, int64(0)
	err = l.sessions.each(ctx, l.sessions.helping, l.dialect.TallyKept(l.names, l.consumer, limit), func(rows *sql.Rows) error {
		var t KeptTally
		err := rows.Scan(&t.Consumer, &t.Destination, &t.Topic, &t.Status, &t.Rows, &t.Oldest)
		read += t.Rows
		all = append(all, t)
		return err
	})
	return all, read == int64(limit), wrap(l.dialect, Consumer, "count kept messages", err)
}

// TallyRecords counts the consumer's records of both levels, to limit each; 0 for all of them,
// which takes the longer the more there are.
func (l *Ledger) TallyRecords(ctx context.Context, limit int) (once, latest int64, err error) {
	if limit <= 0 {
		limit = math.MaxInt
	}
	err = l.sessions.each(ctx, l.sessions.helping, l.dialect.TallyRecords(l.names, l.consumer, limit), func(rows *sql.Rows) error { return rows.Scan(&once, &latest) })
	return once, latest, wrap(l.dialect, Consumer, "count records", err)
}

// NextConsumer returns the first name after another one, by the database's order, of a
// consumer that has records; "" where there is none.
func (l *Ledger) NextConsumer(ctx context.Context, after string) (string, error) {
	var name sql.NullString
	err := l.sessions.each(ctx, l.sessions.helping, l.dialect.NextConsumer(l.names, after), func(rows *sql.Rows) error { return rows.Scan(&name) })
	return name.String, wrap(l.dialect, Consumer, "look for consumers", err)
}
