package relay

import (
	"cmp"
	"slices"
	"time"

	"github.com/waybill-go/waybill/internal/backoff"
)

// resending decides when a lane's messages are sent again. Think of TCP:
//
//   - The time-out follows from how long confirmations take, and doubles with each
//     copy of a message.
//   - A message whose later siblings were confirmed while it was not is probably
//     lost, and is sent again once its time-out is over.
//   - Where nothing is confirmed at all the consumer is probably down, and copies
//     would only lengthen its queue: one probe is sent, then after twice the time
//     another one, and so on. A confirmation of a copy raises the number of copies
//     that may be under way by one, as in slow start, so that a broker that lost
//     everything is refilled at the pace at which its consumer confirms.
//   - As long as messages are confirmed that were sent once, the consumer is working
//     through its queue, however slowly, and nobody is silent. That is why a probe is
//     a copy of the newest message, as TCP's tail loss probe is: an old one would
//     often be confirmed by itself, and look like the proof of a loss.
//   - No message is probed twice before the others were, since it may be one that
//     nobody will ever answer.
//
// It is guarded by term.mu.
type resending struct {
	estimator
	limit int // the window

	budget    int           // how many copies silence alone allows on their way
	stall     int           // probes in a row that nothing answered
	probing   bool          // there was a probe, and no confirmation since
	heard     time.Duration // when the last confirmation came
	progress  time.Duration // when the last one of a message sent once came
	newest    time.Duration // send time of the newest message confirmed after one copy
	again     []*inflight   // to be sent again at once
	nextCheck time.Duration
}

func newResending(o *Options, window int) resending {
	return resending{
		estimator: estimator{first: o.FirstResend, least: o.MinResend, most: o.MaxResend},
		limit:     window,
		budget:    1,
	}
}

// refuse notes a message that the broker did not take: it is sent again as soon as
// the lane goes on, and that is no copy.
func (r *resending) refuse(f *inflight) {
	r.again = append(r.again, f)
	r.nextCheck = 0
}

// heardOf notes that consumers have said something about inflights of this lane.
func (r *resending) heardOf(inflights []*inflight, now time.Duration) {
	var longest time.Duration
	for _, f := range inflights {
		switch took := now - f.sent; {
		case f.copies > 1:
			r.budget = min(r.budget+1, r.limit)
			r.nextCheck = min(r.nextCheck, now)
			// Nobody knows which copy was confirmed, but all took this long at least.
			if took > r.timeout() {
				longest = max(longest, took)
			}
		case f.copies == 1 && f.adopted:
			r.progress = now
		case f.copies == 1:
			r.progress = now
			r.newest = max(r.newest, f.sent)
			longest = max(longest, took)
		}
	}
	// One sample for what came together, as TCP takes one in a round trip: the rest
	// of a batch would only drown the variance.
	if longest > 0 {
		r.sample(longest)
	}
	r.heard, r.stall, r.probing = now, 0, false
}

// reconnected marks what may have been lost with a connection: everything of which
// the broker's word did not arrive, and all that travelled transient. A destination
// that was silent is probed afresh.
//
// A connection that comes and goes must not bring another window of copies each
// time: what was sent again for its sake keeps to its time-out.
func (l *lane) reconnected(transient bool, now time.Duration) {
	l.stall, l.probing, l.budget, l.nextCheck = 0, false, 1, 0
	timeout := l.timeout()
	for _, f := range l.window {
		fresh := f.copies <= 1 || now-f.sent >= backoff.Doubled(timeout, f.copies-1, l.most)
		if f.state == unsure || transient && f.state == sent && fresh {
			f.state = sent
			l.again = append(l.again, f)
		}
	}
}

// vanished notes that a message that was to be sent again is nothing to send any
// more: another relay or a person has removed or postponed its row. That was no probe
// of the consumer, and the next one need not wait for an answer.
func (r *resending) vanished() {
	r.probing = false
	r.nextCheck = 0
}

// overdue takes the inflights that are to be sent again now, at most limit, and marks
// them queued; the caller reads their bodies and enqueues them.
func (l *lane) overdue(now time.Duration, limit int) []*inflight {
	if now < l.nextCheck || l.queueFull() {
		return nil
	}
	var chosen []*inflight
	l.again = slices.DeleteFunc(l.again, func(f *inflight) bool {
		if l.window[f.id] != f || f.state != sent {
			return true
		}
		if len(chosen) == limit {
			return false
		}
		f.state = queued
		chosen = append(chosen, f)
		return true
	})
	if len(chosen) > 0 {
		return oldest(chosen, limit)
	}

	timeout := l.timeout()
	silentAfter := max(backoff.Doubled(timeout, l.stall, l.most), timeout)
	next := now + l.most
	var lost, silent []*inflight
	waiting := 0 // copies that may yet be answered
	for _, f := range l.window {
		if f.state == settling {
			continue
		}
		if f.state != sent && f.state != unsure {
			if f.copies > 0 {
				waiting++
			}
			continue
		}
		since, patience := f.sent, backoff.Doubled(timeout, f.copies-1, l.most)
		evidence := f.state == unsure || l.newest > f.sent+l.reorderWindow()
		if !evidence {
			since, patience = max(f.sent, l.progress), silentAfter
		}
		switch {
		case now-since < patience:
			next = min(next, since+patience)
			if f.copies > 1 {
				waiting++
			}
		case evidence:
			lost = append(lost, f)
		default:
			silent = append(silent, f)
		}
	}
	if len(silent) == 0 && waiting == 0 || len(silent) > 0 && now-l.heard > timeout {
		l.budget = 1
	}
	chosen = append(chosen, oldest(lost, limit)...)
	if len(lost) > limit {
		next = now
	}
	if probes := l.probes(silent, min(limit-len(chosen), l.budget-waiting)); len(probes) > 0 {
		if l.probing {
			l.stall++
		}
		l.probing = true
		chosen = append(chosen, probes...)
	}
	for _, f := range chosen {
		f.state = queued
	}
	// What silence does not allow waits for a confirmation, or for the next probe's
	// time.
	l.nextCheck = max(next, now+checkEvery)
	return chosen
}

// probes returns n inflights out of those that silence makes suspect: such that were
// copied least; of these the newest as long as nothing was heard, and the oldest once
// a copy was confirmed, which tells that those before it are lost.
func (l *lane) probes(silent []*inflight, n int) []*inflight {
	if n <= 0 {
		return nil
	}
	slices.SortFunc(silent, func(a, b *inflight) int {
		byRow := cmp.Compare(a.row, b.row)
		if l.budget == 1 {
			byRow = -byRow
		}
		return cmp.Or(cmp.Compare(a.copies, b.copies), byRow)
	})
	return silent[:min(n, len(silent))]
}

// oldest returns the n inflights that were read first, in order.
func oldest(all []*inflight, n int) []*inflight {
	if n <= 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b *inflight) int { return cmp.Compare(a.row, b.row) })
	return all[:min(n, len(all))]
}

// checkEvery is the least time between two looks through a window.
const checkEvery = 20 * time.Millisecond
