package relay

import (
	"context"
	"log/slog"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/store"
)

// pump reads rows and hands them to their lanes. One goroutine runs it. Each of its
// steps reads at most one batch, so that none of them holds up the others.
type pump struct {
	t      *term
	offset time.Duration // database clock minus ours

	gaps gaps

	dueTime, dueID int64 // ScanDue's place
	nextDue        time.Time

	sweepFrom  int64 // the sweep's place
	sweepTo    int64 // where it ends; 0 between sweeps
	sweepBegan time.Time
	sweepTook  time.Duration // busy time of the sweep under way
	nextSweep  time.Time
	adopting   bool // the first sweep takes what it finds as sent by the last holder

	nextFloor time.Time
}

func newPump(t *term, clock int64) pump {
	now := time.Now()
	return pump{
		t:      t,
		offset: time.UnixMicro(clock).Sub(now),
		// What became due while nobody led was not sent by anybody.
		dueTime:  clock - 2*t.r.o.Lease.Microseconds(),
		adopting: t.cursor > 0,
	}
}

// databaseNow estimates the database's clock, in µs.
func (p *pump) databaseNow() int64 { return time.Now().Add(p.offset).UnixMicro() }

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
		if p.wait(ctx, idle) {
			idle = 0
		} else {
			idle++
		}
	}
}

// step does one round of everything that is due and reports whether there may be
// more to do at once.
func (p *pump) step(ctx context.Context) (busy bool, err error) {
	steps := []func(context.Context) (bool, error){
		p.readFloor, p.scanAhead, p.lookInGaps, p.scanDue, p.scanLagging, p.resendOverdue, p.sweep,
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

// wait waits until something is to be done, and reports whether it was woken by
// news of a commit. The longer nothing came, the longer it waits: 5 ms doubled up
// to Options.Poll.
func (p *pump) wait(ctx context.Context, idle int) (woken bool) {
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
			longest = min(longest, max(l.nextCheck-steadyNow, 5*time.Millisecond))
		}
	}
	p.t.mu.Unlock()
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-p.t.work:
	case <-p.t.r.wake:
		return true
	}
	return false
}

// scanAhead reads the rows after the cursor.
func (p *pump) scanAhead(ctx context.Context) (bool, error) {
	t := p.t
	rows, err := t.r.queue.Scan(ctx, t.cursor, t.r.o.Batch, t.r.o.BatchBytes)
	if err != nil {
		return false, err
	}
	now := time.Now()
	for i := range rows {
		if t.cursor > 0 {
			p.gaps.add(t.cursor, rows[i].ID, now)
		}
		if err := p.hold(ctx, &rows[i]); err != nil {
			return false, nil
		}
		t.admit(ctx, &rows[i], ahead)
		t.mu.Lock()
		t.cursor = rows[i].ID
		t.mu.Unlock()
	}
	return len(rows) > 0, nil
}

// hold waits while the row's lane is publishing at its own pace and merely has
// enough queued: reading on would leave the row behind only to read it twice. A
// lane that is stuck, or whose window is full, holds nobody.
func (p *pump) hold(ctx context.Context, r *store.Row) error {
	for {
		p.t.mu.Lock()
		l := p.t.lanes[laneKey{r.Destination, r.Topic}]
		healthy := l != nil && !l.lagging() && l.room() > 0 && l.queueFull() && time.Since(l.progressed) < 100*time.Millisecond
		p.t.mu.Unlock()
		if !healthy {
			return nil
		}
		timer := time.NewTimer(100 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-p.t.work:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// lookInGaps looks for rows that had not committed when the cursor passed them.
func (p *pump) lookInGaps(ctx context.Context) (bool, error) {
	ids := p.gaps.due(time.Now(), p.t.r.o.Batch)
	if len(ids) == 0 {
		return false, nil
	}
	rows, err := p.t.r.queue.Rows(ctx, ids, 0)
	if err != nil {
		return false, err
	}
	found := make(map[int64]bool, len(rows))
	for i := range rows {
		found[rows[i].ID] = true
		p.t.admit(ctx, &rows[i], ahead)
	}
	p.gaps.found(found)
	return len(found) > 0, nil
}

// scanDue reads the delayed rows whose time has come.
func (p *pump) scanDue(ctx context.Context) (bool, error) {
	now := time.Now()
	if now.Before(p.nextDue) {
		return false, nil
	}
	rows, err := p.t.r.queue.ScanDue(ctx, p.dueTime, p.dueID, p.t.r.o.Batch, p.t.r.o.BatchBytes)
	if err != nil {
		return false, err
	}
	for i := range rows {
		p.t.admit(ctx, &rows[i], timed)
		p.dueTime, p.dueID = rows[i].NotBefore, rows[i].ID
	}
	if len(rows) > 0 {
		return true, nil
	}
	// All are read: the next look begins a little earlier, for late commits, and
	// comes no sooner than a tenth of a second from now.
	p.dueTime, p.dueID = max(p.dueTime, p.databaseNow()-lateness.Microseconds()), 0
	p.nextDue = now.Add(min(p.t.r.o.Poll, 100*time.Millisecond))
	return false, nil
}

// scanLagging reads the rows that found no room in their windows, for lanes that
// have room again.
func (p *pump) scanLagging(ctx context.Context) (bool, error) {
	t := p.t
	t.mu.Lock()
	var ready []*lane
	for _, l := range t.sortedLanes() {
		if l.lagging() && !l.queueFull() && l.room() >= min(t.r.o.Batch, max(l.windowSize()/4, 1)) {
			ready = append(ready, l)
		}
	}
	t.mu.Unlock()
	for _, l := range ready {
		t.mu.Lock()
		after, limit := l.lagFrom, min(l.room(), t.r.o.Batch)
		t.mu.Unlock()
		rows, err := t.r.queue.ScanDestination(ctx, l.destination, l.topic, after, t.cursor, limit, t.r.o.BatchBytes)
		if err != nil {
			return false, err
		}
		t.mu.Lock()
		l.lagFrom = noLag
		t.mu.Unlock()
		for i := range rows {
			t.admit(ctx, &rows[i], lagged) // sets lagFrom again where there is no room
			if l.lagging() {
				break
			}
		}
		if len(rows) > 0 {
			t.mu.Lock()
			l.lag(rows[len(rows)-1].ID + 1)
			t.mu.Unlock()
		}
	}
	return len(ready) > 0, nil
}

// resendOverdue sends again what the lanes' resending asks for.
func (p *pump) resendOverdue(ctx context.Context) (bool, error) {
	t := p.t
	t.mu.Lock()
	now := t.clock.now()
	var flights []*flight
	for _, l := range t.sortedLanes() {
		flights = append(flights, l.overdue(now, t.r.o.Batch)...)
	}
	t.mu.Unlock()
	for len(flights) > 0 {
		n := min(len(flights), t.r.o.Batch)
		if err := p.sendAgain(ctx, flights[:n]); err != nil {
			p.postponeAgain(flights)
			return false, err
		}
		flights = flights[n:]
	}
	return false, nil
}

// postponeAgain gives flights back that could not be read.
func (p *pump) postponeAgain(flights []*flight) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	for _, f := range flights {
		if f.state == queued {
			f.state = sent
			f.lane.again = append(f.lane.again, f)
		}
	}
}

// sendAgain reads the flights' rows and queues them. Rows that are gone were
// confirmed without our knowing.
func (p *pump) sendAgain(ctx context.Context, flights []*flight) error {
	t := p.t
	ids := make([]int64, len(flights))
	byRow := make(map[int64]*flight, len(flights))
	for i, f := range flights {
		ids[i] = f.row
		byRow[f.row] = f
	}
	rows, err := t.r.queue.Rows(ctx, ids, 0)
	if err != nil {
		return err
	}
	var copies []int64
	for i := range rows {
		if f := byRow[rows[i].ID]; f != nil && f.copies > 0 && f.id == rows[i].MessageID {
			copies = append(copies, rows[i].ID)
			rows[i].Retry++
		}
	}
	if err := t.r.queue.CountCopies(ctx, copies); err != nil {
		return err
	}
	now := p.databaseNow()
	t.mu.Lock()
	var rejects []waybill.ID
	var reasons []string
	for i := range rows {
		r := &rows[i]
		f := byRow[r.ID]
		if f == nil || f.id != r.MessageID {
			continue // made a new message meanwhile, as 'waybill resend' does
		}
		delete(byRow, r.ID)
		if f.lane.window[f.id] != f || f.state != queued || r.NotBefore > now {
			continue
		}
		m, err := t.encode(r, f.lane)
		if err != nil {
			rejects, reasons = append(rejects, r.MessageID), append(reasons, err.Error())
			continue
		}
		f.lane.enqueue(f, m)
	}
	for _, f := range byRow {
		f.lane.drop(f)
	}
	t.mu.Unlock()
	for i, id := range rejects {
		t.reject(ctx, id, "cannot be sent: "+reasons[i])
	}
	return nil
}

// readFloor learns the id of the oldest pending row, which travels with every
// message. An old floor is a low one and does no harm, so a slow query is not asked
// often.
func (p *pump) readFloor(ctx context.Context) (bool, error) {
	began := time.Now()
	if began.Before(p.nextFloor) {
		return false, nil
	}
	floor, err := p.t.r.queue.Floor(ctx)
	if err != nil {
		return false, err
	}
	every := 2 * time.Second
	if floor.IsZero() {
		every = 200 * time.Millisecond // the table is empty: the first message soon has one
	} else {
		text := floor.String()
		p.t.floor.Store(&text)
	}
	p.nextFloor = began.Add(max(every, 100*time.Since(began)))
	return false, nil
}
