package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
)

const (
	// DefaultRetention is the least time that is safe for the messages of producers that
	// tell floors and wait for receipts: the tables take an id that is up to twelve hours
	// old, which leaves as much for the time from Send to the commit and for clocks that
	// step.
	DefaultRetention = 24 * time.Hour
	// DefaultForeignRetention is for all other messages, whose copies a broker may keep
	// for long.
	DefaultForeignRetention = 7 * 24 * time.Hour
)

// Retention is how long the records of Once stay.
type Retention struct {
	// Confirmed is for the messages from queues of an outbox that has an identity and tells
	// floors: its rows wait for the consumer's receipts, and hold the floor as long.
	Confirmed time.Duration
	// Foreign is for the messages of all others: programs that are no Waybill outbox,
	// relays of version 1, and destinations that are set to Accepted. Messages from topics
	// have the longer one of the two: an outbox waits only for those consumers of a topic
	// that it names.
	Foreign time.Duration
}

// Prune is PruneBy with one retention for all messages.
func (l *Ledger) Prune(ctx context.Context, now time.Time, retention time.Duration, limit int) (int64, error) {
	return l.PruneBy(ctx, now, Retention{Confirmed: retention, Foreign: retention}, limit)
}

// PruneBy forgets what may be forgotten: records of n1_record with an ID that is lower by
// the retention than their producer's floor, or than now (the database's clock) where that
// is lower; for a producer that has never told a floor, such as a program that is no
// Waybill outbox, now alone counts. Records of a producer that SaveFloor has not made known
// stay. It returns how many records are gone, also beside an error.
//
// A floor tells nothing of a message whose transaction was open when it was read; that
// transaction's id is lower by as long as it was open. The retention is taken off the floor
// and not only off the clock, so that such a message is never below the horizon, however
// long it takes to arrive.
//
// Each producer's horizon is committed before the first record below it goes, so
// a guard that misses a record because it was pruned always finds the horizon.
// What lies between each producer's horizons of the last passes and its present one is then
// passed once, in windows of limit records (above 0) of the primary key, each a read that locks no rows and
// transactions that delete what it found. So there is no index that pruning alone would
// need and every message would pay for. What lies below the lowest horizon is passed as a
// whole when a process begins and once in several hours; what lies between two producers'
// horizons is not, whoever begins.
//
// So where a pass ends too early, such as by the death of its process, records may stay. They
// go when another producer's horizon passes them, and at the latest when the lowest one has.
// Where that one stands still, since its outbox is held or is no more, each pass looks
// through some of what is older than the longer retention, too.
//
// Messages that wait in n_rejected for their next try hold the horizons of sources without
// an identity, as rows that are pending hold their outbox's floor. So the tables have to
// be those that CheckSchema has found.
//
// n2_record stays, one row a key as in the producer's qmessage_key: a key's older
// states may come at any time (sent again by a person under a new id, delayed, or
// another producer's), and only the record of the newer one keeps them out. ForgetKeys
// forgets keys that are idle, where that is wanted.
func (l *Ledger) PruneBy(ctx context.Context, now time.Time, retention Retention, limit int) (int64, error) {
	if limit <= 0 {
		return 0, errors.New("waybill: prune records: the limit of a batch must be above 0")
	}
	known, err := l.Horizons(ctx)
	if err != nil {
		return 0, err
	}
	// What is kept in this moment, and is as old as the retention, may be passed all the same.
	// Then it is rejected, and kept for a person.
	waiting, err := l.lowestWaiting(ctx)
	if err != nil {
		return 0, err
	}
	horizons := make(map[string]waybill.ID, len(known))
	for _, h := range known {
		horizons[h.Producer] = h.ID
		if horizon := horizonOf(h, known, waiting, now, retention); horizon.Compare(h.ID) > 0 {
			horizons[h.Producer] = horizon
		}
	}
	l.passes.meet(known, horizons)
	for _, h := range known {
		if horizons[h.Producer] == h.ID {
			continue
		}
		save := l.dialect.SaveHorizon(l.names, l.consumer, h.Producer, horizons[h.Producer])
		crash.Point("store.horizon.before")
		_, err := l.sessions.exec(ctx, l.sessions.writes, nil, save)
		crash.Point("store.horizon.after")
		if err != nil {
			return 0, wrap(l.dialect, Consumer, "store a horizon", err)
		}
	}
	due, whole := l.passes.next(horizons)
	var deleted int64
	for _, r := range due {
		n, err := l.pruneOnce(ctx, r, limit)
		deleted += n
		if err != nil {
			return deleted, err
		}
	}
	if len(due) > 0 {
		l.passes.done(horizons, whole)
	}
	old := waybill.LowestID(now.Add(-max(retention.Confirmed, retention.Foreign)))
	n, err := l.pruneStrays(ctx, horizons, old, limit)
	return deleted + n, err
}

// horizonOf is what a producer's horizon may rise to. waiting is the lowest id of the messages
// that wait in n_rejected for their next try, zero for none: nobody else keeps them, and
// none of them comes from an outbox that is identified.
func horizonOf(h Horizon, known []Horizon, waiting waybill.ID, now time.Time, retention Retention) waybill.ID {
	age := retention.Foreign
	switch kindOf(h.Producer) {
	case identified:
		age = retention.Confirmed
	case subscribed:
		age = max(age, retention.Confirmed)
	}
	until := now
	if floor := effectiveFloor(h, known); !mutant.ForgetByClock && !floor.IsZero() && floor.Time().Before(until) {
		until = floor.Time()
	}
	until = until.Add(-age)
	if kindOf(h.Producer) <= anonymous && !waiting.IsZero() && waiting.Time().Before(until) {
		until = waiting.Time()
	}
	return waybill.LowestID(until)
}

// pruneOnce passes the records of a range.
func (l *Ledger) pruneOnce(ctx context.Context, r idRange, limit int) (int64, error) {
	var deleted int64
	for last, more := justBelow(r.from), true; more; {
		var n int64
		var err error
		last, more, n, err = l.pruneWindow(ctx, last, r.to, limit)
		deleted += n
		if err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// pruneStrays looks for strays where strays says, for some windows, and goes on there when it
// is called again.
func (l *Ledger) pruneStrays(ctx context.Context, horizons map[string]waybill.ID, old waybill.ID, limit int) (int64, error) {
	w, to := l.passes.strays(horizons, old)
	if to.IsZero() {
		return 0, nil
	}
	var deleted int64
	for range strayWindows {
		until := to
		if w.wrapped {
			until = justAbove(w.begun) // what is above, it has read before
		}
		at, more, n, err := l.pruneWindow(ctx, w.at, until, limit)
		deleted += n
		if err != nil {
			return deleted, err
		}
		if w.at = at; more {
			continue
		}
		if w.at = (waybill.ID{}); w.wrapped {
			w.ended = true
			break
		}
		w.wrapped = true
	}
	l.passes.strayed(w)
	return deleted, nil
}

// pruneWindow deletes what is old among the next records after an id. It returns the last of
// them, and whether there may be more.
func (l *Ledger) pruneWindow(ctx context.Context, after, below waybill.ID, limit int) (last waybill.ID, more bool, deleted int64, err error) {
	read, old, err := l.onceWindow(ctx, after, below, limit)
	if err != nil {
		return after, false, 0, wrap(l.dialect, Consumer, "prune records", err)
	}
	for batch := range batches(l.dialect, old) {
		n, err := l.remove(ctx, l.dialect.PruneOnce(l.names, l.consumer, batch))
		deleted += n
		if err != nil {
			return after, false, deleted, err
		}
	}
	if len(read) < limit {
		return after, false, deleted, nil
	}
	return read[len(read)-1], true, deleted, nil
}

// onceWindow reads the next records of n1_record after an id, and which of them are
// old: below their own producer's horizon.
func (l *Ledger) onceWindow(ctx context.Context, after, below waybill.ID, limit int) (read, old []waybill.ID, err error) {
	window := l.dialect.OnceWindow(l.names, l.consumer, after, below, limit)
	err = l.sessions.each(ctx, l.sessions.reads, window, func(rows *sql.Rows) error {
		var id waybill.ID
		var isOld bool
		if err := rows.Scan(&id, &isOld); err != nil {
			return err
		}
		read = append(read, id)
		if isOld {
			old = append(old, id)
		}
		return nil
	})
	return read, old, err
}

// remove runs a deletion in a transaction. Its isolation level is the guards', since
// at a stricter one it would fail where another deletion takes the same records, or
// hold off guards that write beside them.
func (l *Ledger) remove(ctx context.Context, s Statement) (int64, error) {
	crash.Point("store.forget.before")
	n, err := l.sessions.exec(ctx, l.sessions.writes, l.guardOptions(), s)
	crash.Point("store.forget.after")
	return n, wrap(l.dialect, Consumer, "prune records", err)
}
