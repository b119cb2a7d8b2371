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
//
// It is guarded by term.mu.
type resending struct {
	estimator
	limit int // the window

	copiesOut int           // messages in the window that were sent more than once
	budget    int           // how many of those silence alone allows
	stall     int           // probes in a row that nothing answered
	heard     time.Duration // when the last confirmation came
	newest    time.Duration // send time of the newest message confirmed after one copy
	again     []*flight     // to be sent again at once
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
func (r *resending) refuse(f *flight) {
	r.again = append(r.again, f)
	r.nextCheck = 0
}

// heardOf notes that consumers have said something about flights of this lane.
func (r *resending) heardOf(flights []*flight, now time.Duration) {
	var longest time.Duration
	for _, f := range flights {
		switch {
		case f.copies > 1:
			r.budget = min(r.budget+1, r.limit)
			r.nextCheck = min(r.nextCheck, now)
		case f.copies == 1 && !f.adopted:
			r.newest = max(r.newest, f.sent)
			longest = max(longest, now-f.sent)
		}
	}
	// One sample for what came together, as TCP takes one in a round trip: the rest
	// of a batch would only drown the variance.
	if longest > 0 {
		r.sample(longest)
	}
	r.heard, r.stall = now, 0
}

// reconnected marks what may have been lost with a connection: everything of which
// the broker's word did not arrive, and all that travelled transient. A destination
// that was silent is probed afresh.
func (l *lane) reconnected(transient bool) {
	l.stall, l.budget, l.nextCheck = 0, 1, 0
	for _, f := range l.window {
		if f.state == unsure || transient && f.state == sent {
			f.state = sent
			l.again = append(l.again, f)
		}
	}
}

// overdue takes the flights that are to be sent again now, at most limit, and marks
// them queued; the caller reads their bodies and enqueues them.
func (l *lane) overdue(now time.Duration, limit int) []*flight {
	if now < l.nextCheck || l.queueFull() {
		return nil
	}
	var chosen []*flight
	l.again = slices.DeleteFunc(l.again, func(f *flight) bool {
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
		slices.SortFunc(chosen, func(a, b *flight) int { return cmp.Compare(a.row, b.row) })
		return chosen
	}

	timeout := l.timeout()
	silentAfter := backoff.Doubled(timeout, l.stall, l.most)
	next := now + l.most
	var lost, silent []*flight
	for _, f := range l.window {
		if f.state != sent && f.state != unsure {
			continue
		}
		age, patience := now-f.sent, backoff.Doubled(timeout, max(f.copies-1, 0), l.most)
		evidence := f.state == unsure || l.newest > f.sent+l.disorder()
		switch {
		case evidence && age >= patience:
			lost = append(lost, f)
		case !evidence && age >= max(silentAfter, timeout):
			silent = append(silent, f)
		case evidence:
			next = min(next, f.sent+patience)
		default:
			next = min(next, f.sent+max(silentAfter, timeout))
		}
	}
	oldestFirst := func(a, b *flight) int { return cmp.Compare(a.row, b.row) }
	slices.SortFunc(lost, oldestFirst)
	slices.SortFunc(silent, oldestFirst)

	if len(silent) == 0 && l.copiesOut == 0 || len(silent) > 0 && now-l.heard > timeout {
		l.budget = 1
	}
	for _, f := range lost {
		if len(chosen) < limit {
			chosen = append(chosen, f)
		}
	}
	probed := false
	out := l.copiesOut
	for _, f := range silent {
		if len(chosen) == limit {
			break
		}
		if f.copies > 1 {
			probed = true
		} else if out < l.budget {
			out++
		} else {
			continue
		}
		chosen = append(chosen, f)
	}
	if probed {
		l.stall++
	}
	for _, f := range chosen {
		f.state = queued
	}
	if len(lost)+len(silent) > 0 {
		// Something waits for the budget, or for the next batch.
		next = min(next, now+checkEvery)
	}
	l.nextCheck = max(next, now+checkEvery/5)
	return chosen
}

// checkEvery is how soon a window is looked through again while messages in it are
// overdue.
const checkEvery = 100 * time.Millisecond
