package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// Queue is the producer's tables: what the relay and the commands ask of them.
// It is safe for concurrent use. Errors are wrapped with what was being done, and a
// missing table is a *waybill.SchemaError. A statement that has lost to another
// transaction is run again a few times; otherwise no method retries.
//
// A Queue depends on none of the settings of its pool's sessions: neither on their
// isolation level nor on autocommit, time-outs or sql_mode. It has at most 13 statements
// under way at a time. On MySQL and MariaDB it keeps up to as many connections, in a pool
// with a bound up to a quarter of that, and closes them when they have been idle for some
// seconds, or in CloseIdle.
type Queue struct {
	dialect   Dialect
	names     Names
	sessions  *sessions
	tables    tables
	deletions deletions
	fit       atomic.Int64 // see pages
	wary      atomic.Int64 // ns since the Unix epoch: nobody waits for locks until then
}

// NewQueue returns the producer's tables of db whose names have the prefix; NewNames
// has its rules. It asks nothing of the database: CheckSchema says whether the tables
// are there.
func NewQueue(db *sql.DB, dialect Dialect, prefix string) (*Queue, error) {
	if db == nil || dialect == nil {
		return nil, errors.New("waybill: a database and its dialect are required")
	}
	names, err := NewNames(prefix)
	if err != nil {
		return nil, err
	}
	return &Queue{dialect: dialect, names: names, sessions: newSessions(db, dialect), tables: tables{side: Producer}}, nil
}

// IsSmall says whether the pool has so few connections that a slow statement may keep others
// from having one.
func (q *Queue) IsSmall() bool { return q.sessions.isSmall() }

// Clock returns the database's clock in µs since the Unix epoch.
func (q *Queue) Clock(ctx context.Context) (int64, error) {
	var now int64
	_, err := q.row(ctx, "read the clock", q.dialect.Clock(), &now)
	return now, err
}

// Identity returns the outbox's random identity, which its tables have had since they were
// made: at least 16 lower-case letters and digits. It is "" where they are Older.
func (q *Queue) Identity(ctx context.Context) (string, error) {
	if q.Older() {
		return "", nil
	}
	var identity string
	found, err := q.row(ctx, "read the outbox's identity", q.dialect.Identity(q.names), &identity)
	if err == nil && !found {
		return "", fmt.Errorf("waybill: read the outbox's identity: %s has no row", q.names.Outbox)
	}
	return identity, err
}

// NoteTwin notes that another relay with this outbox's identity was heard now.
func (q *Queue) NoteTwin(ctx context.Context, holder string) error {
	if q.Older() {
		return nil
	}
	_, err := q.exec(ctx, "note a twin", q.dialect.NoteTwin(q.names, strings.ToValidUTF8(holder[:min(len(holder), 255)], "")))
	return err
}

// Twin returns the last relay that NoteTwin has noted, and how long ago that was; "" where
// there never was any.
func (q *Queue) Twin(ctx context.Context) (holder string, ago time.Duration, err error) {
	if q.Older() {
		return "", 0, nil
	}
	var us int64
	_, err = q.row(ctx, "read the last twin", q.dialect.Twin(q.names), &holder, &us)
	return holder, time.Duration(us) * time.Microsecond, err
}

// Floor returns the lowest message id of the pending rows; the zero ID if there
// are none.
func (q *Queue) Floor(ctx context.Context) (waybill.ID, error) {
	return q.FloorBelow(ctx, highestID)
}

// FloorBelow returns the lowest message id of the pending rows that is below an id;
// the zero ID if there is none. It reads the low end of an index; on SQLite that has the
// rejected rows, too. Rows that are deleted and not yet vacuumed away, as behind a transaction that
// is open for long, cost about a second a million where they are below; so a caller who
// needs to know of old rows alone asks for these.
func (q *Queue) FloorBelow(ctx context.Context, below waybill.ID) (waybill.ID, error) {
	var floor waybill.ID
	read := q.dialect.Floor
	if q.Older() {
		read = q.dialect.FloorUnindexed
	}
	_, err := q.rowIn(ctx, q.sessions.helping, "read the floor", read(q.names, below), &floor)
	return floor, err
}

// RejectedFloor returns the lowest message id, from an id on, of the rejected rows; the
// zero ID if there is none, and in older tables, which have no index for it.
func (q *Queue) RejectedFloor(ctx context.Context, from waybill.ID) (waybill.ID, error) {
	var floor waybill.ID
	if q.Older() {
		return floor, nil
	}
	_, err := q.rowIn(ctx, q.sessions.helping, "read the floor of rejected messages", q.dialect.RejectedFloor(q.names, from, highestID), &floor)
	return floor, err
}

// Rejection is the lowest message id of what was rejected in a part of time.
type Rejection struct {
	At     int64 // when the last of it was rejected, in µs by the database's clock
	Lowest waybill.ID
}

// Rejections returns the lowest message ids of the rows that were rejected from a time to
// before another one, in parts of time of this width, all in µs by the database's clock: none
// for a part without any, and none in older tables. What an older program has rejected is at the
// time at which it was last due, or at 0. It reads all rejected rows, but on MySQL and MariaDB.
func (q *Queue) Rejections(ctx context.Context, from, to, width int64) ([]Rejection, error) {
	if q.Older() {
		return nil, nil
	}
	var found []Rejection
	err := q.eachIn(ctx, q.sessions.helping, "read when messages were rejected", q.dialect.Rejections(q.names, from, to, width), func(rows *sql.Rows) error {
		var r Rejection
		err := rows.Scan(&r.At, &r.Lowest)
		found = append(found, r)
		return err
	})
	return found, err
}

// highestID is above every message's.
var highestID = waybill.ID(bytes.Repeat([]byte{0xff}, 16))

// Condition classifies an error that one of the methods returned.
func (q *Queue) Condition(err error) Condition { return condition(q.dialect, err) }

// CheckSchema returns a *waybill.SchemaError where the tables are missing, or of a version
// that this program cannot work with. Where they are Older than the program, the Queue
// works with them as they are from then on.
func (q *Queue) CheckSchema(ctx context.Context) error {
	return q.tables.check(ctx, q.sessions.reader(), q.dialect, q.names)
}

// CloseIdle closes the connections that are kept for the next statements. The Queue can
// be used again.
func (q *Queue) CloseIdle() { q.sessions.close() }

// exec returns the number of rows that the statement changed.
func (q *Queue) exec(ctx context.Context, doing string, s Statement) (int64, error) {
	changed, err := q.sessions.exec(ctx, q.sessions.writes, nil, s)
	return changed, wrap(q.dialect, Producer, doing, err)
}

func (q *Queue) row(ctx context.Context, doing string, s Statement, into ...any) (found bool, err error) {
	return q.rowIn(ctx, q.sessions.reads, doing, s, into...)
}

// rowIn reads one row, if there is one, in a turn of its own.
func (q *Queue) rowIn(ctx context.Context, turn chan struct{}, doing string, s Statement, into ...any) (found bool, err error) {
	err = q.sessions.each(ctx, turn, s, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(into...)
	})
	return found && err == nil, wrap(q.dialect, Producer, doing, err)
}

func (q *Queue) each(ctx context.Context, doing string, s Statement, scan func(*sql.Rows) error) error {
	return q.eachIn(ctx, q.sessions.reads, doing, s, scan)
}

// eachIn reads rows in a turn of that kind.
func (q *Queue) eachIn(ctx context.Context, turn chan struct{}, doing string, s Statement, scan func(*sql.Rows) error) error {
	return wrap(q.dialect, Producer, doing, q.sessions.each(ctx, turn, s, scan))
}

// batches splits what one statement of the dialect cannot take at once.
func batches[T any](dialect Dialect, all []T) iter.Seq[[]T] {
	return slices.Chunk(all, max(dialect.Capabilities().MaxBatch, 1))
}
