package relay

import (
	"context"
	"slices"

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
	for len(overdue) > 0 {
		read, err := p.sendAgain(ctx, overdue[:min(len(overdue), p.t.r.o.Batch)])
		if err != nil {
			p.deferResend(overdue, func(*inflight) bool { return true })
			return false, err
		}
		// Bodies may be large: some lanes may have enough queued by now.
		overdue = p.deferResend(overdue[read:], func(f *inflight) bool { return f.lane.queueFull() })
	}
	return false, nil
}

// overdue takes what is to be sent again now, of all lanes, in order of row.
func (p *pump) overdue() (overdue []*inflight) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	now := p.t.clock.now()
	for _, l := range p.t.order {
		overdue = append(overdue, l.overdue(now, p.t.r.o.Batch)...)
	}
	slices.SortFunc(overdue, byRow)
	return overdue
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
	rows, copies, gone := p.matchRows(rows, overdue[:read])
	crash.Point("relay.copies.before")
	err = p.t.r.queue.CountCopies(ctx, copies)
	crash.Point("relay.copies.after")
	if err != nil {
		return 0, err
	}
	bad := p.enqueueCopies(rows)
	p.dropGone(gone)
	for _, r := range bad {
		p.t.reject(ctx, r.id, r.reason)
	}
	return read, nil
}

// matchRows brings together the overdue messages and the rows that were found for them.
// It returns the rows to send, the ids of those that were sent before, and the messages
// to be forgotten: their rows are gone, were made new messages, as 'waybill resend' can
// do, or are delayed, so that scanDue finds them when their time has come.
func (p *pump) matchRows(found []store.Row, overdue []*inflight) (rows []store.Row, copies []int64, gone map[waybill.ID]*inflight) {
	byID := make(map[waybill.ID]*inflight, len(overdue))
	for _, f := range overdue {
		byID[f.id] = f
	}
	now := p.databaseNow()
	rows = found[:0]
	for _, r := range found {
		f := byID[r.MessageID]
		if f == nil || r.NotBefore > now {
			continue
		}
		delete(byID, r.MessageID)
		if f.copies > 0 {
			copies = append(copies, r.ID)
			r.Retry++
		}
		rows = append(rows, r)
	}
	return rows, copies, byID
}

// rejection is a message that can never be sent, and why.
type rejection struct {
	id     waybill.ID
	reason string
}

// enqueueCopies queues the next copies of rows that are in a window. It returns those
// of which no message can be made.
func (p *pump) enqueueCopies(rows []store.Row) (bad []rejection) {
	t := p.t
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range rows {
		r := &rows[i]
		f := t.inflights[r.MessageID]
		if f == nil || f.state != queued {
			continue // its receipt has come meanwhile
		}
		m, err := t.encode(r, f.lane)
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
