package relay

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/store"
)

// pump reads rows and hands them to their lanes. One goroutine runs it. Each of its
// steps reads at most one batch, so that none of them holds up the others.
type pump struct {
	t     *term
	clock int64     // the database's, in µs,
	asked time.Time // as it was then

	gaps      gaps
	throttled time.Duration // time spent in throttle since the cursor was last at the end

	dueTime, dueID int64 // ScanDue's place
	nextDue        time.Time
	nextLate       time.Time // when ScanDue's place goes back for what committed late

	sweepFrom  int64 // the sweep's place
	sweepTo    int64 // where it ends; 0 between sweeps
	sweepBegan time.Time
	sweepTook  time.Duration // busy time of the sweep under way
	nextSweep  time.Time
	adoptTo    int64 // the first sweep takes what it finds up to here as sent by the last holder

	nextFloor time.Time
}

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

// lateness is how far back ScanDue looks: a row may be committed somewhat later
// than the time at which it was due.
const lateness = 2 * time.Second

// run reads until ctx ends.
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
			p.t.log.ErrorContext(ctx, "reading messages failed; trying again", slog.Any("error", err))
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
		p.readFloor, p.scanAhead, p.lookInGaps, p.scanDue, p.scanBacklog, p.resendOverdue, p.sweep,
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

// wait waits until something is to be done. The longer nothing came, the longer it
// waits: 5 ms doubled up to Options.Poll. It returns how often it has waited in vain.
func (p *pump) wait(ctx context.Context, idle int) int {
	longest := backoff.Doubled(5*time.Millisecond, idle, p.t.r.o.Poll)
	now := time.Now()
	until := func(at time.Time) {
		if !at.IsZero() {
			longest = min(longest, max(at.Sub(now), time.Millisecond))
		}
	}
	until(p.gaps.next())
	p.t.mu.Lock()
	steadyNow := p.t.clock.now()
	for _, l := range p.t.lanes {
		if len(l.window) > 0 {
			longest = min(longest, longestStep/2) // the clock of time-outs has to be looked at
			if !l.queueFull() {                   // or else it pokes us as soon as it is not
				longest = min(longest, max(l.nextCheck-steadyNow, 5*time.Millisecond))
			}
		}
	}
	p.t.mu.Unlock()
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		return idle + 1
	case <-p.t.work:
	case <-p.t.r.wake:
		return 0
	}
	return idle
}

// scanAhead reads the rows after the cursor.
func (p *pump) scanAhead(ctx context.Context) (bool, error) {
	t := p.t
	crash.Point("relay.scan.before")
	rows, err := t.r.queue.Scan(ctx, t.cursor, t.r.o.Batch, t.r.o.BatchBytes)
	crash.Point("relay.scan.after")
	if err != nil {
		return false, err
	}
	if len(rows) == 0 {
		p.throttled = 0
	}
	now := time.Now()
	for i := range rows {
		p.gaps.add(t.cursor, rows[i].ID, now)
		if err := p.throttle(ctx, &rows[i]); err != nil {
			return false, nil
		}
		t.admit(ctx, &rows[i], readAhead)
		t.mu.Lock()
		t.cursor = rows[i].ID
		t.mu.Unlock()
	}
	return len(rows) > 0, nil
}

// throttle waits while the row's lane is publishing at its own pace and merely has
// enough queued: reading on would leave the row behind only to read it twice. A
// lane that is stuck, or whose window is full, holds nobody, and where there are
// others all the holding before the cursor reaches the end is bounded: what waits
// behind a long backlog does not wait for a slow broker to take it.
func (p *pump) throttle(ctx context.Context, r *store.Row) error {
	for {
		p.t.mu.Lock()
		l := p.t.lanes[laneKey{r.Destination, r.Topic}]
		healthy := l != nil && !l.hasBacklog() && l.room() > 0 && l.queueFull() && time.Since(l.progressed) < 100*time.Millisecond
		alone := len(p.t.lanes) == 1
		p.t.mu.Unlock()
		if !healthy || !alone && p.throttled >= longestThrottle {
			return nil
		}
		began := time.Now()
		timer := time.NewTimer(100 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-p.t.work:
		case <-timer.C:
		}
		timer.Stop()
		if !alone {
			p.throttled += time.Since(began)
		}
	}
}

// longestThrottle bounds how long one lane's pace holds up the others; see throttle.
const longestThrottle = 250 * time.Millisecond

// lookInGaps looks for rows that had not committed when the cursor passed them.
func (p *pump) lookInGaps(ctx context.Context) (bool, error) {
	ids := p.gaps.due(time.Now(), p.t.r.o.Batch)
	if len(ids) == 0 || mutant.CursorWithoutSweep {
		return false, nil
	}
	found := make(map[int64]bool)
	err := p.eachRow(ctx, ids, func(r *store.Row) {
		found[r.ID] = true
		p.t.admit(ctx, r, readAhead)
	})
	p.gaps.found(found)
	return len(found) > 0, err
}

// eachRow reads the rows with these ids and calls use for each, without having more
// of their bodies in memory than Options.BatchBytes.
func (p *pump) eachRow(ctx context.Context, ids []int64, use func(*store.Row)) error {
	ids = slices.Sorted(slices.Values(ids))
	for len(ids) > 0 {
		n := min(len(ids), p.t.r.o.Batch)
		rows, read, err := p.readRows(ctx, ids[:n])
		if err != nil {
			return err
		}
		for i := range rows {
			use(&rows[i])
		}
		ids = ids[read:]
	}
	return nil
}

// readRows reads those of the rows with these ids, in ascending order, that
// Options.BatchBytes holds, and returns how many of the ids that answers.
func (p *pump) readRows(ctx context.Context, ids []int64) (rows []store.Row, read int, err error) {
	crash.Point("relay.rows.before")
	rows, err = p.t.r.queue.Rows(ctx, ids, p.t.r.o.BatchBytes)
	crash.Point("relay.rows.after")
	bytes := 0
	for i := range rows {
		bytes += len(rows[i].Body) + len(rows[i].Headers)
	}
	if bytes < p.t.r.o.BatchBytes {
		return rows, len(ids), err // all that there are
	}
	read, _ = slices.BinarySearch(ids, rows[len(rows)-1].ID+1)
	return rows, read, err
}

// scanDue reads the delayed rows whose time has come.
func (p *pump) scanDue(ctx context.Context) (bool, error) {
	now := time.Now()
	if now.Before(p.nextDue) {
		return false, nil
	}
	crash.Point("relay.due.before")
	rows, err := p.t.r.queue.ScanDue(ctx, p.dueTime, p.dueID, p.t.r.o.Batch, p.t.r.o.BatchBytes)
	crash.Point("relay.due.after")
	if err != nil {
		return false, err
	}
	for i := range rows {
		p.t.admit(ctx, &rows[i], readDue)
		p.dueTime, p.dueID = rows[i].NotBefore, rows[i].ID
	}
	if len(rows) > 0 {
		return true, nil
	}
	// All are read. The next look comes no sooner than a tenth of a second from now,
	// and now and then it begins a little earlier: for what was committed late, and
	// for what was still in its window when it became due.
	late := p.databaseNow() - lateness.Microseconds()
	if now.Before(p.nextLate) {
		late = max(late, p.dueTime)
	} else {
		p.nextLate = now.Add(lateness / 2)
	}
	p.dueTime, p.dueID = late, 0
	p.nextDue = now.Add(min(p.t.r.o.Poll, 100*time.Millisecond))
	return false, nil
}

// scanBacklog reads the rows that found no room in their windows, for lanes that
// have room again.
func (p *pump) scanBacklog(ctx context.Context) (bool, error) {
	t := p.t
	t.mu.Lock()
	var ready []*lane
	for _, l := range t.order {
		if l.hasBacklog() && !l.queueFull() && l.room() >= min(t.r.o.Batch, max(l.windowSize()/4, 1)) {
			ready = append(ready, l)
		}
	}
	t.mu.Unlock()
	for _, l := range ready {
		t.mu.Lock()
		after, limit := l.backlogFrom, min(l.room(), t.r.o.Batch)
		t.mu.Unlock()
		crash.Point("relay.backlog.before")
		rows, err := t.r.queue.ScanDestination(ctx, l.destination, l.topic, after, t.cursor, limit, t.r.o.BatchBytes)
		crash.Point("relay.backlog.after")
		if err != nil {
			return false, err
		}
		t.mu.Lock()
		l.backlogFrom = noBacklog
		t.mu.Unlock()
		for i := range rows {
			t.admit(ctx, &rows[i], readBacklog) // sets backlogFrom again where there is no room
			if l.hasBacklog() {
				break
			}
		}
		if len(rows) > 0 {
			t.mu.Lock()
			l.leaveInTable(rows[len(rows)-1].ID + 1)
			t.mu.Unlock()
		}
	}
	return len(ready) > 0, nil
}

// resendOverdue sends again what the lanes' resending asks for.
func (p *pump) resendOverdue(ctx context.Context) (bool, error) {
	if mutant.NoResend {
		return false, nil
	}
	t := p.t
	t.mu.Lock()
	now := t.clock.now()
	var inflights []*inflight
	for _, l := range t.order {
		inflights = append(inflights, l.overdue(now, t.r.o.Batch)...)
	}
	t.mu.Unlock()
	slices.SortFunc(inflights, func(a, b *inflight) int { return cmp.Compare(a.row, b.row) })
	for len(inflights) > 0 {
		read, err := p.sendAgain(ctx, inflights[:min(len(inflights), t.r.o.Batch)])
		if err != nil {
			p.deferResend(inflights, func(*inflight) bool { return true })
			return false, err
		}
		// Large bodies: what is queued already is enough for some.
		inflights = p.deferResend(inflights[read:], func(f *inflight) bool { return f.lane.queueFull() })
	}
	return false, nil
}

// deferResend gives those inflights back that are not to be read now, and returns the others.
func (p *pump) deferResend(inflights []*inflight, which func(*inflight) bool) []*inflight {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	return slices.DeleteFunc(inflights, func(f *inflight) bool {
		if !which(f) {
			return false
		}
		if f.state == queued {
			f.state = sent
			f.lane.again = append(f.lane.again, f)
			f.lane.nextCheck = 0
		}
		return true
	})
}

// sendAgain reads the rows of the first of these inflights, which are in order of
// them, and queues them; it returns how many it has done with. Rows that are gone
// were confirmed without our knowing.
func (p *pump) sendAgain(ctx context.Context, inflights []*inflight) (int, error) {
	t := p.t
	ids := make([]int64, len(inflights))
	for i, f := range inflights {
		ids[i] = f.row
	}
	rows, read, err := p.readRows(ctx, ids)
	if err != nil {
		return 0, err
	}
	// By message, since a row may have been made a new one, as 'waybill resend' does.
	byID := make(map[waybill.ID]*inflight, read)
	for _, f := range inflights[:read] {
		byID[f.id] = f
	}
	now := p.databaseNow()
	due := rows[:0]
	var copies []int64
	for _, r := range rows {
		f := byID[r.MessageID]
		if f == nil || r.NotBefore > now {
			continue // its inflight is over: scanDue finds it when its time has come
		}
		delete(byID, r.MessageID)
		if f.copies > 0 {
			copies = append(copies, r.ID)
			r.Retry++
		}
		due = append(due, r)
	}
	crash.Point("relay.copies.before")
	err = t.r.queue.CountCopies(ctx, copies)
	crash.Point("relay.copies.after")
	if err != nil {
		return 0, err
	}
	var rejects []waybill.ID
	var reasons []string
	t.mu.Lock()
	for i := range due {
		r := &due[i]
		f := t.inflights[r.MessageID]
		if f == nil || f.state != queued {
			continue // confirmed meanwhile
		}
		m, err := t.encode(r, f.lane)
		if err != nil {
			rejects, reasons = append(rejects, r.MessageID), append(reasons, err.Error())
			continue
		}
		f.lane.enqueue(f, m)
	}
	for _, f := range byID {
		f.lane.drop(f)
		f.lane.vanished()
		t.wake()
	}
	t.mu.Unlock()
	for i, id := range rejects {
		t.reject(ctx, id, "cannot be sent: "+reasons[i])
	}
	return read, nil
}

// emptyMargin is how far below the clock the floor is where no row waits. It costs a
// consumer nothing whose retention is longer.
const emptyMargin = 24 * time.Hour

// readFloor learns the id of the oldest pending row, which travels with every
// message. An old floor is a low one and does no harm, so a slow query is not asked
// often.
func (p *pump) readFloor(ctx context.Context) (bool, error) {
	began := time.Now()
	if began.Before(p.nextFloor) {
		return false, nil
	}
	// The id of a delayed row is of the time at which it is due: ahead of the clock, and
	// no floor.
	now := time.UnixMicro(p.databaseNow())
	crash.Point("relay.floor.before")
	floor, err := p.t.r.queue.FloorBelow(ctx, waybill.LowestID(now))
	crash.Point("relay.floor.after")
	if err != nil {
		return false, err
	}
	every := 2 * time.Second
	if floor.IsZero() {
		// Nothing waits, and the first message soon will. A consumer that is told no floor
		// forgets by the clock alone: this one leaves a day for what is about to commit,
		// and for clocks that differ.
		every = 200 * time.Millisecond
		floor = waybill.LowestID(now.Add(-emptyMargin))
	}
	text := floor.String()
	p.t.floor.Store(&text)
	p.nextFloor = began.Add(max(every, 100*time.Since(began)))
	return false, nil
}
