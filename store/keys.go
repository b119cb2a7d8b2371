package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Key is a key of one destination.
type Key struct {
	Destination string
	Topic       bool
	Key         string
}

// FirstTime is the least time stamp that is taken for a time, in µs since the Unix epoch:
// the year 2000. Lower ones are versions of a sender's own, which tell nothing of when a key
// was last used.
const FirstTime = 946_684_800_000_000

const (
	// LeastIdleSender is the least time for Queue.ForgetKeys.
	LeastIdleSender = 24 * time.Hour
	// LeastIdleState is the least time for Ledger.ForgetKeys. Guards ask what was forgotten
	// for states that are older than youngState alone, so it is longer than that by more
	// than clocks step.
	LeastIdleState = 7 * 24 * time.Hour
	youngState     = 24 * time.Hour
)

const (
	// maxBusyKeys bounds the keys that ForgetKeys remembers because they have rows.
	maxBusyKeys = 100_000
	// barrierTime is how long ForgetKeys waits for transactions that are open, and
	// barrierPause how often it looks.
	barrierTime  = time.Minute
	barrierPause = 50 * time.Millisecond
)

// ForgetKeys deletes the rows of qmessage_key of keys that were last used longer ago than
// idle (at least LeastIdleSender), by the database's clock, and of which qmessage has no
// row, limit of them (above 0) in a transaction. It returns how many are gone, also beside
// an error.
//
// The highest sequence and the highest time stamp of what is forgotten stay, for each
// destination, in a row of qmessage_key without a destination. A key that has no row, new or
// returning, goes on above both, through Send and through the trigger. They are committed
// before the first row goes. Where a statement does not see what was committed since its
// transaction or the statement itself began (PostgreSQL), the rows go when all transactions
// that were open then have ended: it waits a minute for that, and is an error after it.
//
// Keys whose time stamp is no time (FirstTime), but a version of the sender's own, stay.
func (q *Queue) ForgetKeys(ctx context.Context, idle time.Duration, limit int) (int64, error) {
	before, busy, err := q.busyKeys(ctx, idle, limit)
	if err != nil {
		return 0, err
	}
	_, err = q.exec(ctx, "keep what is above forgotten keys", q.dialect.KeepAboveKeys(q.names, before))
	if err != nil {
		return 0, err
	}
	if err := q.waitForOpen(ctx); err != nil {
		return 0, err
	}
	var deleted int64
	err = q.eachIdleKeys(ctx, before, limit, busy, func(idle []Key) error {
		for batch := range batches(q.dialect, idle) {
			n, err := q.exec(ctx, "forget keys", q.dialect.ForgetKeys(q.names, batch, before))
			deleted += n
			if err != nil {
				return err
			}
		}
		return nil
	})
	return deleted, wrap(q.dialect, Producer, "forget keys", err)
}

// busyKeys checks what ForgetKeys is given, and returns the time stamp before which keys are
// idle, and those of them that have messages.
func (q *Queue) busyKeys(ctx context.Context, idle time.Duration, limit int) (before int64, busy map[Key]bool, err error) {
	if idle < LeastIdleSender || limit <= 0 {
		return 0, nil, fmt.Errorf("waybill: forget keys: %v and %d rows at a time: a key has to be idle for %v at least, and the limit must be above 0", idle, limit, LeastIdleSender)
	}
	if err := q.CheckSchema(ctx); err != nil {
		return 0, nil, err
	}
	if q.Older() {
		return 0, nil, errOlder("forget keys", Producer)
	}
	now, err := q.Clock(ctx)
	if err != nil {
		return 0, nil, err
	}
	before, busy = now-idle.Microseconds(), map[Key]bool{}
	err = q.each(ctx, "read the keys of messages", q.dialect.BusyKeys(q.names, before, maxBusyKeys+1), func(rows *sql.Rows) error {
		var k Key
		err := rows.Scan(&k.Destination, &k.Topic, &k.Key)
		busy[k] = true
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	if len(busy) > maxBusyKeys {
		return 0, nil, fmt.Errorf("waybill: forget keys: more than %d keys have messages that are older than %v; have them delivered, or discard them, first", maxBusyKeys, idle)
	}
	return before, busy, nil
}

// eachIdleKeys hands out the idle keys without messages, a page of limit after the other.
func (q *Queue) eachIdleKeys(ctx context.Context, before int64, limit int, busy map[Key]bool, do func(idle []Key) error) error {
	return eachPage(limit, func(after Key) (idle []Key, last Key, read int, err error) {
		return q.sessions.keys(ctx, q.dialect.KeyPage(q.names, after, before, limit))
	}, func(idle []Key) error { return do(without(idle, busy)) })
}

// waitForOpen waits until the transactions that are open now have ended, where they may
// not see what is committed by now.
func (q *Queue) waitForOpen(ctx context.Context) error {
	s := q.dialect.OpenTransactions()
	if s.SQL == "" {
		return nil
	}
	open := func() (map[string]bool, error) {
		found := map[string]bool{}
		err := q.each(ctx, "read the open transactions", s, func(rows *sql.Rows) error {
			var name string
			err := rows.Scan(&name)
			found[name] = true
			return err
		})
		return found, err
	}
	waiting, err := open()
	for began := time.Now(); err == nil && len(waiting) > 0; {
		if time.Since(began) > barrierTime {
			return fmt.Errorf("waybill: forget keys: %d transactions have been open for more than %v; try again when they have ended", len(waiting), barrierTime)
		}
		pause(ctx, barrierPause)
		var now map[string]bool
		now, err = open()
		for name := range waiting {
			if !now[name] {
				delete(waiting, name)
			}
		}
	}
	return err
}

// ForgetKeys deletes the records of Latest of keys whose state is older than idle (at least
// LeastIdleState) by now, the database's clock, and whose message is below its producer's
// horizon, limit of them (above 0) in a transaction. It returns how many are gone, also
// beside an error.
//
// The highest time stamp of what is forgotten stays, for each destination, in a record
// without a destination, and is committed before the first one goes. From then on a state
// of that destination whose time stamp is not above it is Forgotten, whatever its key: it
// may be older than one that was forgotten. Its producer keeps it for a person. So this is
// for destinations whose states are stamped by the clock, as Send does: a destination stays
// as it is where any of its records has a time stamp that is no time (FirstTime, or more
// than a day ahead of now), and should not turn to versions of the sender's own later.
func (l *Ledger) ForgetKeys(ctx context.Context, now time.Time, idle time.Duration, limit int) (int64, error) {
	if idle < LeastIdleState || limit <= 0 {
		return 0, fmt.Errorf("waybill: forget states: %v and %d records at a time: a key has to be idle for %v at least, and the limit must be above 0", idle, limit, LeastIdleState)
	}
	if err := l.CheckSchema(ctx); err != nil {
		return 0, err
	}
	if l.Older() {
		return 0, errOlder("forget states", Consumer)
	}
	before, ahead := now.Add(-idle).UnixMicro(), now.Add(24*time.Hour).UnixMicro()
	_, err := l.sessions.exec(ctx, l.sessions.writes, l.guardOptions(), l.dialect.KeepAboveStates(l.names, l.consumer, before, ahead))
	if err != nil {
		return 0, wrap(l.dialect, Consumer, "keep what is above forgotten states", err)
	}
	var deleted int64
	err = eachPage(limit, func(after Key) (idle []Key, last Key, read int, err error) {
		return l.sessions.keys(ctx, l.dialect.StatePage(l.names, l.consumer, after, before, limit))
	}, func(idle []Key) error {
		for batch := range batches(l.dialect, idle) {
			n, err := l.remove(ctx, l.dialect.ForgetStates(l.names, l.consumer, batch, before))
			deleted += n
			if err != nil {
				return err
			}
		}
		return nil
	})
	return deleted, wrap(l.dialect, Consumer, "forget states", err)
}

// errOlder says that tables of an older version have no place for what is to be kept.
func errOlder(doing string, side Side) error {
	return fmt.Errorf("waybill: %s: the %s's tables are of an older version: run 'waybill init --side %s' when no older program uses them any more", doing, side, side)
}

// keys reads a page of keys, and which of them are idle.
func (s *sessions) keys(ctx context.Context, page Statement) (idle []Key, last Key, read int, err error) {
	err = s.each(ctx, s.reads, page, func(rows *sql.Rows) error {
		var isIdle bool
		if err := rows.Scan(&last.Destination, &last.Topic, &last.Key, &isIdle); err != nil {
			return err
		}
		read++
		if isIdle {
			idle = append(idle, last)
		}
		return nil
	})
	return idle, last, read, err
}

// eachPage reads pages of limit keys, one behind the other, and hands out the idle ones.
func eachPage(limit int, page func(after Key) (idle []Key, last Key, read int, err error), forget func(idle []Key) error) error {
	var after Key
	for {
		idle, last, read, err := page(after)
		if err == nil && len(idle) > 0 {
			err = forget(idle)
		}
		if err != nil || read < limit {
			return err
		}
		after = last
	}
}

func without(keys []Key, busy map[Key]bool) (others []Key) {
	for _, k := range keys {
		if !busy[k] {
			others = append(others, k)
		}
	}
	return others
}

// findForgottenStates turns Fresh into Forgotten for states that are not above what was
// forgotten of their destination's keys. Like findForgotten it reads after the records were
// written.
func (l *Ledger) findForgottenStates(ctx context.Context, tx Session, marks []Mark, verdicts []Verdict) error {
	young := l.youngFrom()
	old := false
	for i, v := range verdicts {
		old = old || v == Fresh && marks[i].TimeStamp < young
	}
	if !old {
		return nil
	}
	forgotten := map[Key]int64{}
	err := each(ctx, tx, l.dialect.ForgottenStates(l.names, l.consumer), func(rows *sql.Rows) error {
		var k Key
		var stamp int64
		err := rows.Scan(&k.Destination, &k.Topic, &stamp)
		forgotten[k] = stamp
		return err
	})
	if err != nil {
		return err
	}
	for i, v := range verdicts {
		stamp, some := forgotten[Key{Destination: marks[i].Destination, Topic: marks[i].Topic}]
		if some && v == Fresh && marks[i].TimeStamp <= stamp {
			verdicts[i] = Forgotten
		}
	}
	return nil
}

// refineLatest is what the guard of Latest does with its own answer. In older tables no keys
// were forgotten.
func (l *Ledger) refineLatest(read latestReader, older bool) refinement {
	superseded := l.findSuperseded(read)
	if older {
		return superseded
	}
	return func(ctx context.Context, tx Session, marks []Mark, verdicts []Verdict) error {
		if err := superseded(ctx, tx, marks, verdicts); err != nil {
			return err
		}
		return l.findForgottenStates(ctx, tx, marks, verdicts)
	}
}

// clockReading is when the database's clock was read last.
type clockReading struct {
	there time.Time // the database's
	here  time.Time // this process's; the zero time: it was not read
}

// youngFrom is the time stamp from which on no state can have been forgotten, as far as the
// database's clock is known: for what was read of it is trusted for a day.
func (l *Ledger) youngFrom() int64 {
	c := l.clock.Load()
	if c == nil || time.Since(c.here) > 24*time.Hour {
		return int64(^uint64(0) >> 1)
	}
	return c.there.Add(time.Since(c.here) - youngState).UnixMicro()
}
