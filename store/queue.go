package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
)

// Queue is the producer's tables: what the relay and the commands ask of them.
// It is safe for concurrent use. No method retries; errors are wrapped with what
// was being done, and a missing table is a *waybill.SchemaError.
type Queue struct {
	db      *sql.DB
	dialect Dialect
	names   Names
	fit     atomic.Int64 // rows of a page that maxBytes held last time; 0: all
}

// NewQueue returns the producer's tables of db whose names have the prefix.
func NewQueue(db *sql.DB, dialect Dialect, prefix string) (*Queue, error) {
	if db == nil || dialect == nil {
		return nil, errors.New("waybill: a database and its dialect are required")
	}
	names, err := NewNames(prefix)
	if err != nil {
		return nil, err
	}
	return &Queue{db: db, dialect: dialect, names: names}, nil
}

// Insert writes rows in the caller's transaction and nothing else. The rows are
// ordered and split as the dialect asks here; rows of one key keep the order given.
func Insert(ctx context.Context, tx Tx, dialect Dialect, names Names, rows []NewRow) error {
	for part := range parts(sortByKey(rows), dialect.Capabilities().MaxBatch) {
		for _, s := range dialect.Insert(names, part) {
			if _, err := tx.ExecContext(ctx, s.SQL, s.Args...); err != nil {
				return wrap(dialect, Producer, "write messages", err)
			}
		}
	}
	return nil
}

// Scan reads rows with id > after in order of id, whatever their status, until
// limit rows or maxBytes of bodies are reached; at least one row if there is one.
func (q *Queue) Scan(ctx context.Context, after int64, limit, maxBytes int) ([]Row, error) {
	return q.pages(ctx, "scan messages", limit, maxBytes, func(last *Row, limit int) Statement {
		if last != nil {
			after = last.ID
		}
		return q.dialect.Scan(q.names, after, limit)
	})
}

// ScanDestination reads pending, due rows of one destination with after < id <=
// upTo in order of id, until limit rows or maxBytes of bodies are reached.
func (q *Queue) ScanDestination(ctx context.Context, destination string, topic bool, after, upTo int64, limit, maxBytes int) ([]Row, error) {
	return q.pages(ctx, "scan a destination", limit, maxBytes, func(last *Row, limit int) Statement {
		if last != nil {
			after = last.ID
		}
		return q.dialect.ScanDestination(q.names, destination, topic, after, upTo, limit)
	})
}

// ScanDue reads pending rows whose time has come after (notBefore, id), in that
// order, until limit rows or maxBytes of bodies are reached.
func (q *Queue) ScanDue(ctx context.Context, notBefore, id int64, limit, maxBytes int) ([]Row, error) {
	return q.pages(ctx, "scan due messages", limit, maxBytes, func(last *Row, limit int) Statement {
		if last != nil {
			notBefore, id = last.NotBefore, last.ID
		}
		return q.dialect.ScanDue(q.names, notBefore, id, limit)
	})
}

// Rows reads those of the ids that are pending, in order of id, until maxBytes of
// bodies are reached: a result may lack rows that are there, but never the first.
func (q *Queue) Rows(ctx context.Context, ids []int64, maxBytes int) ([]Row, error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	var found []Row
	for left := maxBytes; len(ids) > 0 && (left > 0 || maxBytes <= 0); {
		page := q.page(len(ids), maxBytes)
		rows, bytes, err := q.rows(ctx, "read messages", q.dialect.Rows(q.names, ids[:page]), left)
		if err != nil {
			return nil, err
		}
		found, ids = append(found, rows...), ids[page:]
		left -= bytes
		q.learn(page, len(rows), maxBytes > 0 && left <= 0)
	}
	return found, nil
}

// Sweep reads pending rows with after < id <= upTo in order of id, without
// headers and bodies.
func (q *Queue) Sweep(ctx context.Context, after, upTo int64, limit int) ([]Row, error) {
	rows, _, err := q.rows(ctx, "sweep messages", q.dialect.Sweep(q.names, after, upTo, limit), 0)
	return rows, err
}

// Delete deletes the rows with these message ids and returns how many there were.
func (q *Queue) Delete(ctx context.Context, ids []waybill.ID) (int64, error) {
	var deleted int64
	for chunk := range chunks(ids, q.dialect.Capabilities().MaxBatch) {
		n, err := q.exec(ctx, "delete confirmed messages", q.dialect.Delete(q.names, chunk))
		if err != nil {
			return deleted, err
		}
		deleted += n
	}
	return deleted, nil
}

// CountCopies adds one to retry of the rows with these ids.
func (q *Queue) CountCopies(ctx context.Context, ids []int64) error {
	for chunk := range chunks(ids, q.dialect.Capabilities().MaxBatch) {
		if _, err := q.exec(ctx, "count copies", q.dialect.CountCopies(q.names, chunk)); err != nil {
			return err
		}
	}
	return nil
}

// Reject keeps a pending row for a person: it is not sent any more. It reports
// whether there was such a row; a second rejection changes nothing.
func (q *Queue) Reject(ctx context.Context, id waybill.ID, reason string) (bool, error) {
	n, err := q.exec(ctx, "reject a message", q.dialect.Reject(q.names, id, clip(reason)))
	return n > 0, err
}

// Postpone schedules a pending row's next copy for the database's clock plus
// delay. It reports whether there was such a row.
func (q *Queue) Postpone(ctx context.Context, id waybill.ID, delay time.Duration, failures int, reason string) (bool, error) {
	n, err := q.exec(ctx, "postpone a message", q.dialect.Postpone(q.names, id, delay.Microseconds(), failures, clip(reason)))
	return n > 0, err
}

// Floor returns the lowest message id of the pending rows; the zero ID if there
// are none.
func (q *Queue) Floor(ctx context.Context) (waybill.ID, error) {
	return q.FloorBelow(ctx, highestID)
}

// FloorBelow returns the lowest message id of the pending rows that is below an id;
// the zero ID if there is none. Rows that are deleted and not yet vacuumed away, as
// behind a transaction that is open for long, cost about a second a million where
// they are below; so a caller who needs to know of old rows alone asks for these.
func (q *Queue) FloorBelow(ctx context.Context, below waybill.ID) (waybill.ID, error) {
	var floor waybill.ID
	_, err := q.row(ctx, "read the floor", q.dialect.Floor(q.names, below), &floor)
	return floor, err
}

// highestID is above every message's.
var highestID = waybill.ID(bytes.Repeat([]byte{0xff}, 16))

// Clock returns the database's clock in µs since the Unix epoch.
func (q *Queue) Clock(ctx context.Context) (int64, error) {
	var now int64
	_, err := q.row(ctx, "read the clock", q.dialect.Clock(), &now)
	return now, err
}

// AcquireLease tries to make holder the relay's leader for ttl and returns the
// lease as it is then.
func (q *Queue) AcquireLease(ctx context.Context, name, holder string, ttl time.Duration) (Lease, error) {
	for _, s := range q.dialect.AcquireLease(q.names, name, holder, ttl.Microseconds()) {
		crash.Point("store.lease.before")
		_, err := q.exec(ctx, "acquire the relay's lease", s)
		crash.Point("store.lease.after")
		if err != nil {
			return Lease{}, err
		}
	}
	return q.Lease(ctx, name)
}

// RenewLease extends holder's lease and stores its cursor; false says that holder
// has lost it.
func (q *Queue) RenewLease(ctx context.Context, name, holder string, ttl time.Duration, cursor int64) (bool, error) {
	if _, err := q.exec(ctx, "renew the relay's lease", q.dialect.RenewLease(q.names, name, holder, ttl.Microseconds(), cursor)); err != nil {
		return false, err
	}
	lease, err := q.Lease(ctx, name)
	return lease.Holder == holder && lease.Left > 0, err
}

// ReleaseLease gives holder's lease back and stores its cursor.
func (q *Queue) ReleaseLease(ctx context.Context, name, holder string, cursor int64) error {
	_, err := q.exec(ctx, "release the relay's lease", q.dialect.ReleaseLease(q.names, name, holder, cursor))
	return err
}

// Lease reads the relay's lease.
func (q *Queue) Lease(ctx context.Context, name string) (Lease, error) {
	var l Lease
	found, err := q.row(ctx, "read the relay's lease", q.dialect.Lease(q.names, name), &l.Holder, &l.Left, &l.Cursor)
	l.Present = found
	return l, err
}

// Count returns the rows' numbers by destination and status.
func (q *Queue) Count(ctx context.Context) ([]Count, error) {
	var counts []Count
	err := q.each(ctx, "count messages", q.dialect.Count(q.names), func(rows *sql.Rows) error {
		var c Count
		if err := rows.Scan(&c.Destination, &c.Topic, &c.Status, &c.Rows, &c.Oldest, &c.MaxRetry); err != nil {
			return err
		}
		counts = append(counts, c)
		return nil
	})
	return counts, err
}

// List reads rows of one status in order of id, with their bodies; destination ""
// stands for all.
func (q *Queue) List(ctx context.Context, destination string, status int, after int64, limit int) ([]Row, error) {
	rows, _, err := q.rows(ctx, "list messages", q.dialect.List(q.names, destination, status, after, limit), 0)
	return rows, err
}

// Find reads the rows with these message ids, whatever their status.
func (q *Queue) Find(ctx context.Context, ids []waybill.ID) ([]Row, error) {
	var found []Row
	for chunk := range chunks(ids, q.dialect.Capabilities().MaxBatch) {
		rows, _, err := q.rows(ctx, "find messages", q.dialect.Find(q.names, chunk), 0)
		if err != nil {
			return nil, err
		}
		found = append(found, rows...)
	}
	slices.SortFunc(found, func(a, b Row) int { return cmp.Compare(a.ID, b.ID) })
	return found, nil
}

// Resend puts a rejected row back to work and returns its message id; false says
// that there is no such rejected row.
//
// The id stays, since copies of the message may still be under way, and consumers
// that drop what they have seen must know them for the same message. asNew gives it a
// new one, for a message that its consumer rejects for ever because it has forgotten
// what it knew of it (waybill.ReasonForgotten). Nothing keeps that one from a second
// effect: the caller has to know better.
func (q *Queue) Resend(ctx context.Context, id waybill.ID, asNew bool) (waybill.ID, bool, error) {
	newID := id
	if asNew || mutant.ResendAsNew {
		newID = waybill.NewID()
	}
	n, err := q.exec(ctx, "send a rejected message again", q.dialect.Resend(q.names, id, newID))
	return newID, n > 0, err
}

// Discard deletes a rejected row; false says that there is no such rejected row.
func (q *Queue) Discard(ctx context.Context, id waybill.ID) (bool, error) {
	n, err := q.exec(ctx, "discard a rejected message", q.dialect.Discard(q.names, id))
	return n > 0, err
}

// Condition classifies an error that one of the methods returned.
func (q *Queue) Condition(err error) Condition { return condition(q.dialect, err) }

// CheckSchema returns a *waybill.SchemaError where the tables are missing or of
// another version.
func (q *Queue) CheckSchema(ctx context.Context) error {
	return CheckSchema(ctx, q.db, q.dialect, q.names, Producer)
}

func (q *Queue) exec(ctx context.Context, doing string, s Statement) (int64, error) {
	result, err := q.db.ExecContext(ctx, s.SQL, s.Args...)
	if err != nil {
		return 0, wrap(q.dialect, Producer, doing, err)
	}
	return result.RowsAffected()
}

func (q *Queue) row(ctx context.Context, doing string, s Statement, into ...any) (found bool, err error) {
	err = q.db.QueryRowContext(ctx, s.SQL, s.Args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, wrap(q.dialect, Producer, doing, err)
}

func (q *Queue) each(ctx context.Context, doing string, s Statement, scan func(*sql.Rows) error) error {
	return wrap(q.dialect, Producer, doing, each(ctx, q.db, s, scan))
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// each calls scan for each row that the statement returns, until it fails.
func each(ctx context.Context, db querier, s Statement, scan func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, s.SQL, s.Args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); errors.Is(err, errEnough) {
			return rows.Close()
		} else if err != nil {
			return err
		}
	}
	return rows.Err()
}

// wrap says what was being done when err came up; nil stays nil.
func wrap(dialect Dialect, side Side, doing string, err error) error {
	if err == nil {
		return nil
	}
	if dialect.Condition(err) == NoTable {
		return &waybill.SchemaError{Side: string(side), Want: latest(dialect, side), Err: err}
	}
	return fmt.Errorf("waybill: %s: %w", doing, err)
}

// maxReason is the greatest length of last_error, in bytes.
const maxReason = 4000

// clip shortens a reason to what last_error is meant to hold, in valid UTF-8.
func clip(reason string) string {
	return validUTF8(reason, maxReason)
}
