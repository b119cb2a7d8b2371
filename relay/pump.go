package relay

import (
	"context"
	"log/slog"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/backoff"
)

// pump reads rows and hands them to their lanes. One goroutine runs it, in small
// steps that take turns, so that no kind of row waits for long behind another. Most
// steps read one batch at most. The exceptions are scanBacklog, with a batch for each
// lane that has room, resendOverdue, with what the time-outs of all lanes ask for, and
// sweep, which reads a page of rows without bodies and then those that were missed.
type pump struct {
	t     *term
	clock int64     // the database's, in µs,
	asked time.Time // when it was asked for

	gaps      gaps
	throttled time.Duration // time spent in throttle since the cursor was last at the end
	sparse    bool          // most rows at the cursor were of destinations that have a backlog

	newest newest

	dueTime, dueID int64     // how far scanDue has read
	nextDue        time.Time // when it looks again
	nextLate       time.Time // when it goes back for what committed late

	sweepFrom  int64     // how far the sweep has read
	sweepTo    int64     // where it ends; 0 between sweeps
	sweepBegan time.Time // the sweep under way, or the last one
	sweepTook  time.Duration
	nextSweep  time.Time
	adoptTo    int64 // the first sweep takes what it finds up to here as sent by the last holder; 0 after it

	nextFloor time.Time

	orphansFrom waybill.ID // how far dropOrphans has read
	nextOrphans time.Time  // when it goes on
}

// newPump begins at the term's cursor; clock is the database's now, in µs.
func newPump(t *term, clock int64) pump {
	return pump{
		t:     t,
		clock: clock,
		asked: time.Now(),
		// What became due while nobody led was not sent by anybody.
		dueTime: clock - 2*t.r.o.Lease.Microseconds(),
		adoptTo: t.cursor,
	}
}

// databaseNow estimates the database's clock, in µs. Steps of our own wall clock do
// not show in it.
func (p *pump) databaseNow() int64 { return p.clock + time.Since(p.asked).Microseconds() }

// run reads until ctx ends. While there is no connection to the broker it stands still.
func (p *pump) run(ctx context.Context) {
	trouble := backoff.Backoff{Least: 50 * time.Millisecond, Most: 5 * time.Second}
	idle := 0
	for ctx.Err() == nil {
		if _, err := p.t.link.wait(ctx); err != nil {
			return
		}
		busy, err := p.step(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			if times, due := p.t.r.repeats.Due("reading", err.Error()); due {
				p.t.log.ErrorContext(ctx, "reading messages failed; trying again", slog.Int64("times", times), slog.Any("error", err))
			}
			trouble.Sleep(ctx)
			continue
		}
		trouble.Reset()
		if busy {
			idle = 0
			continue
		}
		idle = p.wait(ctx, idle)
	}
}

// step does one round of everything that is due and reports whether there may be
// more to do at once.
func (p *pump) step(ctx context.Context) (busy bool, err error) {
	steps := []func(context.Context) (bool, error){
		p.readFloor, p.scanAhead, p.lookInGaps, p.scanNewest, p.scanDue, p.scanBacklog, p.park, p.resendOverdue, p.sweep, p.dropOrphans,
	}
	for _, step := range steps {
		more, err := step(ctx)
		if err != nil || ctx.Err() != nil {
			return false, err
		}
		busy = busy || more
	}
	return busy, nil
}

// wait waits until something is to be done. idle is how often it has waited in vain
// since there was something; the longest wait is 5 ms, doubled each time up to
// Options.Poll. It returns the new value of idle.
func (p *pump) wait(ctx context.Context, idle int) int {
	timer := time.NewTimer(p.longestWait(idle))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		return idle + 1
	case <-p.t.woken:
	case <-p.t.r.woken:
		return 0
	}
	return idle
}

// longestWait is how long to wait where nothing wakes the pump: until the next look
// into the gaps, at the time-outs of a lane, or at the table.
func (p *pump) longestWait(idle int) time.Duration {
	longest := backoff.Doubled(5*time.Millisecond, idle, p.t.r.o.Poll)
	if at := p.gaps.next(); !at.IsZero() {
		longest = min(longest, max(time.Until(at), time.Millisecond))
	}
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	now := p.t.clock.now()
	for _, l := range p.t.order {
		if len(l.window) == 0 {
			continue
		}
		longest = min(longest, longestStep/2) // the clock has to be looked at
		if !l.queueFull() {                   // or else it wakes us as soon as it is not
			longest = min(longest, max(l.nextCheck-now, 5*time.Millisecond))
		}
	}
	return longest
}
