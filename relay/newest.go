package relay

import (
	"context"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/store"
)

// newest is how far scanNewest has come.
type newest struct {
	from     waybill.ID // how far the look under way has come; zero between looks
	begun    int64      // when it began, by the database's clock in µs
	complete int64      // when the last one began that has come to its end
	nextLook time.Time
	nextLate time.Time     // when a look goes back for what was committed late
	found    time.Time     // when a look last found what nothing else had
	took     time.Duration // by the last look
}

const (
	// newestEvery is the least time between two looks of scanNewest, or Options.Poll
	// where that is less.
	newestEvery = 100 * time.Millisecond
	// newestSoon takes its place for newestAlert after a look that has found something.
	newestSoon  = 2 * time.Millisecond
	newestAlert = time.Minute
	// newestOverlap is how far back each look begins before the one before it: a message
	// is committed somewhat later than the time in its id.
	newestOverlap = 100 * time.Millisecond
	// newestReach is how far back a look begins at most where none has come to its end for
	// long, as while the database or the broker was away. Sweeps find what is older.
	newestReach = 10 * time.Minute
	// newestShare bounds the part of the time that looks take: one part of so many; and
	// alertShare for newestAlert. One slow look says little of the next: it may have waited
	// for the lock of the very TRUNCATE after which ids begin anew. And no message is to wait
	// for the sweep because of a slow machine.
	newestShare = 50
	alertShare  = 5
	newestMost  = 5 * time.Second
)

// scanNewest looks through the messages of the last moments, in the order of their
// message ids, for those that the cursor has passed and nothing else knows: the row ids
// of new messages may go back, as after TRUNCATE … RESTART IDENTITY or where a database
// was restored, and a session may have a block of low ids for longer than gaps are
// remembered. It reads no bodies. What it finds in a gap is looked for there at once; for
// other rows the cursor goes back.
func (p *pump) scanNewest(ctx context.Context) (bool, error) {
	n := &p.newest
	now := time.Now()
	if now.Before(n.nextLook) || mutant.CursorWithoutSweep {
		return false, nil
	}
	clock := p.databaseNow()
	// The id of a delayed row is of the time at which it is due: ahead of the clock, and
	// scanDue's.
	below := waybill.LowestID(time.UnixMicro(clock).Add(time.Second))
	crash.Point("relay.newest.before")
	rows, err := p.t.r.queue.ScanNewest(ctx, p.newestFrom(now, clock), below, sweepPage)
	crash.Point("relay.newest.after")
	if err != nil {
		return false, err
	}
	next := waybill.ID{}
	if len(rows) == sweepPage {
		next = rows[len(rows)-1].MessageID
	}
	p.t.mu.Lock()
	cursor := p.t.cursor
	p.t.mu.Unlock()
	rows = slices.DeleteFunc(rows, func(r store.Row) bool { return r.ID > cursor }) // scanAhead's
	missed := p.missed(rows)
	var found []int64
	var outside []store.Row
	p.onGaps(func(g *gaps) { outside = g.hurry(missed, now) })
	signal(p.t.gapped)
	if err := p.fetchMissed(ctx, outside, func(r *store.Row) { found = append(found, r.ID) }); err != nil {
		return false, err
	}
	took := time.Since(now)
	if len(found) > 0 {
		n.found = now
		p.askBack(slices.Min(found))
	}
	more := !next.IsZero()
	if n.from = next; !more {
		n.complete = n.begun
	}
	n.nextLook = time.Now().Add(n.rest(now, took, min(p.t.r.o.Poll, newestEvery), more))
	return len(missed) > 0, nil
}

// rest is the time to the next look after one that began at a time and took so long; least
// is the least, but for newestAlert, and where there is more to read: pages are as many as
// messages come, and looks that fell behind would find late what has gone back.
func (n *newest) rest(began time.Time, took, least time.Duration, more bool) time.Duration {
	cost := min(took, n.took)
	n.took = took
	every := max(least, min(newestShare*cost, newestMost))
	if more || !n.found.IsZero() && began.Sub(n.found) < newestAlert {
		every = min(every, newestSoon+alertShare*cost)
	}
	return every
}

// newestFrom is where a look begins: where the last one has ended, if it has not come to
// the end, or else somewhat before the last one began that has, and every second further
// back.
func (p *pump) newestFrom(now time.Time, clock int64) waybill.ID {
	n := &p.newest
	earliest := clock - lateness.Microseconds()
	overlap := earliest
	if n.complete > 0 {
		overlap = max(n.complete-newestOverlap.Microseconds(), clock-newestReach.Microseconds())
		earliest = min(earliest, overlap)
	}
	if p.adoptTo.Load() > 0 {
		earliest = max(earliest, p.t.began+time.Second.Microseconds()) // older ones may be the last holder's
	}
	from := waybill.LowestID(time.UnixMicro(earliest))
	if n.from.Compare(from) > 0 {
		return n.from
	}
	n.begun = clock
	if !now.Before(n.nextLate) {
		n.nextLate = now.Add(lateness / 2)
		return from
	}
	return waybill.LowestID(time.UnixMicro(max(overlap, earliest)))
}

// askBack has the cursor go back to before a row: it is scanAhead's loop that moves it.
func (p *pump) askBack(row int64) {
	p.t.mu.Lock()
	if p.back == 0 || row < p.back {
		p.back = row
	}
	p.t.mu.Unlock()
	p.t.wake()
}

// takeBack goes back where scanNewest has asked for it.
func (p *pump) takeBack(context.Context) (bool, error) {
	p.t.mu.Lock()
	row := p.back
	p.back = 0
	p.t.mu.Unlock()
	if row == 0 {
		return false, nil
	}
	p.goBack(row)
	return true, nil
}

// goBack makes the cursor go back to before a row that it had passed, so that the rows
// behind that one are found by scanAhead and in gaps again. Where more than a batch of
// rows would be read again, as of a backlog, the cursor stays, and the ids behind that row
// up to the next one that is known become a gap.
func (p *pump) goBack(row int64) {
	t := p.t
	t.mu.Lock()
	defer t.mu.Unlock()
	known, next := 0, t.cursor+1
	for _, f := range t.inflights {
		if f.row > row {
			known++
			next = min(next, f.row)
		}
	}
	backlog := false
	for _, l := range t.order {
		if l.hasBacklog() && l.backlogFrom < t.cursor {
			backlog = true
			next = min(next, max(l.backlogFrom, row)+1)
		}
	}
	if backlog || known > t.r.o.Batch || p.adoptTo.Load() > 0 {
		p.onGaps(func(g *gaps) { g.add(row, next, time.Now()) })
		signal(t.gapped)
		return
	}
	p.onGaps(func(g *gaps) { g.forgetFrom(row) })
	t.cursor = min(t.cursor, row-1)
}
