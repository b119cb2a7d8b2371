package relay

import (
	"cmp"
	"slices"
	"time"

	"github.com/waybill-go/waybill/internal/backoff"
)

// resending decides when a lane's messages are sent again. Think of TCP:
//
//   - The time-out follows from how long receipts take, and doubles with each
//     copy of a message.
//   - A message is probably lost where others that were sent later have been receipted
//     and it has not. It is sent again once its time-out is over.
//   - Where no receipt comes at all the consumer is probably down, and copies
//     would only lengthen its queue: one probe is sent, then after twice the time
//     another one, and so on. A receipt of a copy raises the number of copies
//     that may be under way by one, as in slow start, so that a broker that lost
//     everything is refilled at the pace at which its consumer answers.
//   - As long as messages are receipted that were sent once, the consumer is working
//     through its queue, however slowly, and nobody is silent. That is why a probe is
//     a copy of the newest message, as TCP's tail loss probe is: an old one would
//     often be receipted by itself, and look like the proof of a loss.
//   - No message is probed twice before the others were, since it may be one that
//     nobody will ever answer.
//
// All times are of term.clock. It is guarded by term.mu.
type resending struct {
	estimator
	limit int // the window's size

	budget   int           // how many copies may be under way without evidence of a loss
	stall    int           // probes in a row that nothing answered
	probing  bool          // there was a probe, and no receipt since
	heard    time.Duration // when the last receipt came
	progress time.Duration // when the last one of a message came that was sent once
	newest   time.Duration // when the newest of those was sent
	// quietSince is when the last receipt came, or when the window was last empty, by the
	// process's clock, and quiet says that no receipt has come for longer than usual, also
	// where a new connection has ended the probing.
	quietSince time.Time
	quiet      bool
	again      []*inflight // to be sent again as soon as the lane goes on

	// What makes a message overdue earlier than it was at the last look through the window
	// has to arm the next look: see arm.
	nextCheck time.Duration // when to look through the window again
	looked    time.Duration // when that was done last
	armedFor  time.Duration // the longest time-out by which nextCheck was set since then
	doubtful  doubtful      // what later receipts would prove to be lost
	armed     chan struct{} // gets a value when nextCheck is earlier than it was
}

// doubtful are the messages without a receipt of which nothing tells yet that they are
// lost: neither any of them is proven lost before a message is receipted that was sent
// later than the first of them, nor is it overdue then before the first time-out.
type doubtful struct{ sent, due time.Duration }

const (
	// checkEvery is the least time between two looks through a window.
	checkEvery = 20 * time.Millisecond
	// shorterEvery is that where merely the time-out has become shorter.
	shorterEvery = 100 * time.Millisecond
)

func newResending(o *Options, window int, armed chan struct{}) resending {
	return resending{
		estimator: estimator{first: o.FirstResend, least: o.MinResend, most: o.MaxResend},
		limit:     window,
		budget:    1,
		doubtful:  doubtful{sent: never, due: never},
		armed:     armed,
	}
}

// arm has the window looked through at that time, unless it will be earlier; at once where
// that is over. A look sets the next one by what is in the window then. So whatever may
// make a message overdue earlier arms: it has been published, or taken into the window as
// published; a receipt proves that it is lost, or that its consumer is not silent; the
// time-out has become shorter; a copy that others waited for has gone.
func (r *resending) arm(at, now time.Duration) {
	r.armedFor = max(r.armedFor, r.timeout())
	at = max(at, min(now, r.looked+checkEvery))
	if at < r.nextCheck {
		r.nextCheck = at
		signal(r.armed)
	}
}

// resendSoon has a message sent again as soon as the lane goes on.
func (r *resending) resendSoon(f *inflight) {
	r.again = append(r.again, f)
	r.lookNow()
}

// lookNow has the window looked through at once.
func (r *resending) lookNow() {
	r.nextCheck = 0
	signal(r.armed)
}

// noteReceipts notes that consumers have said all that there is to say, whatever it was,
// about messages of this lane.
func (r *resending) noteReceipts(inflights []*inflight, now time.Duration) {
	r.noteHeard(inflights, now)
	r.noteTimes(inflights, now)
}

// noteHeard notes that a consumer has said something about messages of which none had.
func (r *resending) noteHeard(inflights []*inflight, now time.Duration) {
	if r.stall > 0 || r.probing {
		r.arm(now, now) // the others' patience is shorter from now on
	}
	for _, f := range inflights {
		switch {
		case f.copies > 1:
			r.budget = min(r.budget+1, r.limit)
			r.arm(now, now)
		case f.copies == 1 && f.adopted:
			r.progress = now
		case f.copies == 1:
			r.progress = now
			r.newest = max(r.newest, f.sent)
		}
	}
	r.heard, r.stall, r.probing = now, 0, false
	r.quietSince, r.quiet = time.Now(), false
	r.armDoubtful(now)
}

// armDoubtful looks again where a receipt proves messages to be lost.
func (r *resending) armDoubtful(now time.Duration) {
	if r.doubtful.sent != never && r.newest > r.doubtful.sent+r.reorderWindow() {
		r.arm(max(r.doubtful.due, now), now)
	}
}

// noteTimes notes how long it took until consumers had said all.
func (r *resending) noteTimes(inflights []*inflight, now time.Duration) {
	var longest time.Duration
	for _, f := range inflights {
		switch took := now - f.sent; {
		case f.copies > 1:
			// Nobody knows which copy was confirmed, but all took this long at least: a
			// time-out that is shorter than that is too short.
			if took > r.timeout() {
				longest = max(longest, took)
			}
		case f.copies == 1 && !f.adopted:
			longest = max(longest, took)
		}
	}
	// One sample for what came together, as TCP takes one in a round trip: the rest
	// of a batch would only drown the variance.
	if longest == 0 {
		return
	}
	r.sample(longest)
	if r.timeout() < r.armedFor {
		r.arm(max(now, r.looked+shorterEvery), now)
	}
	r.armDoubtful(now)
}

// reconnected has that sent again which may have been lost with a connection:
// everything of which the broker's confirmation did not arrive, and all that travelled
// transient. A destination that was silent is probed afresh.
//
// A connection that comes and goes must not bring another window of copies each
// time: what was sent again for its sake keeps to its time-out.
func (l *lane) reconnected(transient bool, now time.Duration) {
	l.stall, l.probing, l.budget = 0, false, 1
	l.lookNow()
	timeout := l.timeout()
	for _, f := range l.window {
		fresh := f.copies <= 1 || now-f.sent >= backoff.Doubled(timeout, f.copies-1, l.most)
		if f.state == unsure || transient && f.state == waiting && fresh {
			f.state = waiting
			l.resendSoon(f)
		}
	}
}

// probeVanished notes that a message was not sent again after all, because its row is
// gone. If it was to be a probe, nothing has been asked of the consumer, and the next
// probe need not wait for an answer.
func (r *resending) probeVanished() {
	r.probing = false
	r.lookNow()
}

// overdue takes the messages that are to be sent again now, at most limit, and marks
// them queued; the caller reads their bodies and enqueues them.
func (l *lane) overdue(now time.Duration, limit int) []*inflight {
	if now < l.nextCheck || l.queueFull() {
		return nil
	}
	chosen := l.takeAgain(limit)
	if len(chosen) > 0 {
		return chosen
	}
	s := l.suspects(now)
	l.limitBudget(&s, now)
	if len(s.lost) > limit {
		s.next = now
	}
	chosen = oldest(s.lost, limit)
	allowed := l.budget - s.underWay
	if free := limit - len(chosen); free < min(allowed, len(s.silent)) {
		allowed, s.next = free, now
	}
	if max(allowed, 0) < len(s.silent) {
		s.next = min(s.next, now+l.timeout()) // what is under way arms as well, when it ends
	}
	chosen = append(chosen, l.probes(s.silent, allowed)...)
	for _, f := range chosen {
		f.state = queued
	}
	// Silent messages that the budget does not allow wait for a receipt, or for what is
	// under way: each copy that is published, receipted or gone arms the next look.
	l.nextCheck = max(s.next, now+checkEvery)
	l.looked, l.armedFor, l.doubtful = now, l.timeout(), s.doubtful
	return chosen
}

// takeAgain takes messages out of again, at most limit, and marks them queued.
func (l *lane) takeAgain(limit int) (chosen []*inflight) {
	l.again = slices.DeleteFunc(l.again, func(f *inflight) bool {
		if l.window[f.id] != f || f.state != waiting {
			return true
		}
		if len(chosen) == limit {
			return false
		}
		f.state = queued
		chosen = append(chosen, f)
		return true
	})
	return chosen
}

// suspects are the messages of a window whose receipts are overdue.
type suspects struct {
	lost     []*inflight   // there is evidence that they are
	silent   []*inflight   // there is none: the consumer may be down, or slow
	underWay int           // copies that may still be answered
	next     time.Duration // when the next message becomes overdue
	doubtful doubtful
}

// suspects looks through the window.
func (l *lane) suspects(now time.Duration) suspects {
	timeout := l.timeout()
	silentAfter := max(backoff.Doubled(timeout, l.stall, l.most), timeout)
	s := suspects{next: now + l.most, doubtful: doubtful{sent: never, due: never}}
	for _, f := range l.window {
		switch f.state {
		case settling:
			continue
		case queued, publishing:
			if f.copies > 1 || f.state == queued && f.copies > 0 {
				s.underWay++
			}
			continue // it arms when it is published
		}
		if f.some() && !l.t.older {
			continue // it is parked when its time-out is over
		}
		since, patience := f.sent, backoff.Doubled(timeout, f.copies-1, l.most)
		evidence := f.state == unsure || l.newest > f.sent+l.reorderWindow()
		if !evidence {
			s.doubtful.sent, s.doubtful.due = min(s.doubtful.sent, f.sent), min(s.doubtful.due, f.sent+patience)
			since, patience = max(f.sent, l.progress), silentAfter
		}
		switch {
		case now-since < patience:
			s.next = min(s.next, since+patience)
			// One that is known to be lost has a patience that grows with each copy. The
			// others do not wait for one that is never answered.
			if f.copies > 1 && (!evidence || now-since < timeout) {
				s.underWay++
			}
		case evidence:
			s.lost = append(s.lost, f)
		default:
			s.silent = append(s.silent, f)
		}
	}
	return s
}

// limitBudget ends a slow start that is over: nothing is silent or under way any more,
// or no receipt has come for as long as the time-out.
func (r *resending) limitBudget(s *suspects, now time.Duration) {
	if len(s.silent) == 0 && s.underWay == 0 || len(s.silent) > 0 && now-r.heard > r.timeout() {
		r.budget = 1
	}
}

// probes returns n of the messages that are silent, and notes that it has. It prefers
// those with the fewest copies. Of these it takes the newest as long as no receipt comes,
// and the oldest once that of a copy has, which tells that those before it are lost.
func (r *resending) probes(silent []*inflight, n int) []*inflight {
	if n <= 0 || len(silent) == 0 {
		return nil
	}
	if r.probing {
		r.stall++
	}
	r.probing = true
	slices.SortFunc(silent, func(a, b *inflight) int {
		order := byRow(a, b)
		if r.budget == 1 {
			order = -order
		}
		return cmp.Or(cmp.Compare(a.copies, b.copies), order)
	})
	return silent[:min(n, len(silent))]
}
