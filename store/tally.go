package store

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"

	waybill "github.com/waybill-go/waybill"
)

// TallyDialect is the part of a Dialect for counting without reading whole tables.
type TallyDialect interface {
	// Tally reads, of at most limit rows of a part of qmessage, the columns destination,
	// dest_type, status, count, the lowest message_id, the greatest retry, the lowest time
	// stamp that may be a time of the database's clock (FirstTime to a minute from now; null
	// for none), the number of pending rows that are not due, the first time at which one of
	// these is (null for none), and the greatest id; grouped by the first three. Only rows
	// with id > after count, but for RejectedRows.
	Tally(n Names, part TallyPart, after int64, limit int) Statement
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

	last int64 // the greatest row id
}

// Tallies are the numbers of an outbox's rows. What is bounded there may be more of, and
// there may be other destinations too.
type Tallies struct {
	Pending, Rejected               int64
	PendingBounded, RejectedBounded bool
	Destinations                    []Tally // by destination, queues first, and status
}

// Tally counts the outbox's rows, without reading more than limit of them for each status: of
// the pending rows half of these are the oldest, and half the newest ones. With a limit of 0
// it counts all, as Count does, which takes the longer the more there are.
func (q *Queue) Tally(ctx context.Context, limit int) (Tallies, error) {
	half := (limit + 1) / 2
	if limit <= 0 {
		limit, half = math.MaxInt, math.MaxInt
	}
	var all Tallies
	oldest, read, err := q.tally(ctx, OldestRows, 0, half)
	if err != nil {
		return all, err
	}
	if read == int64(half) {
		var last int64
		for _, t := range oldest {
			last = max(last, t.last)
		}
		newest, more, err := q.tally(ctx, NewestRows, last, half)
		if err != nil {
			return all, err
		}
		oldest, all.PendingBounded = mergeTallies(oldest, newest), more == int64(half)
	}
	all.Destinations, all.RejectedBounded = oldest, all.PendingBounded
	if !q.Older() { // whose tables have no index for it everywhere
		rejected, read, err := q.tally(ctx, RejectedRows, 0, limit)
		if err != nil {
			return all, err
		}
		all.RejectedBounded = read == int64(limit)
		isRejected := func(t Tally) bool { return t.Status == Rejected }
		all.Destinations = append(slices.DeleteFunc(oldest, isRejected), rejected...)
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

func (q *Queue) tally(ctx context.Context, part TallyPart, after int64, limit int) (all []Tally, read int64, err error) {
	err = q.eachIn(ctx, q.sessions.helping, "count messages", q.dialect.Tally(q.names, part, after, limit), func(rows *sql.Rows) error {
		var t Tally
		var sent, due sql.NullInt64
		if err := rows.Scan(&t.Destination, &t.Topic, &t.Status, &t.Rows, &t.Oldest, &t.MaxRetry, &sent, &t.Delayed, &due, &t.last); err != nil {
			return err
		}
		t.Sent, t.Due = sent.Int64, due.Int64
		if !sent.Valid {
			t.Sent = t.Oldest.Time().UnixMicro()
		}
		read += t.Rows
		all = append(all, t)
		return nil
	})
	return all, read, err
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

// mergeTallies adds up what was read of other rows.
func mergeTallies(all, more []Tally) []Tally {
	for _, t := range more {
		i := slices.IndexFunc(all, func(other Tally) bool { return compareTallies(t, other) == 0 })
		if i < 0 {
			all = append(all, t)
			continue
		}
		x := &all[i]
		if t.Delayed > 0 && (x.Delayed == 0 || t.Due < x.Due) {
			x.Due = t.Due
		}
		if t.Oldest.Compare(x.Oldest) < 0 {
			x.Oldest = t.Oldest
		}
		x.Rows, x.Delayed, x.Sent, x.MaxRetry = x.Rows+t.Rows, x.Delayed+t.Delayed, min(x.Sent, t.Sent), max(x.MaxRetry, t.MaxRetry)
	}
	return all
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
