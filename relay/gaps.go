package relay

import (
	"cmp"
	"slices"
	"time"

	"github.com/waybill-go/waybill/store"
)

// gaps remembers ranges of ids that the cursor has passed without seeing a row:
// transactions commit out of the order of their ids, and sequences may give ids out in
// blocks, one for each session, so rows may appear there later. A gap is looked at soon
// and then at longer and longer intervals; after half a minute it is left to
// scanNewest and the sweep. Where rows have appeared in a gap, what is left of it is
// looked at soon again.
//
// Gaps of one length of which hardly any has ever been filled, as where a sequence has a
// step, are put together and looked at rarely.
//
// Nothing that is added is forgotten before its time: where there are too many gaps,
// neighbours become one, with the rows between them.
//
// The zero value is ready for use.
type gaps struct {
	short, long gapQueues
	size        int           // gaps remembered
	nextLong    time.Time     // long ones are not looked at before
	missed      bool          // something was left to the sweep
	took        time.Duration // by the last look at a long one
	fates       map[int64]fate
}

// gapQueues has a queue for each look. All gaps in it wait for the same time, so it is in
// order of time.
type gapQueues [gapLevels][]gap

// gap is the ids from first to last.
type gap struct {
	first, last int64
	due         time.Time
	level       int
	barren      bool // of such as are hardly ever filled
	of          int  // how many barren gaps were put together
}

const (
	gapLevels = 14                   // looks after 2 ms, 4 ms … 16 s each: 33 s in all
	firstGap  = 2 * time.Millisecond // until the first look

	maxGaps     = 8192 // gaps remembered
	maxLongGaps = 256  // of these, long ones: each look at one is a statement
	longGap     = 32   // ids, from which a gap is long

	barrenLevel  = 7                      // the first look at a barren gap is after 256 ms
	barrenLevels = 3                      // how many levels lie between its looks: there are 3
	maxBarren    = 1000                   // gaps that are put together
	maxFates     = 1024                   // lengths remembered
	enoughAdded  = 200                    // gaps of a length, before it is taken to be barren
	fewFilled    = 20                     // of so many gaps of a barren length, less than one is filled
	fillTime     = 100 * time.Millisecond // after which most gaps are filled that ever will be
)

// isLong says whether a gap is read as a range and not id by id.
func (x gap) isLong() bool { return x.barren || x.length() > longGap }

func (x gap) length() int64 { return x.last - x.first + 1 }

// fate is what became of gaps of one length: how many were added some time ago, and how
// many were filled.
type fate struct {
	added, filled  int
	lately, before int // were added since turned, and in the time before that
	turned         time.Time
}

// barren says whether gaps of the length are hardly ever filled.
func (f fate) barren() bool { return f.added >= enoughAdded && f.filled*fewFilled < f.added }

// add remembers the ids between after and before, both exclusive.
func (g *gaps) add(after, before int64, now time.Time) {
	if before-after <= 1 {
		return
	}
	x := gap{first: after + 1, last: before - 1}
	f := g.fates[x.length()]
	if f.lately++; now.Sub(f.turned) >= fillTime {
		f.added, f.before, f.lately, f.turned = f.added+f.before, f.lately, 0, now
	}
	g.count(x, f)
	if f.barren() {
		x.level, x.barren = barrenLevel, true
		if g.extend(x) {
			return
		}
	}
	g.push(x, now)
	g.bound()
}

// extend makes a barren gap part of the last one before it, where that is near.
func (g *gaps) extend(x gap) bool {
	queue := g.long[barrenLevel]
	if len(queue) == 0 {
		return false
	}
	last := &queue[len(queue)-1]
	if !last.barren || x.first <= last.last || x.first-last.last > longGap || last.of >= maxBarren {
		return false
	}
	last.last = x.last
	last.of++
	return true
}

// push puts a gap into the queue of its level.
func (g *gaps) push(x gap, now time.Time) {
	x.due = now.Add(firstGap << x.level)
	queues := g.queuesOf(x)
	queues[x.level] = append(queues[x.level], x)
	g.size++
}

// queuesOf are those that a gap waits in.
func (g *gaps) queuesOf(x gap) *gapQueues {
	if x.isLong() {
		return &g.long
	}
	return &g.short
}

// due takes the gaps whose time to be looked at has come: of short ones at most limit ids,
// or one gap, and of long ones one gap. The caller gives each of them back, with looked
// or, where it could not look, with again.
func (g *gaps) due(now time.Time, limit int) (all []gap) {
	all = g.short.due(now, func(x gap) bool {
		limit -= int(x.length())
		return limit >= 0
	})
	if level := g.long.first(); level >= 0 && !now.Before(g.nextLong) && !g.long[level][0].due.After(now) {
		all = append(all, g.long[level][0])
		g.long[level] = g.long[level][1:]
	}
	g.size -= len(all)
	return all
}

// due takes the gaps whose time has come: the first, and others as long as more says so.
func (q *gapQueues) due(now time.Time, more func(gap) bool) (all []gap) {
	for level, queue := range q {
		n := 0
		for n < len(queue) && !queue[n].due.After(now) && (more(queue[n]) || len(all) == 0) {
			all = append(all, queue[n])
			n++
		}
		if n == len(queue) {
			q[level] = queue[:0]
		} else {
			q[level] = queue[n:]
		}
	}
	return all
}

// cost is what a look at a long gap is taken to cost: what it or the last one took, whichever
// is less, since one slow look says little of the next.
func (g *gaps) cost(took time.Duration) time.Duration {
	cost := min(took, g.took)
	g.took = took
	return cost
}

// again takes a gap back that was not looked at.
func (g *gaps) again(x gap, now time.Time) { g.push(x, now) }

// looked takes a gap back in which there were rows with these ids, in order, of which
// some were new to the relay or not. Where all is false, there may be more behind the
// last of them.
func (g *gaps) looked(x gap, ids []int64, someNew, all bool, now time.Time) {
	if !all {
		// The rest is read soon.
		rest := gap{first: ids[len(ids)-1] + 1, last: x.last}
		x.last = ids[len(ids)-1]
		if rest.first <= rest.last {
			g.push(rest, now)
		}
	}
	if someNew {
		g.filled(x)
		g.split(x, ids, now)
	} else {
		g.empty(x, now)
	}
	g.bound()
}

// filled counts a gap in which a row has appeared. If nobody expected it to, no length is
// barren from now on.
func (g *gaps) filled(x gap) {
	if x.barren {
		clear(g.fates)
		return
	}
	f := g.fates[x.length()]
	f.filled++
	g.count(x, f)
}

func (g *gaps) count(x gap, f fate) {
	if g.fates == nil || len(g.fates) >= maxFates {
		g.fates = map[int64]fate{}
	}
	if f.added > 10*enoughAdded {
		f.added, f.filled = f.added/2, f.filled/2
	}
	g.fates[x.length()] = f
}

// empty puts a gap off in which nothing new was found.
func (g *gaps) empty(x gap, now time.Time) {
	x.level++
	if x.barren {
		x.level += barrenLevels - 1
	} else if x.barren = g.fates[x.length()].barren(); x.barren {
		x.level = max(x.level, barrenLevel)
	}
	if x.level >= gapLevels {
		g.missed = g.missed || !x.barren
		return
	}
	g.push(x, now)
}

// maxPieces is how many gaps are made of one.
const maxPieces = 16

// split makes gaps of what is left of one, without the ids of the rows that were found
// there. What is behind the last row may be filled next, as by a session that has a block
// of ids, or by the rest of a long transaction.
func (g *gaps) split(x gap, ids []int64, now time.Time) {
	var pieces []gap
	first := x.first
	for _, id := range ids {
		if id > first {
			pieces = append(pieces, gap{first: first, last: id - 1, level: x.level, barren: x.barren})
		}
		first = id + 1
	}
	if len(pieces) > maxPieces {
		pieces[0].last = pieces[len(pieces)-1].last
		pieces = pieces[:1]
	}
	for _, piece := range pieces {
		g.empty(piece, now)
	}
	if first <= x.last {
		g.push(gap{first: first, last: x.last}, now)
	}
}

// next is when a gap is to be looked at next; the zero time if none is.
func (g *gaps) next() (next time.Time) {
	if level := g.short.first(); level >= 0 {
		next = g.short[level][0].due
	}
	if level := g.long.first(); level >= 0 {
		long := g.long[level][0].due
		if long.Before(g.nextLong) {
			long = g.nextLong
		}
		if next.IsZero() || long.Before(next) {
			next = long
		}
	}
	return next
}

// first is the level of the gap that is due first; below 0 if there is none.
func (q *gapQueues) first() int {
	first := -1
	for level, queue := range q {
		if len(queue) > 0 && (first < 0 || queue[0].due.Before(q[first][0].due)) {
			first = level
		}
	}
	return first
}

func (q *gapQueues) all() []gap { return slices.Concat(q[:]...) }

// forgetFrom forgets the ids from first on: the cursor goes back to before them.
func (g *gaps) forgetFrom(first int64) {
	g.rebuild(func(all []gap) []gap {
		kept := all[:0]
		for _, x := range all {
			if x.first < first {
				x.last = min(x.last, first-1)
				kept = append(kept, x)
			}
		}
		return kept
	})
}

// hurry has the gaps that hold these rows looked at now, and returns the rows that are in
// none.
func (g *gaps) hurry(rows []store.Row, now time.Time) (outside []store.Row) {
	if len(rows) == 0 {
		return nil
	}
	ids := make([]int64, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	slices.Sort(ids)
	inside := map[int64]bool{}
	g.rebuild(func(all []gap) []gap {
		for i := range all {
			x := &all[i]
			from, _ := slices.BinarySearch(ids, x.first)
			to, _ := slices.BinarySearch(ids, x.last+1)
			for _, id := range ids[from:to] {
				inside[id] = true
			}
			if from < to {
				x.due, x.level = now, 0
			}
		}
		return all
	})
	g.nextLong = now
	return slices.DeleteFunc(slices.Clone(rows), func(r store.Row) bool { return inside[r.ID] })
}

// bound joins neighbours where there are too many gaps.
func (g *gaps) bound() {
	if g.size <= maxGaps && g.longSize() <= maxLongGaps {
		return
	}
	g.rebuild(func(all []gap) []gap {
		short, long := apart(all)
		for len(short) > maxGaps*3/4 {
			var grown []gap
			short, grown = apart(join(short))
			long = append(long, grown...)
		}
		for len(long) > maxLongGaps*3/4 {
			long = join(long)
		}
		return append(short, long...)
	})
}

func (g *gaps) longSize() (n int) {
	for _, queue := range g.long {
		n += len(queue)
	}
	return n
}

// apart takes short and long gaps apart.
func apart(all []gap) (short, long []gap) {
	for _, x := range all {
		if x.isLong() {
			long = append(long, x)
		} else {
			short = append(short, x)
		}
	}
	return short, long
}

// join makes one of every two neighbours, for those half of them that are nearest to each
// other.
func join(all []gap) []gap {
	slices.SortFunc(all, func(a, b gap) int { return cmp.Compare(a.first, b.first) })
	if len(all) < 2 {
		return all
	}
	distances := make([]int64, 0, len(all))
	for i := range len(all) - 1 {
		distances = append(distances, all[i+1].first-all[i].last)
	}
	slices.Sort(distances)
	near := distances[(len(distances)-1)/2]
	joined := all[:1]
	alone := true // the last one has not been joined yet
	for _, x := range all[1:] {
		last := &joined[len(joined)-1]
		if !alone || x.first-last.last > near {
			joined, alone = append(joined, x), true
			continue
		}
		last.last, alone = max(last.last, x.last), false
		last.level, last.barren = min(last.level, x.level), last.barren && x.barren
		if x.due.Before(last.due) {
			last.due = x.due
		}
	}
	return joined
}

// rebuild changes all gaps.
func (g *gaps) rebuild(change func([]gap) []gap) {
	all := change(append(g.short.all(), g.long.all()...))
	slices.SortStableFunc(all, func(a, b gap) int { return a.due.Compare(b.due) })
	g.short, g.long, g.size = gapQueues{}, gapQueues{}, len(all)
	for _, x := range all {
		queues := g.queuesOf(x)
		queues[x.level] = append(queues[x.level], x)
	}
}
