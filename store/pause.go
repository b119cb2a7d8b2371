package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// Pause says that a destination is paused: at the producer's side no relay sends anything to
// it, at the consumer's side no inbox takes anything from it. Relays and inboxes obey it, and
// its end, within two seconds. Nothing is lost meanwhile: rows and messages wait.
type Pause struct {
	Destination string
	Topic       bool
	// Consumer is the consumer group that takes nothing; "" for all that use the tables, and
	// at the producer's side.
	Consumer string
	By       string    // who has paused it, at most 255 bytes; waybill.BreakerName where it was a breaker
	Reason   string    // why, at most 1,000 bytes; "" where nobody has said
	Since    time.Time // by the database's clock
	Until    time.Time // by the same clock; zero: until somebody resumes it
}

// Lane is the pause's destination.
func (p *Pause) Lane() Lane { return Lane{Destination: p.Destination, Topic: p.Topic} }

// PauseDialect is the part of a Dialect for qpause and n_pause. Of a side that has no
// consumers, the producer's, consumer is "" in what is given and read.
type PauseDialect interface {
	// Pauses reads the pauses that are not over: consumer, destination, dest_type, paused_by,
	// reason, paused_at, paused_until, in order of destination, dest_type and consumer. They
	// are those of one consumer and those of all ("") or, where consumer is "", whosever.
	Pauses(n Names, side Side, consumer string) Statement
	// Pause writes a pause that begins now, in the place of the one that there is of its
	// consumer, destination and type; where keeps is set, only if that is over. It ends at
	// clock + length, or where length is 0 at until (µs; 0: by Resume alone).
	Pause(n Names, side Side, p *Pause, length, until int64, keeps bool) Statement
	// Resume deletes a destination's pauses that are not over: a consumer's or, where
	// consumer is "", whosever.
	Resume(n Names, side Side, consumer, destination string, topic bool) Statement
}

const (
	maxPauseReason = 1000
	maxPausedBy    = 255
	// unpausedFor is how long tables without a place for pauses are not asked for one.
	unpausedFor = time.Minute
)

// pausing is one side's pauses.
type pausing struct {
	sessions *sessions
	dialect  Dialect
	names    Names
	tables   *tables
}

func (q *Queue) pausing() pausing  { return pausing{q.sessions, q.dialect, q.names, &q.tables} }
func (l *Ledger) pausing() pausing { return pausing{l.sessions, l.dialect, l.names, &l.tables} }

// read returns the pauses; none where there is no table for them.
func (x pausing) read(ctx context.Context, consumer string) ([]Pause, error) {
	if x.tables.older.Load() || time.Now().UnixNano() < x.tables.unpaused.Load() {
		return nil, nil
	}
	var all []Pause
	err := x.sessions.each(ctx, x.sessions.reads, x.dialect.Pauses(x.names, x.tables.side, consumer), func(rows *sql.Rows) error {
		var p Pause
		var since, until int64
		if err := rows.Scan(&p.Consumer, &p.Destination, &p.Topic, &p.By, &p.Reason, &since, &until); err != nil {
			return err
		}
		p.Since = time.UnixMicro(since)
		if until > 0 {
			p.Until = time.UnixMicro(until)
		}
		all = append(all, p)
		return nil
	})
	if condition(x.dialect, err) == NoTable {
		// They were made before there was a table for it, and nobody could pause anything. Each
		// look would be an error in the server's log.
		x.tables.unpaused.Store(time.Now().Add(unpausedFor).UnixNano())
		return nil, nil
	}
	return all, wrap(x.dialect, x.tables.side, "read which destinations are paused", err)
}

// write pauses a destination.
func (x pausing) write(ctx context.Context, p Pause, length time.Duration, keeps bool) error {
	if err := waybill.CheckDestination(p.Destination); err != nil {
		return fmt.Errorf("waybill: pause %.80q: the name %w", p.Destination, err)
	}
	if p.Consumer != "" {
		if err := waybill.CheckConsumer(p.Consumer); err != nil {
			return fmt.Errorf("waybill: pause %.80q for the consumer %.80q: its name %w", p.Destination, p.Consumer, err)
		}
	}
	if length < 0 {
		return fmt.Errorf("waybill: pause %.80q for %v: use a time above 0, or 0 for until it is resumed", p.Destination, length)
	}
	if err := x.needTable(); err != nil {
		return err
	}
	p.By, p.Reason = validUTF8(p.By, maxPausedBy), validUTF8(p.Reason, maxPauseReason)
	until := int64(0)
	if !p.Until.IsZero() {
		until = p.Until.UnixMicro()
	}
	_, err := x.sessions.exec(ctx, x.sessions.writes, nil, x.dialect.Pause(x.names, x.tables.side, &p, length.Microseconds(), until, keeps))
	if err == nil {
		x.tables.unpaused.Store(0)
	}
	return wrap(x.dialect, x.tables.side, "pause a destination", err)
}

// end ends pauses, and reports whether there were any.
func (x pausing) end(ctx context.Context, consumer, destination string, topic bool) (bool, error) {
	if err := x.needTable(); err != nil {
		return false, err
	}
	n, err := x.sessions.exec(ctx, x.sessions.writes, nil, x.dialect.Resume(x.names, x.tables.side, consumer, destination, topic))
	return n > 0, wrap(x.dialect, x.tables.side, "resume a destination", err)
}

// needTable is an error where the tables are too old to have one.
func (x pausing) needTable() error {
	if !x.tables.older.Load() {
		return nil
	}
	newest := newestVersion(x.dialect, x.tables.side)
	return &waybill.SchemaError{Side: string(x.tables.side), Have: newest - 1, Want: newest}
}

// Pauses returns the destinations to which relays send nothing, in order of name. It waits
// for no lock. Tables that are Older have none, nor those of a version 2 that was made before
// there was a table for it: 'waybill init' adds
// that, and it is found within a minute.
func (q *Queue) Pauses(ctx context.Context) ([]Pause, error) { return q.pausing().read(ctx, "") }

// Pause has relays send nothing to a destination, in the place of what paused it before: for
// length from now by the database's clock or, where that is 0, until p.Until or, where that is
// zero, until Resume. p.Since and p.Consumer are ignored. It fails where the tables have
// no place for it; see Pauses.
func (q *Queue) Pause(ctx context.Context, p Pause, length time.Duration) error {
	p.Consumer = ""
	return q.pausing().write(ctx, p, length, false)
}

// PauseUnlessPaused is Pause for a destination that is not paused: a pause that there is stays
// as it is.
func (q *Queue) PauseUnlessPaused(ctx context.Context, p Pause, length time.Duration) error {
	p.Consumer = ""
	return q.pausing().write(ctx, p, length, true)
}

// Resume has relays go on with a destination; false says that it was not paused.
func (q *Queue) Resume(ctx context.Context, destination string, topic bool) (bool, error) {
	return q.pausing().end(ctx, "", destination, topic)
}

// Pauses returns the destinations from which this consumer's inboxes take nothing, in order
// of name: where it is paused for all consumers and for this one, both. It is otherwise as
// Queue.Pauses.
func (l *Ledger) Pauses(ctx context.Context) ([]Pause, error) {
	return l.pausing().read(ctx, l.consumer)
}

// PauseUnlessPaused has this consumer's inboxes take nothing from a destination, as
// Queue.PauseUnlessPaused does for relays.
func (l *Ledger) PauseUnlessPaused(ctx context.Context, p Pause, length time.Duration) error {
	p.Consumer = l.consumer
	return l.pausing().write(ctx, p, length, true)
}

// Pauses returns the destinations from which inboxes take nothing, in order of name: of all
// consumers, or where the Keeper has one those that are its.
func (k *Keeper) Pauses(ctx context.Context) ([]Pause, error) {
	return k.ledger.Pauses(ctx)
}

// Pause has inboxes take nothing from a destination: those of p.Consumer or, where that is "",
// of all consumers. It is otherwise as Queue.Pause.
func (k *Keeper) Pause(ctx context.Context, p Pause, length time.Duration) error {
	return k.ledger.pausing().write(ctx, p, length, false)
}

// Resume has inboxes go on with a destination: those of a consumer or, where that is "", all
// that are paused, be it one by one or together. false says that none was. A consumer goes on
// being paused as long as all of them are.
func (k *Keeper) Resume(ctx context.Context, consumer, destination string, topic bool) (bool, error) {
	return k.ledger.pausing().end(ctx, consumer, destination, topic)
}
