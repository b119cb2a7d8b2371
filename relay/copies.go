package relay

import (
	"context"
	"slices"
	"sync"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/store"
)

// resendOverdue sends again what the lanes' time-outs ask for.
func (p *pump) resendOverdue(ctx context.Context) (bool, error) {
	if mutant.NoResend {
		return false, nil
	}
	overdue := p.overdue()
	busy := len(overdue) > 0
	for len(overdue) > 0 {
		read, err := p.sendAgain(ctx, overdue[:min(len(overdue), p.t.r.o.Batch)])
		if err != nil {
			p.deferResend(overdue, func(*inflight) bool { return true })
			return false, err
		}
		// Bodies may be large: some lanes may have enough queued by now.
		overdue = p.deferResend(overdue[read:], func(f *inflight) bool { return f.lane.queueFull() })
	}
	return busy, nil
}

// overdue takes what is to be sent again now, of all lanes, in order of row. A copy that
// several stragglers want is one copy.
func (p *pump) overdue() (overdue []*inflight) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	now := p.t.clock.now()
	for _, l := range p.t.order {
		if l.paused {
			continue
		}
		overdue = append(overdue, l.overdue(now, p.t.r.o.Batch)...)
	}
	slices.SortStableFunc(overdue, byRow)
	return slices.CompactFunc(overdue, func(other, kept *inflight) bool {
		if kept.id != other.id {
			return false
		}
		other.state, other.sent = waiting, now
		other.copies++
		other.lane.arm(now+other.lane.timeout(), now)
		return true
	})
}

// deferResend gives back those of the overdue messages that are not to be read now,
// and returns the others.
func (p *pump) deferResend(overdue []*inflight, which func(*inflight) bool) []*inflight {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	return slices.DeleteFunc(overdue, func(f *inflight) bool {
		if !which(f) {
			return false
		}
		if f.state == queued {
			f.state = waiting
			f.lane.resendSoon(f)
		}
		return true
	})
}

// sendAgain reads the rows of the first of these messages, which are in order of row,
// and queues their next copies. It returns how many of them it has done with.
func (p *pump) sendAgain(ctx context.Context, overdue []*inflight) (done int, err error) {
	ids := make([]int64, len(overdue))
	for i, f := range overdue {
		ids[i] = f.row
	}
	rows, read, err := p.readRows(ctx, ids)
	if err != nil {
		return 0, err
	}
	sending, copies, gone := p.matchRows(rows, overdue[:read])
	p.t.copies.add(copies)
	bad := p.enqueueCopies(sending)
	p.dropGone(gone)
	for _, r := range bad {
		p.t.reject(ctx, r.id, r.reason)
	}
	return read, nil
}

// copyOf is a message that is to be sent again, and its row.
type copyOf struct {
	f   *inflight
	row store.Row
}

// matchRows brings together the overdue messages and the rows that were found for them.
// It returns what to send, the ids of the rows that were sent before, and the messages
// to be forgotten: their rows are gone, were made new messages, as 'waybill resend' can
// do, or are delayed, so that scanDue finds them when their time has come.
func (p *pump) matchRows(found []store.Row, overdue []*inflight) (sending []copyOf, copies []int64, gone map[waybill.ID]*inflight) {
	gone = make(map[waybill.ID]*inflight, len(overdue))
	for _, f := range overdue {
		gone[f.id] = f
	}
	now := p.databaseNow()
	for _, r := range found {
		f := gone[r.MessageID]
		if f == nil || r.NotBefore > now {
			continue
		}
		delete(gone, r.MessageID)
		if f.copies > 0 {
			copies = append(copies, r.ID)
			r.Retry++
		}
		sending = append(sending, copyOf{f, r})
	}
	return sending, copies, gone
}

// rejection is a message that can never be sent, and why.
type rejection struct {
	id     waybill.ID
	reason string
}

// enqueueCopies queues the next copies of what is in a window. It returns those of which
// no message can be made.
func (p *pump) enqueueCopies(sending []copyOf) (bad []rejection) {
	t := p.t
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range sending {
		f := sending[i].f
		if f.lane.window[f.id] != f || f.state != queued {
			continue // it was confirmed meanwhile
		}
		if f := sending[i].f; f.lane.paused {
			f.state = waiting
			f.lane.resendSoon(f)
			continue
		}
		m, err := t.encode(&sending[i].row, f.lane)
		if err != nil {
			bad = append(bad, rejection{f.id, unsendable(err)})
			continue
		}
		f.lane.enqueue(f, m)
	}
	return bad
}

// dropGone takes messages out of their windows that have no row any more which could
// be sent now: others may have removed, rejected or postponed it.
func (p *pump) dropGone(gone map[waybill.ID]*inflight) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	for _, f := range gone {
		f.lane.drop(f)
		f.lane.probeVanished()
		p.t.wake()
	}
}

// copies are to be counted in their rows, for people to see and for the header "attempt".
// Nothing rests on their number, so it is written beside the sending, which never waits
// for it, and what cannot be written is forgotten.
type copies struct {
	added chan struct{} // holds a value when there are some
	mu    sync.Mutex
	rows  []int64
}

// maxCopies bounds the rows whose copies wait to be counted.
const maxCopies = 10_000

func (c *copies) add(rows []int64) {
	if len(rows) == 0 {
		return
	}
	c.mu.Lock()
	c.rows = append(c.rows, rows[:min(len(rows), maxCopies-len(c.rows))]...)
	c.mu.Unlock()
	signal(c.added)
}

// some takes the rows of some copies, each once.
func (c *copies) some(limit int) (rows []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := make(map[int64]bool, min(limit, len(c.rows)))
	c.rows = slices.DeleteFunc(c.rows, func(row int64) bool {
		if taken[row] || len(rows) >= limit {
			return false
		}
		taken[row] = true
		rows = append(rows, row)
		return true
	})
	return rows
}

// countCopies counts copies in their rows.
func (p *pump) countCopies(ctx context.Context) (bool, error) {
	rows := p.t.copies.some(p.t.r.o.Batch)
	if len(rows) == 0 {
		return false, nil
	}
	crash.Point("relay.copies.before")
	err := p.t.r.queue.CountCopies(ctx, rows)
	crash.Point("relay.copies.after")
	return true, err
}
