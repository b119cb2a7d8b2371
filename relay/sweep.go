package relay

import (
	"context"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/store"
)

const (
	// sweepPage is how many rows a sweep looks at in one step.
	sweepPage = 2000
	// sweepShare bounds the part of the time that sweeps take: one part of so many; and
	// pageShare while one is under way.
	sweepShare = 50
	pageShare  = 4
)

// sweep looks over all pending rows up to the cursor, a page at a time, for
// those that nothing else has found: transactions that took very long to commit,
// and whatever a fault of this program may have dropped. It reads no bodies of rows
// that are known. It takes about a fiftieth of the time at most, however slow it is: a
// transaction that stays open for long makes it read dead rows.
//
// The first sweep of a term takes what it finds up to the last holder's cursor as
// sent by that one: it fills the windows without sending anything.
func (p *pump) sweep(ctx context.Context) (bool, error) {
	if mutant.CursorWithoutSweep {
		return false, nil
	}
	began := time.Now()
	if began.Before(p.nextPage) {
		return false, nil
	}
	if p.sweepTo == 0 {
		if !p.sweepIsDue(began) {
			return false, nil
		}
		if err := p.beginSweep(ctx, began); err != nil {
			return false, err
		}
		if p.sweepTo == 0 {
			p.endSweep()
			return false, nil
		}
	}
	crash.Point("relay.sweep.before")
	rows, err := p.t.r.queue.Sweep(ctx, p.sweepFrom, p.sweepTo, sweepPage)
	crash.Point("relay.sweep.after")
	if err != nil {
		return false, err
	}
	if p.adoptTo.Load() > 0 {
		err = p.adopt(ctx, slices.Clone(rows))
	} else {
		err = p.fetchMissed(ctx, rows, func(*store.Row) { p.t.r.counters.swept.Add(1) })
	}
	if err != nil {
		return false, err
	}
	took := time.Since(began)
	p.sweepTook += took
	if len(rows) < sweepPage {
		p.endSweep()
		return false, nil
	}
	p.sweepFrom = rows[len(rows)-1].ID
	if p.adoptTo.Load() > 0 {
		return true, nil // the windows wait for it
	}
	p.nextPage = time.Now().Add((pageShare - 1) * took)
	return false, nil
}

// sweepIsDue reports whether a sweep is to begin. Where gaps had to be left to it, it
// comes earlier.
func (p *pump) sweepIsDue(now time.Time) bool {
	return !now.Before(p.nextSweep) || p.hasMissed() && !now.Before(p.earlySweep())
}

func (p *pump) earlySweep() time.Time {
	return p.sweepBegan.Add(max(p.t.r.o.Sweep/4, sweepShare*p.sweepTook))
}

// hasMissed says whether gaps were left to the sweep.
func (p *pump) hasMissed() bool {
	p.gapsMu.Lock()
	defer p.gapsMu.Unlock()
	return p.gaps.missed
}

// beginSweep sets out where the sweep goes, and asks for the database's clock anew.
func (p *pump) beginSweep(ctx context.Context, now time.Time) error {
	crash.Point("relay.time.before")
	clock, err := p.t.r.queue.Clock(ctx)
	crash.Point("relay.time.after")
	if err != nil {
		return err
	}
	p.clock.set(clock)
	p.gapsMu.Lock()
	p.gaps.missed = false
	p.gapsMu.Unlock()
	p.t.mu.Lock()
	cursor := p.t.cursor
	p.t.mu.Unlock()
	p.sweepFrom, p.sweepTo, p.sweepBegan, p.sweepTook = 0, cursor, now, 0
	if p.adoptTo.Load() > 0 {
		p.sweepTo = p.adoptTo.Load()
	}
	return nil
}

func (p *pump) endSweep() {
	p.sweepTo = 0
	p.adoptTo.Store(0)
	p.t.mu.Lock()
	p.t.overtaken = nil
	p.t.mu.Unlock()
	p.nextSweep = time.Now().Add(max(p.t.r.o.Sweep, sweepShare*p.sweepTook))
}

// adopt takes rows into their windows as if they had just been sent, and to the
// stragglers those of which some consumers have not answered. Receipts for what the last
// holder sent come in at the same time: a row that one of them has settled may be gone
// by now, and nobody would ever confirm it. A message that came when nobody led has not
// been sent, whatever its row's id is: ids may have gone back.
func (p *pump) adopt(ctx context.Context, rows []store.Row) error {
	rows = slices.DeleteFunc(rows, func(r store.Row) bool { return r.NotBefore > p.dueMark.Load() }) // scanDue's
	var unsent []store.Row
	rows = slices.DeleteFunc(rows, func(r store.Row) bool {
		late := r.NotBefore == 0 && r.MessageID.Time().UnixMicro() > p.t.heldUntil
		if late {
			unsent = append(unsent, r)
		}
		return late
	})
	if err := p.fetchMissed(ctx, unsent, func(*store.Row) {}); err != nil {
		return err
	}
	known, err := p.answersOn(ctx, rows)
	if err != nil {
		return err
	}
	for i := range rows {
		if answers := known[rows[i].MessageID]; len(answers) > 0 {
			p.t.resume(ctx, &rows[i], answers)
			continue
		}
		p.t.adopt(&rows[i])
	}
	return nil
}

// adopt takes a row into its window as if it had just been sent.
func (t *term) adopt(r *store.Row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inflights[r.MessageID] != nil {
		return
	}
	l := t.laneOf(r.Destination, r.Topic)
	if l == nil {
		return
	}
	if said := t.overtaken[r.MessageID]; len(said) > 0 {
		// It is settled, or its answers have been written since they were read.
		l.parkRow(r, l.o.Consumers, said)
		return
	}
	if l.leaves(r.ID) {
		return
	}
	if l.paused || l.room() <= 0 || l.o.Confirm == waybill.Accepted {
		// Nobody will ever confirm what was Accepted before our time: it is sent
		// again, in its turn. So is what a lane has when it is paused, of which nobody knows
		// what was sent before.
		l.leaveInTable(r.ID)
		return
	}
	l.wasSent(l.track(r), t.clock.now())
}

// wasSent notes that a message was sent before it came into this window, at that time or
// earlier.
func (l *lane) wasSent(f *inflight, at time.Duration) {
	f.state, f.copies, f.sent, f.adopted = waiting, 1, at, true
	l.arm(at+l.timeout(), l.t.clock.now())
}

// fetchMissed reads and admits those of the rows that nobody knows about, and calls found
// for each that is still there.
func (p *pump) fetchMissed(ctx context.Context, rows []store.Row, found func(*store.Row)) error {
	missed := p.missed(rows)
	known, err := p.answersOn(ctx, missed)
	if err != nil {
		return err
	}
	var ids []int64
	for i := range missed {
		if answers := known[missed[i].MessageID]; len(answers) > 0 {
			p.t.resume(ctx, &missed[i], answers)
			continue
		}
		ids = append(ids, missed[i].ID)
	}
	return p.eachRow(ctx, ids, func(r *store.Row, answers []store.Answer) {
		found(r)
		p.t.admit(ctx, r, readMissed, answers)
	})
}

// missed returns the rows that are in no destination's window, no backlog, and not
// scanDue's.
func (p *pump) missed(rows []store.Row) (missed []store.Row) {
	t := p.t
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range rows {
		r := &rows[i]
		if t.inflights[r.MessageID] != nil || r.NotBefore > p.databaseNow()-lateness.Microseconds() {
			continue
		}
		if l := t.lanes[laneKey{r.Destination, r.Topic}]; l != nil && l.leaves(r.ID) {
			continue
		}
		missed = append(missed, *r)
	}
	return missed
}
