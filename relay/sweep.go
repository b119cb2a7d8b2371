package relay

import (
	"context"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/store"
)

const (
	// sweepPage is how many rows a sweep looks at in one step.
	sweepPage = 2000
	// sweepShare bounds the part of the time that sweeps take: one part of so many.
	sweepShare = 50
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
	if p.adoptTo > 0 {
		p.adopt(rows)
	} else if err := p.fetchMissed(ctx, rows); err != nil {
		return false, err
	}
	p.sweepTook += time.Since(began)
	if len(rows) < sweepPage {
		p.endSweep()
		return false, nil
	}
	p.sweepFrom = rows[len(rows)-1].ID
	return true, nil
}

// sweepIsDue reports whether a sweep is to begin. Where gaps had to be left to it, it
// comes earlier.
func (p *pump) sweepIsDue(now time.Time) bool {
	early := p.sweepBegan.Add(max(p.t.r.o.Sweep/4, sweepShare*p.sweepTook))
	return !now.Before(p.nextSweep) || p.gaps.missed && now.After(early)
}

// beginSweep sets out where the sweep goes, and asks for the database's clock anew.
func (p *pump) beginSweep(ctx context.Context, now time.Time) error {
	crash.Point("relay.time.before")
	clock, err := p.t.r.queue.Clock(ctx)
	crash.Point("relay.time.after")
	if err != nil {
		return err
	}
	p.clock, p.asked = clock, time.Now()
	p.gaps.missed = false
	p.sweepFrom, p.sweepTo, p.sweepBegan, p.sweepTook = 0, p.t.cursor, now, 0
	if p.adoptTo > 0 {
		p.sweepTo = p.adoptTo
	}
	return nil
}

func (p *pump) endSweep() {
	p.sweepTo, p.adoptTo = 0, 0
	p.t.mu.Lock()
	p.t.overtaken = nil
	p.t.mu.Unlock()
	p.t.retire(time.Now())
	p.nextSweep = time.Now().Add(max(p.t.r.o.Sweep, sweepShare*p.sweepTook))
}

// adopt takes rows into their windows as if they had just been sent. Receipts for
// what the last holder sent come in at the same time: a row that one of them has
// settled may be gone by now, and no receipt would ever come for it.
func (p *pump) adopt(rows []store.Row) {
	t := p.t
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.now()
	for i := range rows {
		r := &rows[i]
		if r.NotBefore > p.dueTime || t.inflights[r.MessageID] != nil || t.overtaken[r.MessageID] {
			continue // scanDue's, or known, or settled
		}
		l := t.laneOf(r.Destination, r.Topic)
		if l.waitsInTable(r.ID) {
			continue
		}
		if l.room() <= 0 || l.o.Confirm == waybill.Accepted {
			// No answer will ever come to what an Accepted lane sent before our time: it is sent
			// again, in its turn.
			l.leaveInTable(r.ID)
			continue
		}
		f := l.track(r)
		f.state, f.copies, f.sent, f.adopted = waiting, 1, now, true
	}
}

// fetchMissed reads and admits those of the rows that nobody knows about.
func (p *pump) fetchMissed(ctx context.Context, rows []store.Row) error {
	return p.eachRow(ctx, p.missed(rows), func(r *store.Row) {
		p.t.r.counters.swept.Add(1)
		p.t.admit(ctx, r, readMissed)
	})
}

// missed returns the ids of the rows that are in no window, no backlog, and not
// scanDue's.
func (p *pump) missed(rows []store.Row) (ids []int64) {
	t := p.t
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range rows {
		r := &rows[i]
		if t.inflights[r.MessageID] != nil || r.NotBefore > p.databaseNow()-lateness.Microseconds() {
			continue
		}
		if l := t.lanes[laneKey{r.Destination, r.Topic}]; l != nil && l.waitsInTable(r.ID) {
			continue
		}
		ids = append(ids, r.ID)
	}
	return ids
}
