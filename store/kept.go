package store

import (
	"context"
	"database/sql"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// Kept is a message that a consumer keeps in n_rejected: one that it could not use, or
// whose next try is far off, and whose producer does not keep it.
type Kept struct {
	ID          int64      // the order in which messages were kept
	Consumer    string     // the Ledger's
	MessageID   waybill.ID // the message's own, or the one that it has here
	Destination string
	Topic       bool
	Key         string // "" where the message has none that is usable
	// Delivery is the broker's identity of the delivery, at most 255 characters: a
	// consumer keeps a destination's messages once for each.
	Delivery  string
	Headers   string // see EncodeHeaders
	Body      []byte
	Status    int    // Pending: to be handled again; Rejected: kept for a person
	Tries     int    // how often it came to be kept
	Failures  int    // tries that the handler has failed, of those that count
	NotBefore int64  // µs: not handled again earlier
	KeptAt    int64  // µs: when it was kept first, by the database's clock
	TriedAt   int64  // µs: when it was kept last
	Reason    string // why it was kept last
}

// KeptDialect is the part of a Dialect for n_rejected. What returns rows of it returns the
// columns id, consumer, message_id, dest_name, dest_type, business_mark, delivery, headers,
// message_content, status, tries, failures, not_before, kept_at, tried_at, reason, in this
// order. In what commands ask, the consumer "" stands for all.
type KeptDialect interface {
	// Keep inserts a row, due after a delay (µs, from the clock). Where there is one of its
	// consumer, destination, type and delivery, it only takes the reason, and counts the try.
	Keep(n Names, k *Kept, delay int64) Statement
	// TakeKept deletes a pending row.
	TakeKept(n Names, consumer string, id int64) Statement
	// KeepAgain sets what has become of a pending row: MessageID, Status, Failures and
	// Reason, and counts the try. It is due after a delay (µs, from the clock).
	KeepAgain(n Names, k *Kept, delay int64) Statement
	// DueKept reads id, dest_name, dest_type of pending rows with id > after that are due, in
	// order of id.
	DueKept(n Names, consumer string, after int64, limit int) Statement
	// CountWaiting reads the number of pending rows, counting to most at most: one row and
	// column.
	CountWaiting(n Names, consumer string, most int) Statement
	// LowestWaiting reads the lowest message_id of the pending rows, null where there is none:
	// one row and column. It walks the pending rows alone.
	LowestWaiting(n Names, consumer string) Statement
	// KeptRow reads a pending row that is due.
	KeptRow(n Names, consumer string, id int64) Statement
	// ListKept reads rows with id > after in order of id; destination "" stands for all, and
	// so does status -1.
	ListKept(n Names, consumer, destination string, status int, after int64, limit int) Statement
	// FindKept reads the rows of a message, in order of id.
	FindKept(n Names, consumer string, id waybill.ID) Statement
	// ResendKept makes the rejected rows of a message pending under newID, which may be its
	// id, due now and without failures.
	ResendKept(n Names, consumer string, id, newID waybill.ID) Statement
	// DiscardKept deletes the rejected rows of a message.
	DiscardKept(n Names, consumer string, id waybill.ID) Statement
}

// Keep stores messages in one transaction, for this consumer; of each, Status, MessageID,
// Destination, Topic, Key, Delivery, Headers, Body, Failures and Reason. delays say how long
// after now each is due, by position. A message that is kept already stays as it is; its
// Reason and the number of its Tries change.
func (l *Ledger) Keep(ctx context.Context, messages []Kept, delays []time.Duration) error {
	statements := make([]Statement, len(messages))
	for i := range messages {
		k := messages[i]
		k.Consumer, k.Reason = l.consumer, clip(k.Reason)
		if k.Body == nil {
			k.Body = []byte{}
		}
		statements[i] = l.dialect.Keep(l.names, &k, max(delays[i].Microseconds(), 0))
	}
	err := l.sessions.inOneTx(ctx, l.sessions.writes, func(tx Session) error { return run(ctx, tx, statements...) })
	return wrap(l.dialect, Consumer, "keep messages", err)
}

// TakeKept deletes a pending message in tx, which Begin opened, and reports whether it was
// there: it is gone where another process has handled it. It waits for transactions that
// take the same one; after an error tx must be rolled back.
func (l *Ledger) TakeKept(ctx context.Context, tx Session, id int64) (bool, error) {
	s := l.dialect.TakeKept(l.names, l.consumer, id)
	result, err := tx.ExecContext(ctx, s.SQL, s.Args...)
	if err != nil {
		return false, wrap(l.dialect, Consumer, "take a kept message", err)
	}
	n, err := result.RowsAffected()
	return n > 0, wrap(l.dialect, Consumer, "take a kept message", err)
}

// KeepAgain stores what has become of a message that was to be handled again: k's Status,
// MessageID, Failures and Reason. It is due after a delay. A message that is gone stays so.
func (l *Ledger) KeepAgain(ctx context.Context, k *Kept, delay time.Duration) error {
	again := *k
	again.Consumer, again.Reason = l.consumer, clip(k.Reason)
	_, err := l.sessions.exec(ctx, l.sessions.writes, nil, l.dialect.KeepAgain(l.names, &again, max(delay.Microseconds(), 0)))
	return wrap(l.dialect, Consumer, "keep a message again", err)
}

// DueKept returns the pending messages that are due with ID > after, in order of ID, at most
// limit of them: of each ID, Destination and Topic.
func (l *Ledger) DueKept(ctx context.Context, after int64, limit int) ([]Kept, error) {
	var found []Kept
	err := l.sessions.each(ctx, l.sessions.helping, l.dialect.DueKept(l.names, l.consumer, after, limit), func(rows *sql.Rows) error {
		var k Kept
		err := rows.Scan(&k.ID, &k.Destination, &k.Topic)
		found = append(found, k)
		return err
	})
	return found, wrap(l.dialect, Consumer, "look for kept messages", err)
}

// CountWaiting returns how many pending messages there are, or most if there are more.
func (l *Ledger) CountWaiting(ctx context.Context, most int) (int, error) {
	var n int
	err := l.sessions.each(ctx, l.sessions.reads, l.dialect.CountWaiting(l.names, l.consumer, most), func(rows *sql.Rows) error { return rows.Scan(&n) })
	return n, wrap(l.dialect, Consumer, "count kept messages", err)
}

// lowestWaiting returns the lowest MessageID of the pending messages, or the zero ID where
// there is none; tables of version 1 have none.
func (l *Ledger) lowestWaiting(ctx context.Context) (lowest waybill.ID, err error) {
	if l.Older() {
		return lowest, nil
	}
	err = l.sessions.each(ctx, l.sessions.reads, l.dialect.LowestWaiting(l.names, l.consumer), func(rows *sql.Rows) error { return rows.Scan(&lowest) })
	return lowest, wrap(l.dialect, Consumer, "look for kept messages", err)
}

// KeptRow returns a pending message that is due; nil where there is none of that ID.
func (l *Ledger) KeptRow(ctx context.Context, id int64) (*Kept, error) {
	found, err := l.keptRows(ctx, "read a kept message", l.dialect.KeptRow(l.names, l.consumer, id))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

func (l *Ledger) keptRows(ctx context.Context, doing string, s Statement) ([]Kept, error) {
	var found []Kept
	err := l.sessions.each(ctx, l.sessions.helping, s, func(rows *sql.Rows) error {
		var k Kept
		if err := rows.Scan(&k.ID, &k.Consumer, &k.MessageID, &k.Destination, &k.Topic, &k.Key, &k.Delivery, &k.Headers, &k.Body,
			&k.Status, &k.Tries, &k.Failures, &k.NotBefore, &k.KeptAt, &k.TriedAt, &k.Reason); err != nil {
			return err
		}
		if k.Body == nil { // as some drivers read an empty one
			k.Body = []byte{}
		}
		found = append(found, k)
		return nil
	})
	return found, wrap(l.dialect, Consumer, doing, err)
}

// Keeper is what commands ask of the messages that consumers keep in n_rejected: of one
// consumer, or of all. It is safe for concurrent use.
type Keeper struct{ ledger *Ledger }

// NewKeeper returns the kept messages in the tables of db whose names have the prefix: those
// of a consumer, or of all where that is "".
func NewKeeper(db *sql.DB, dialect Dialect, prefix, consumer string) (*Keeper, error) {
	l, err := NewLedger(db, dialect, prefix, consumer)
	if err != nil {
		return nil, err
	}
	return &Keeper{l}, nil
}

// CheckSchema is Ledger.CheckSchema, and an error, too, where the tables are Older: these
// keep nothing.
func (k *Keeper) CheckSchema(ctx context.Context) error {
	err := k.ledger.CheckSchema(ctx)
	if err == nil && k.ledger.Older() {
		newest := newestVersion(k.ledger.dialect, Consumer)
		err = &waybill.SchemaError{Side: string(Consumer), Have: newest - 1, Want: newest}
	}
	return err
}

// Clock returns the database's clock.
func (k *Keeper) Clock(ctx context.Context) (time.Time, error) { return k.ledger.Clock(ctx) }

// CloseIdle is Ledger.CloseIdle.
func (k *Keeper) CloseIdle() { k.ledger.CloseIdle() }

// AnyStatus stands for Pending and Rejected alike in Keeper.List.
const AnyStatus = -1

// List reads at most limit messages with ID > after in order of ID, with their bodies, of one
// status (Pending, Rejected or AnyStatus); destination "" stands for all.
func (k *Keeper) List(ctx context.Context, destination string, status int, after int64, limit int) ([]Kept, error) {
	l := k.ledger
	return l.keptRows(ctx, "list kept messages", l.dialect.ListKept(l.names, l.consumer, destination, status, after, limit))
}

// Find reads what is kept of a message: once for each consumer, destination and delivery.
func (k *Keeper) Find(ctx context.Context, id waybill.ID) ([]Kept, error) {
	l := k.ledger
	return l.keptRows(ctx, "find a kept message", l.dialect.FindKept(l.names, l.consumer, id))
}

// Resend has a rejected message handled again, by the next inbox that looks, with its failures
// forgotten; false says that there is no such rejected message. asNew gives it a new id, for
// one that its consumer rejects because it has forgotten what it knew of it
// (waybill.ReasonForgotten): nothing keeps that one from a second effect.
func (k *Keeper) Resend(ctx context.Context, id waybill.ID, asNew bool) (waybill.ID, bool, error) {
	newID := id
	if asNew {
		newID = waybill.NewID()
	}
	l := k.ledger
	n, err := l.sessions.exec(ctx, l.sessions.writes, nil, l.dialect.ResendKept(l.names, l.consumer, id, newID))
	return newID, n > 0, wrap(l.dialect, Consumer, "have a kept message handled again", err)
}

// Discard deletes a rejected message; false says that there is no such rejected message.
func (k *Keeper) Discard(ctx context.Context, id waybill.ID) (bool, error) {
	l := k.ledger
	n, err := l.sessions.exec(ctx, l.sessions.writes, nil, l.dialect.DiscardKept(l.names, l.consumer, id))
	return n > 0, wrap(l.dialect, Consumer, "discard a kept message", err)
}
