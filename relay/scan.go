package relay

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/store"
)

// scanAhead reads the rows after the cursor.
func (p *pump) scanAhead(ctx context.Context) (bool, error) {
	t := p.t
	if passed := t.backlogged(); p.sparse && len(passed) > 0 {
		return p.scanPast(ctx, passed)
	}
	crash.Point("relay.scan.before")
	rows, err := t.r.queue.Scan(ctx, t.cursor, t.r.o.Batch, t.r.o.BatchBytes)
	crash.Point("relay.scan.after")
	if err != nil {
		return false, err
	}
	if len(rows) == 0 {
		p.throttled = 0
	}
	known, err := p.answersOn(ctx, rows)
	if err != nil {
		return false, err
	}
	now := time.Now()
	left := 0
	for i := range rows {
		p.passes(t.cursor, rows[i].ID, now)
		if err := p.throttle(ctx, &rows[i]); err != nil {
			return false, nil
		}
		t.admit(ctx, &rows[i], readAhead, known[rows[i].MessageID])
		if t.passedBy(&rows[i]) {
			left++
		}
	}
	p.sparse = left > 0 && 2*left >= len(rows)
	return len(rows) > 0, nil
}

// passedBy moves the cursor to a row, and reports whether it was left in the table for
// room in its window.
func (t *term) passedBy(r *store.Row) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cursor = r.ID
	l := t.lanes[laneKey{r.Destination, r.Topic}]
	return l != nil && l.waitsInTable(r.ID)
}

// backlogged returns the destinations whose rows after the cursor wait in the table.
func (t *term) backlogged() (all []store.Lane) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.order {
		if !l.isStraggler() && l.waitsInTable(t.cursor+1) {
			all = append(all, store.Lane{Destination: l.destination, Topic: l.topic})
		}
	}
	return all
}

// pastBatches is how many batches of rows scanPast walks over.
const pastBatches = 10

// scanPast is scanAhead where most rows are of destinations that have a backlog, whose
// rows scanBacklog reads later: it passes them by without reading them.
func (p *pump) scanPast(ctx context.Context, passed []store.Lane) (bool, error) {
	t := p.t
	size := pastBatches * t.r.o.Batch
	crash.Point("relay.past.before")
	all, err := t.r.queue.ScanPast(ctx, passed, t.cursor, size)
	crash.Point("relay.past.after")
	if err != nil {
		return false, err
	}
	if len(all) == 0 {
		p.throttled = 0
	}
	p.sparse = len(all) <= size/2
	busy := len(all) > 0
	for len(all) > 0 {
		end, more, err := p.admitPast(ctx, all)
		if err != nil || !more {
			return busy, err
		}
		all = all[end:]
	}
	return busy, nil
}

// admitPast reads and admits a batch of the wanted rows, and moves the cursor past them. It
// returns how many of all are done with, and whether to go on: not where a destination
// has got a backlog.
func (p *pump) admitPast(ctx context.Context, all []store.Passed) (end int, more bool, err error) {
	t := p.t
	var ids []int64
	for end = 0; end < len(all) && len(ids) < t.r.o.Batch; end++ {
		if all[end].Wanted {
			ids = append(ids, all[end].ID)
		}
	}
	rows, read, err := p.readRows(ctx, ids)
	if err != nil {
		return 0, false, err
	}
	known, err := p.answersOn(ctx, rows)
	if err != nil {
		return 0, false, err
	}
	if read < len(ids) {
		end, _ = slices.BinarySearchFunc(all, ids[read], func(x store.Passed, id int64) int { return cmp.Compare(x.ID, id) })
	}
	more = true
	now := time.Now()
	for _, x := range all[:end] {
		p.passes(x.Before, x.ID, now)
		if len(rows) > 0 && rows[0].ID == x.ID {
			if err := p.throttle(ctx, &rows[0]); err != nil {
				return 0, false, nil
			}
			t.admit(ctx, &rows[0], readAhead, known[rows[0].MessageID])
			more = !t.passedBy(&rows[0]) && more
			rows = rows[1:]
			continue
		}
		t.mu.Lock()
		t.cursor = x.ID
		t.mu.Unlock()
	}
	return end, more, nil
}

const (
	// paceLimit is how long a lane may take for a batch whose pace is worth waiting for.
	paceLimit = 100 * time.Millisecond
	// longestThrottle bounds how long one lane's pace holds up the others.
	longestThrottle = 250 * time.Millisecond
)

// throttle waits before a row is admitted whose lane is publishing at a good pace and
// merely has enough queued. Without that the row would stay behind in the table, and
// be read a second time. It does not wait for a lane that is stuck, nor for one whose
// window is full. Where there are other lanes, all the waiting until the cursor reaches
// the end of the table is bounded by longestThrottle, so that the rows behind a long
// backlog do not wait until a slow broker has taken it.
func (p *pump) throttle(ctx context.Context, r *store.Row) error {
	for {
		p.t.mu.Lock()
		l := p.t.lanes[laneKey{r.Destination, r.Topic}]
		hasRoomSoon := l != nil && !l.hasBacklog() && l.o.PerSecond == 0 && l.room() > 0 && l.queueFull() && time.Since(l.progressed) < paceLimit
		alone := len(p.t.lanes) == 1
		p.t.mu.Unlock()
		if !hasRoomSoon || !alone && p.throttled >= longestThrottle {
			return nil
		}
		began := time.Now()
		timer := time.NewTimer(paceLimit)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-p.t.woken:
		case <-timer.C:
		}
		timer.Stop()
		if !alone {
			p.throttled += time.Since(began)
		}
	}
}

// lookInGaps looks for rows that had not committed when the cursor passed them.
func (p *pump) lookInGaps(ctx context.Context) (bool, error) {
	p.gapsMu.Lock()
	due := p.gaps.due(time.Now(), p.t.r.o.Batch)
	p.gapsMu.Unlock()
	if len(due) == 0 || mutant.CursorWithoutSweep {
		return false, nil
	}
	short, long := apart(due)
	found, err := p.lookInShortGaps(ctx, short)
	if err != nil {
		p.onGaps(func(g *gaps) {
			for _, x := range long {
				g.again(x, time.Now())
			}
		})
		return false, err
	}
	for _, x := range long {
		more, err := p.lookInLongGap(ctx, x)
		if err != nil {
			return false, err
		}
		found = found || more
	}
	return found, nil
}

// lookInShortGaps reads the rows with these gaps' ids, and reports whether there are any.
func (p *pump) lookInShortGaps(ctx context.Context, short []gap) (bool, error) {
	var ids, found []int64
	for _, x := range short {
		for id := x.first; id <= x.last; id++ {
			ids = append(ids, id)
		}
	}
	err := p.eachRow(ctx, ids, func(r *store.Row, known []store.Answer) {
		found = append(found, r.ID)
		p.t.admit(ctx, r, readAhead, known)
	})
	now := time.Now()
	for _, x := range short {
		from, _ := slices.BinarySearch(found, x.first)
		to, _ := slices.BinarySearch(found, x.last+1)
		if err != nil {
			p.onGaps(func(g *gaps) { g.again(x, now) })
			continue
		}
		p.onGaps(func(g *gaps) { g.looked(x, found[from:to], from < to, true, now) })
	}
	return len(found) > 0, err
}

// longGapShare bounds the part of the time that is spent on looking at long gaps in vain:
// one part of so many, and longGapMost the time between two looks all the same.
const (
	longGapShare = 20
	longGapMost  = 5 * time.Second
)

// lookInLongGap reads a page of the rows in a gap, and reports whether any of them is
// new. What was put together of several gaps has known rows, too.
func (p *pump) lookInLongGap(ctx context.Context, x gap) (bool, error) {
	began := time.Now()
	crash.Point("relay.gap.before")
	rows, err := p.t.r.queue.Sweep(ctx, x.first-1, x.last, sweepPage)
	crash.Point("relay.gap.after")
	found := 0
	if err == nil {
		err = p.fetchMissed(ctx, rows, func(*store.Row) { found++ })
	}
	now := time.Now()
	if err != nil {
		p.onGaps(func(g *gaps) { g.again(x, now) })
		return false, err
	}
	ids := make([]int64, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	p.onGaps(func(g *gaps) {
		if cost := g.cost(now.Sub(began)); found == 0 {
			g.nextLong = now.Add(min(longGapShare*cost, longGapMost))
		}
		g.looked(x, ids, found > 0, len(rows) < sweepPage, now)
	})
	return found > 0, nil
}

// passes notes that the cursor goes from one row to another.
func (p *pump) passes(after, before int64, now time.Time) {
	if after+1 >= before {
		return
	}
	p.onGaps(func(g *gaps) { g.add(after, before, now) })
	signal(p.t.gapped)
}

// onGaps changes the gaps, and has the sweep come earlier where something is left to it.
func (p *pump) onGaps(change func(g *gaps)) {
	p.gapsMu.Lock()
	change(&p.gaps)
	missed := p.gaps.missed
	p.gapsMu.Unlock()
	if missed {
		signal(p.t.missed)
	}
}

const (
	// lateness is how far back scanDue looks: a row may be committed somewhat later
	// than the time at which it was due.
	lateness = 2 * time.Second
	// dueEvery is the least time between two looks of scanDue, once it has read all
	// that is due; less where Options.Poll is less.
	dueEvery = 100 * time.Millisecond
)

// scanDue reads the delayed rows whose time has come.
func (p *pump) scanDue(ctx context.Context) (bool, error) {
	now := time.Now()
	if now.Before(p.nextDue) {
		return false, nil
	}
	crash.Point("relay.due.before")
	rows, err := p.t.r.queue.ScanDue(ctx, p.due, p.t.r.o.Batch, p.t.r.o.BatchBytes)
	crash.Point("relay.due.after")
	if err != nil {
		return false, err
	}
	known, err := p.answersOn(ctx, rows)
	if err != nil {
		return false, err
	}
	for i := range rows {
		p.t.admit(ctx, &rows[i], readDue, known[rows[i].MessageID])
		p.due = rows[i].Place()
	}
	defer func() { p.dueMark.Store(p.due.NotBefore) }()
	if len(rows) > 0 {
		return true, nil
	}
	// All are read. Every second the next look begins somewhat earlier: for what was
	// committed late, and for what was still in its window when it became due.
	late := p.databaseNow() - lateness.Microseconds()
	if now.Before(p.nextLate) {
		late = max(late, p.due.NotBefore)
	} else {
		p.nextLate = now.Add(lateness / 2)
	}
	p.due = store.Place{NotBefore: late}
	p.nextDue = now.Add(min(p.t.r.o.Poll, dueEvery))
	return false, nil
}

// scanBacklog reads the rows that found no room in their windows, of the lanes that
// have room again: a batch for each of them.
func (p *pump) scanBacklog(ctx context.Context) (bool, error) {
	lanes := p.lanesWithRoom()
	for _, l := range lanes {
		after, upTo, limit := p.reach(l)
		if limit <= 0 {
			continue // what was read for another lane has taken the room
		}
		scan := p.scanBacklogOf
		if l.isStraggler() {
			scan = p.scanParkedOf
		}
		err := scan(ctx, l, after, upTo, limit)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		l.scanning.note(ctx, p.t, err, "read messages that waited for room", l.destination)
	}
	return len(lanes) > 0, nil
}

// lanesWithRoom returns the lanes that have a backlog and room for a good part of it:
// a batch, or a quarter of a small window.
func (p *pump) lanesWithRoom() []*lane {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	var lanes []*lane
	for _, l := range p.t.order {
		if l.hasBacklog() && !l.paused && l.scanning.isOver() && !l.queueFull() && l.room() >= min(p.t.r.o.Batch, max(l.limit()/4, 1)) {
			lanes = append(lanes, l)
		}
	}
	return lanes
}

// scanBacklogOf reads limit rows of one lane's backlog at most, which is at least 1.
func (p *pump) scanBacklogOf(ctx context.Context, l *lane, after, upTo int64, limit int) error {
	t := p.t
	began := time.Now()
	crash.Point("relay.backlog.before")
	rows, err := t.r.queue.ScanDestination(ctx, l.destination, l.topic, after, upTo, limit, t.r.o.BatchBytes)
	crash.Point("relay.backlog.after")
	if err != nil {
		return err
	}
	took := time.Since(began)
	known, err := p.answersOn(ctx, rows)
	if err != nil {
		return err
	}
	bytes := 0
	for i := range rows {
		bytes += len(rows[i].Body) + len(rows[i].Headers)
		if left := t.admit(ctx, &rows[i], readBacklog, known[rows[i].MessageID]); left {
			break
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(rows) >= limit || bytes >= t.r.o.BatchBytes {
		upTo = rows[len(rows)-1].ID
	} else {
		l.walked(took)
	}
	l.scanned(upTo, t.cursor)
	return nil
}

const (
	// leastReach is how many ids a scan of a lane's backlog walks over at first, and at
	// least: it takes a bounded time however few of the rows are the lane's.
	leastReach = 5_000
	mostReach  = 1 << 40
	// reachTime is what a walk may take. While one takes less, the next ones are longer.
	reachTime = 10 * time.Millisecond
)

// reach begins a scan of a lane's backlog. It returns where to scan, and for how many rows: none, or less than
// that, where its window has no room any more.
func (p *pump) reach(l *lane) (after, upTo int64, limit int) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	l.reach, l.left = max(l.reach, leastReach), noBacklog
	return l.backlogFrom, min(p.t.cursor, l.backlogFrom+l.reach), min(l.room(), p.t.r.o.Batch)
}

// walked notes how long it took to walk over reach ids.
func (l *lane) walked(took time.Duration) {
	switch {
	case took < reachTime/2:
		l.reach = min(2*l.reach, mostReach)
	case took > reachTime:
		l.reach = max(l.reach/2, leastReach)
	}
}

// eachRow reads the rows with these ids and calls use for each, with what named consumers
// have answered, without having more of their bodies in memory than Options.BatchBytes
// and one.
func (p *pump) eachRow(ctx context.Context, ids []int64, use func(*store.Row, []store.Answer)) error {
	ids = slices.Sorted(slices.Values(ids))
	for len(ids) > 0 {
		n := min(len(ids), p.t.r.o.Batch)
		rows, read, err := p.readRows(ctx, ids[:n])
		if err != nil {
			return err
		}
		known, err := p.answersOn(ctx, rows)
		if err != nil {
			return err
		}
		for i := range rows {
			use(&rows[i], known[rows[i].MessageID])
		}
		ids = ids[read:]
	}
	return nil
}

// readRows reads the rows with these ids, which are in ascending order, until
// Options.BatchBytes is reached. read is how many of the ids it has looked for.
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
