package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
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
// need and every message would pay for, and the dead rows of earlier passes are not walked
// again, but for once in several hours.
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
		horizon := horizonOf(h, known, waiting, now, retention)
		if horizon.Compare(h.ID) <= 0 {
			horizons[h.Producer] = h.ID
			continue
		}
		horizons[h.Producer] = horizon
		save := l.dialect.SaveHorizon(l.names, l.consumer, h.Producer, horizon)
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
		n, err := l.pruneOnce(ctx, r.from, r.to, limit)
		deleted += n
		if err != nil {
			return deleted, err
		}
	}
	if len(due) > 0 {
		l.passes.done(horizons, whole)
	}
	return deleted, nil
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

// passes remembers what a process has pruned, so that it does not walk through it again.
// Of all that it says nothing depends but time.
type passes struct {
	mu sync.Mutex
	// last are the producers' horizons at the last pass, and before at the one before it.
	// A pass begins at those, since a guard that had read the lower horizon may have
	// written a record behind the last pass.
	last, before map[string]waybill.ID
	whole        time.Time // when a pass last began at the lowest id
}

// wholeEvery is the time between two passes that begin at the lowest id, for records that
// were written later still.
const wholeEvery = 6 * time.Hour

// idRange is the ids from one to below another one.
type idRange struct{ from, to waybill.ID }

// next returns where a pass has to look: between each producer's horizon of the pass before
// the last one and its present one, sorted and merged. What lies between two producers'
// horizons is not walked: it is a day of records or more where their retentions differ.
func (p *passes) next(horizons map[string]waybill.ID) (due []idRange, whole bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	whole = p.whole.IsZero() || time.Since(p.whole) >= wholeEvery
	for producer, horizon := range horizons {
		passed := p.before[producer]
		if whole {
			passed = waybill.ID{}
		}
		if horizon.Compare(passed) > 0 {
			due = append(due, idRange{passed, horizon})
		}
	}
	slices.SortFunc(due, func(a, b idRange) int { return a.from.Compare(b.from) })
	merged := due[:0]
	for _, r := range due {
		if n := len(merged); n > 0 && r.from.Compare(merged[n-1].to) <= 0 {
			if r.to.Compare(merged[n-1].to) > 0 {
				merged[n-1].to = r.to
			}
			continue
		}
		merged = append(merged, r)
	}
	return merged, whole
}

// done notes a pass that has come to its end.
func (p *passes) done(horizons map[string]waybill.ID, whole bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before, p.last = p.last, horizons
	if whole {
		p.whole = time.Now()
	}
}

// pruneOnce passes n1_record from an id to below another one.
func (l *Ledger) pruneOnce(ctx context.Context, from, highest waybill.ID, limit int) (int64, error) {
	var deleted int64
	last := justBelow(from)
	for {
		read, old, err := l.onceWindow(ctx, last, highest, limit)
		if err != nil {
			return deleted, wrap(l.dialect, Consumer, "prune records", err)
		}
		for batch := range batches(l.dialect, old) {
			n, err := l.remove(ctx, l.dialect.PruneOnce(l.names, l.consumer, batch))
			deleted += n
			if err != nil {
				return deleted, err
			}
		}
		if len(read) < limit {
			return deleted, nil
		}
		last = read[len(read)-1]
	}
}

// justBelow is the id before one; of the lowest, itself.
func justBelow(id waybill.ID) waybill.ID {
	if id.IsZero() {
		return id
	}
	for i := len(id) - 1; ; i-- {
		id[i]--
		if id[i] != 0xff {
			return id
		}
	}
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
