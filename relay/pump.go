package relay

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// pump reads rows and hands them to their lanes, in loops: new rows, those whose time has
// come and those that waited for room are read in one, in small steps that take turns, so
// that no kind of row waits for long behind another. What only helps has loops of its
// own: see loop.go. Most steps read one batch at most. The exceptions are scanBacklog, with a batch for each
// lane that has room, resendOverdue, with what the time-outs of all lanes ask for, and
// sweep, which reads a page of rows without bodies and then those that were missed.
type pump struct {
	t     *term
	clock tableClock

	gapsMu    sync.Mutex // of gaps
	gaps      gaps
	throttled time.Duration // time spent in throttle since the cursor was last at the end
	sparse    bool          // most rows at the cursor were of destinations that have a backlog
	untold    bool          // nobody had told of the last rows that were found

	newest newest
	back   int64 // the row that scanNewest wants to go back to, 0 for none; guarded by term.mu

	due        store.Place  // how far scanDue has read
	dueMark    atomic.Int64 // its NotBefore, for other loops
	nextDue    time.Time    // when it looks again
	nextLate   time.Time    // when it goes back for what committed late
	nextRetire time.Time    // when idle lanes are looked for

	sweepFrom  int64     // how far the sweep has read
	sweepTo    int64     // where it ends; 0 between sweeps
	sweepBegan time.Time // the sweep under way, or the last one
	sweepTook  time.Duration
	nextSweep  time.Time
	nextPage   time.Time    // when a sweep under way goes on
	adoptTo    atomic.Int64 // the first sweep takes what it finds up to here as sent by the last holder; 0 after it

	nextFloor      time.Time
	floorPublished int64 // how many messages had been published at the last look
	floorIdle      int   // how often none were since the one before

	nextRejections time.Time // when readRejections reads again
	rejectionsRead int       // how often it has read

	orphansFrom waybill.ID // how far dropOrphans has read
	nextOrphans time.Time  // when it goes on
}

// begin sets the pump to the term's cursor; clock is the database's now, in µs.
func (p *pump) begin(t *term, clock int64) {
	p.t = t
	p.clock.set(clock)
	p.dueSince(clock)
	p.adoptTo.Store(t.cursor)
}

// dueSince has scanDue begin before the last holder's end, by the database's clock in µs:
// what became due while nobody led was not sent by anybody.
func (p *pump) dueSince(heldUntil int64) {
	p.due.NotBefore = min(p.t.began-2*p.t.r.o.Lease.Microseconds(), heldUntil-lateness.Microseconds())
	p.dueMark.Store(p.due.NotBefore)
}

// tableClock estimates the database's clock. Steps of our own wall clock do not show in it.
type tableClock struct {
	mu    sync.Mutex
	clock int64     // µs
	asked time.Time // when it was that
}

func (c *tableClock) set(clock int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock, c.asked = clock, time.Now()
}

func (c *tableClock) now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock + time.Since(c.asked).Microseconds()
}

// databaseNow estimates the database's clock, in µs.
func (p *pump) databaseNow() int64 { return p.clock.now() }

// Bounds of one step of what only helps: a statement that takes longer is given up, and
// comes again after a growing delay.
const (
	helperLimit = 30 * time.Second
	sweepLimit  = time.Minute
	// countLimit bounds the counting of copies, which is of the least use.
	countLimit = 5 * time.Second
)

// bounded is a limit that lets the lease be renewed where there is one connection for all.
func (p *pump) bounded(limit time.Duration) time.Duration {
	if p.t.r.queue.IsSmall() {
		return min(limit, p.t.r.o.Lease/4)
	}
	return limit
}

// loops returns what the relay does with the table while it leads.
func (p *pump) loops() []*loop {
	t := p.t
	helperLimit, rejectionsLimit := p.bounded(helperLimit), p.bounded(rejectionsLimit)
	all := []*loop{
		{tasks: []*task{newTask("read when messages were rejected", rejectionsLimit, p.readRejections)}, pause: until(func() time.Time { return p.nextRejections })},
		{tasks: []*task{newTask("read the floor", helperLimit, p.readFloor)}, pause: until(func() time.Time { return p.nextFloor })},
		{tasks: []*task{newTask("look for messages whose ids have gone back", helperLimit, p.scanNewest)}, pause: p.untilNewest, woken: t.r.looks},
		{
			tasks: []*task{
				newTask("go back", 0, p.takeBack),
				newTask("read new messages", 0, p.scanAhead),
				newTask("read due messages", 0, p.scanDue),
				newTask("read messages that waited for room", 0, p.scanBacklog),
				newTask("retire lanes", 0, p.retireLanes),
			},
			pause: p.untilNextLook, woken: t.r.woken, stirred: t.woken,
			found: func(told bool) {
				p.untold = !told
				signal(t.r.looks)
			},
		},
		{tasks: []*task{newTask("look for messages that committed late", helperLimit, p.lookInGaps)}, pause: p.untilNextGap, woken: t.gapped},
		{tasks: []*task{newTask("read messages that are to be sent again", 0, p.resendOverdue)}, pause: p.untilOverdue, woken: t.armed},
		{tasks: []*task{newTask("count copies", countLimit, p.countCopies)}, pause: forLong, woken: t.copies.added},
		{tasks: []*task{newTask("sweep", p.bounded(sweepLimit), p.sweep)}, pause: until(p.nextSweepAt), woken: t.missed},
	}
	if t.r.o.namesConsumers() {
		all = append(all,
			&loop{tasks: []*task{newTask("park messages", 0, p.park)}, pause: p.untilNextPark, woken: t.parks},
			&loop{tasks: []*task{newTask("drop answers without a message", helperLimit, p.dropOrphans)}, pause: until(p.nextOrphansAt)})
	}
	return all
}

// forLong is the pause of a loop that is woken.
func forLong(int) time.Duration { return time.Minute }

// run reads until ctx ends.
func (p *pump) run(ctx context.Context) {
	var running sync.WaitGroup
	for _, l := range p.loops() {
		p.t.r.parts.Go(&running, "reading the outbox", func() { l.run(ctx, p.t) })
	}
	running.Wait()
}

const (
	// leastPause is how long the table is left alone where there was something in it.
	leastPause = 5 * time.Millisecond
	// untoldPause is leastPause where nobody had told of that: the next row may come untold,
	// too. (Where each is told of, looking so often would be in vain.)
	untoldPause = 2 * time.Millisecond
	// silenceShare is the part of a silence that a row may wait behind it, one in so many:
	// of rows that nobody tells of, those that come every 100 ms are found within 5 ms.
	silenceShare = 20
)

// untilNextLook is how long the table is left alone: a share of the time since there was
// something in it, up to Options.Poll.
func (p *pump) untilNextLook(idle int) time.Duration {
	least := leastPause
	if p.untold {
		least = untoldPause
	}
	return p.share(least, idle)
}

// share is that share of a silence in which so many looks have found nothing.
func (p *pump) share(least time.Duration, idle int) time.Duration {
	// Once silenceShare pauses are over, each that is longer by that share makes it so.
	growth := math.Pow(1+1.0/silenceShare, float64(max(idle-silenceShare, 0)))
	return time.Duration(min(float64(least)*growth, float64(p.t.r.o.Poll)))
}

// untilNewest is how long it is until the next look of scanNewest, which may be soon: where
// there is more to read, or where a look has found something lately.
func (p *pump) untilNewest(idle int) time.Duration {
	return max(time.Until(p.newest.nextLook), p.share(leastPause, idle))
}

// untilNextGap is how long it is until an id is looked for that the cursor has passed.
func (p *pump) untilNextGap(int) time.Duration {
	p.gapsMu.Lock()
	defer p.gapsMu.Unlock()
	if at := p.gaps.next(); !at.IsZero() {
		return time.Until(at)
	}
	return forLong(0)
}

// untilOverdue is how long it is until a lane's time-outs are to be looked at. The clock
// that they are measured by has to be looked at more often than every longestStep.
func (p *pump) untilOverdue(int) time.Duration {
	longest := longestStep / 2
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	now := p.t.clock.now()
	for _, l := range p.t.order {
		if !l.paused && !l.queueFull() { // or else take wakes us as soon as it is not
			longest = min(longest, l.nextCheck-now)
		}
	}
	return longest
}

// untilNextPark is how long it is until a message is to be parked.
func (p *pump) untilNextPark(int) time.Duration {
	if p.t.older {
		return forLong(0) // there is no place for answers
	}
	longest := longestStep / 2 // the log is told of those that lag
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	now := p.t.clock.now()
	for _, l := range p.t.lanes {
		if l.answered > 0 {
			longest = min(longest, l.nextPark-now)
		}
	}
	return longest
}

// nextSweepAt is when a sweep is to begin, or goes on.
func (p *pump) nextSweepAt() time.Time {
	if p.sweepTo > 0 {
		return p.nextPage
	}
	if early := p.earlySweep(); p.hasMissed() && early.Before(p.nextSweep) {
		return early
	}
	return p.nextSweep
}

func (p *pump) nextOrphansAt() time.Time {
	if p.t.answered.Load() != answersSome {
		return time.Now().Add(p.t.r.o.Sweep)
	}
	return p.nextOrphans
}

// retireLanes ends lanes that have been idle for long. It belongs to the loop that
// scans for lanes, which holds on to them meanwhile.
func (p *pump) retireLanes(context.Context) (bool, error) {
	if now := time.Now(); !now.Before(p.nextRetire) {
		p.t.retire(now)
		p.nextRetire = now.Add(min(p.t.r.o.Sweep, idleLane))
	}
	return false, nil
}
