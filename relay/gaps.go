package relay

import "time"

// gaps remembers ids that the cursor has passed without seeing a row: transactions
// commit out of the order of their ids, so the row may appear later. An id is looked
// for soon and then at longer and longer intervals; after half a minute it is left to
// the sweep. An id whose transaction has rolled back costs these few looks.
//
// There is one queue for each look. All ids in it wait for the same time, so it is in
// order of time.
type gaps struct {
	levels [gapLevels][]gap
	size   int
	missed bool // something was left to the sweep
}

type gap struct {
	id  int64
	due time.Time
}

const (
	gapLevels    = 14                   // looks after 2 ms, 4 ms … 16 s each: 33 s in all
	firstGap     = 2 * time.Millisecond // until the first look
	maxGaps      = 50_000               // ids remembered
	maxGapLength = 256                  // a longer gap is a sequence's jump, not transactions
)

// add remembers the ids between after and before, both exclusive.
func (g *gaps) add(after, before int64, now time.Time) {
	n := before - after - 1
	if n <= 0 {
		return
	}
	if n > maxGapLength || g.size+int(n) > maxGaps {
		g.missed = true
		return
	}
	for id := after + 1; id < before; id++ {
		g.levels[0] = append(g.levels[0], gap{id, now.Add(firstGap)})
	}
	g.size += int(n)
}

// due takes the ids whose time to be looked for has come, at most limit. The caller
// tells found which of them have a row.
func (g *gaps) due(now time.Time, limit int) []int64 {
	var ids []int64
	for level := range g.levels {
		queue := g.levels[level]
		n := 0
		for n < len(queue) && len(ids) < limit && !queue[n].due.After(now) {
			id := queue[n].id
			ids = append(ids, id)
			n++
			if level+1 == gapLevels {
				g.size--
				g.missed = true
				continue
			}
			g.levels[level+1] = append(g.levels[level+1], gap{id, now.Add(firstGap << (level + 1))})
		}
		if n == len(queue) {
			g.levels[level] = queue[:0]
		} else {
			g.levels[level] = queue[n:]
		}
	}
	return ids
}

// found forgets ids, since their rows have appeared.
func (g *gaps) found(ids map[int64]bool) {
	if len(ids) == 0 {
		return
	}
	for level, queue := range g.levels {
		kept := queue[:0]
		for _, x := range queue {
			if !ids[x.id] {
				kept = append(kept, x)
			}
		}
		g.size -= len(queue) - len(kept)
		g.levels[level] = kept
	}
}

// next is when an id is to be looked for next; the zero time if none is.
func (g *gaps) next() time.Time {
	var next time.Time
	for _, queue := range g.levels {
		if len(queue) > 0 && (next.IsZero() || queue[0].due.Before(next)) {
			next = queue[0].due
		}
	}
	return next
}
