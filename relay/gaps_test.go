package relay

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var gapsBegan = time.Unix(1000, 0)

// looker looks into gaps as the pump does, in a time of its own.
type looker struct {
	gaps
	now   time.Time
	there map[int64]bool          // rows that nobody has seen yet
	seen  map[int64]time.Duration // when they were seen
	looks int                     // at short gaps' ids, and at long gaps
}

func newLooker() *looker {
	return &looker{now: gapsBegan, there: map[int64]bool{}, seen: map[int64]time.Duration{}}
}

// look takes one step of the pump; page is the most rows that a look at a long gap reads.
func (l *looker) look(page int) {
	due := l.due(l.now, 500)
	for _, x := range due {
		if x.isLong() {
			l.looks++
		} else {
			l.looks += int(x.length())
		}
		var ids []int64
		for id := range l.there {
			if x.first <= id && id <= x.last {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		all := len(ids) < page || !x.isLong()
		if !all {
			ids = ids[:page]
		}
		for _, id := range ids {
			delete(l.there, id)
			l.seen[id] = l.now.Sub(gapsBegan)
		}
		l.looked(x, ids, len(ids) > 0, all, l.now)
	}
}

// passes lets time go by.
func (l *looker) passes(d time.Duration) {
	for end := l.now.Add(d); l.now.Before(end); l.now = l.now.Add(time.Millisecond) {
		l.look(1000)
	}
}

func TestGapsAreLookedForSoonAndThenAtLongerAndLongerIntervals(t *testing.T) {
	for _, last := range []int64{11, 1_000_000} {
		var g gaps
		g.add(10, last+1, gapsBegan)
		var looks []time.Duration
		for now := gapsBegan; now.Before(gapsBegan.Add(2 * time.Minute)); now = now.Add(time.Millisecond) {
			for _, x := range g.due(now, 100) {
				if x.first != 11 || x.last != last {
					t.Fatalf("looked for the ids %d to %d, want 11 to %d", x.first, x.last, last)
				}
				looks = append(looks, now.Sub(gapsBegan))
				g.looked(x, nil, false, true, now)
			}
		}
		if len(looks) != gapLevels {
			t.Fatalf("looked %d times, want %d", len(looks), gapLevels)
		}
		if looks[0] > 5*time.Millisecond {
			t.Errorf("first look after %v, want 5ms at most", looks[0])
		}
		for i := 2; i < len(looks); i++ {
			if looks[i]-looks[i-1] < looks[i-1]-looks[i-2] {
				t.Errorf("looks at %v, want longer and longer intervals", looks)
			}
		}
		if g.size != 0 || !g.missed {
			t.Errorf("after the last look: got size %d, missed %v; want 0 and true, so that the sweep knows", g.size, g.missed)
		}
	}
}

func TestWhatIsLeftOfAGapIsLookedFor(t *testing.T) {
	var g gaps
	g.add(10, 20, gapsBegan) // 11 to 19
	now := gapsBegan.Add(time.Second)
	for _, x := range g.due(now, 100) {
		g.looked(x, []int64{11, 14, 15}, true, true, now)
	}
	left := map[int64]bool{}
	for _, x := range g.due(now.Add(time.Hour), 100) {
		for id := x.first; id <= x.last; id++ {
			left[id] = true
		}
	}
	for id := int64(11); id < 20; id++ {
		if want := id != 11 && id != 14 && id != 15; left[id] != want {
			t.Errorf("still looks for %d: %v, want %v", id, left[id], want)
		}
	}
	if next := g.next(); !next.IsZero() || g.size != 0 {
		t.Errorf("got the next look at %v and size %d, want none", next, g.size)
	}
}

func TestALongTransactionIsFoundAsFastAsAShortOne(t *testing.T) {
	for _, n := range []int64{1, 10, 256, 257, 20_000} {
		l := newLooker()
		l.add(0, n+1, l.now)
		l.passes(100 * time.Millisecond)
		for id := range n {
			l.there[id+1] = true
		}
		l.passes(100 * time.Millisecond)
		if len(l.seen) == 0 {
			t.Errorf("%d messages that were committed after 100ms: none was found within another 100ms", n)
		}
		l.passes(2 * time.Second)
		if len(l.there) > 0 {
			t.Errorf("%d messages that were committed after 100ms: %d of them were not found within 2s", n, len(l.there))
		}
	}
}

func TestASessionThatHasABlockOfIdsIsFollowed(t *testing.T) {
	l := newLooker()
	l.add(0, 1001, l.now)
	for id := int64(1); id <= 100; id++ {
		l.passes(100 * time.Millisecond)
		sent := l.now.Sub(gapsBegan)
		l.there[id] = true
		l.passes(300 * time.Millisecond)
		if late := l.seen[id] - sent; l.there[id] || late > 256*time.Millisecond {
			t.Fatalf("row %d was found: %v, after %v; want 256ms at most", id, !l.there[id], late)
		}
	}
}

// As where auto_increment_increment is 3, or a sequence has INCREMENT BY 1000.
func TestIdsThatNoRowEverHasCostLittle(t *testing.T) {
	for _, step := range []int64{2, 3, 10, 1000} {
		l := newLooker()
		cursor := int64(0)
		late := int64(0)
		for range 60_000 {
			for range 2 {
				l.add(cursor, cursor+step, l.now)
				cursor += step
			}
			if l.now.Sub(gapsBegan) == 30*time.Second { // a transaction that commits later
				late = cursor + step
				l.add(cursor, cursor+2*step, l.now)
				cursor += 2 * step
			}
			if l.now.Sub(gapsBegan) == 30*time.Second+20*time.Millisecond {
				l.there[late] = true
			}
			if l.now.Sub(gapsBegan) == time.Second {
				l.looks = 0
			}
			l.passes(time.Millisecond)
		}
		if most := 25 * 60; l.looks > most {
			t.Errorf("step %d, 2000 messages/s: %d looks in a minute, want %d at most", step, l.looks, most)
		}
		if after := l.seen[late] - 30*time.Second - 20*time.Millisecond; l.seen[late] == 0 || after > 100*time.Millisecond {
			t.Errorf("step %d: a transaction that was late was found %v after it was committed, want 100ms at most", step, after)
		}
		if l.size > maxGaps || l.longSize() > maxLongGaps {
			t.Errorf("step %d: remembers %d gaps, want %d at most", step, l.size, maxGaps)
		}
	}
}

func TestManyGapsAreJoinedAndNoneIsForgotten(t *testing.T) {
	for _, length := range []int64{1, 20, 5000} {
		var g gaps
		dice := rand.New(rand.NewPCG(1, 2))
		cursor := int64(0)
		var ids []int64
		for range 3 * maxGaps {
			n := 1 + dice.Int64N(length)
			g.add(cursor, cursor+n+1, gapsBegan)
			ids = append(ids, cursor+1+dice.Int64N(n))
			cursor += n + 1 + dice.Int64N(100)
			if g.size > maxGaps || g.longSize() > maxLongGaps {
				t.Fatalf("remembers %d gaps, %d of them long; want %d and %d at most", g.size, g.longSize(), maxGaps, maxLongGaps)
			}
		}
		all := append(g.short.all(), g.long.all()...)
		for _, id := range ids {
			if !slices.ContainsFunc(all, func(x gap) bool { return x.first <= id && id <= x.last }) {
				t.Fatalf("gaps of up to %d ids: id %d is forgotten", length, id)
			}
		}
		if g.missed {
			t.Errorf("gaps of up to %d ids: something was left to the sweep", length)
		}
	}
}

func TestNeighboursHaveNoGap(t *testing.T) {
	var g gaps
	g.add(10, 11, gapsBegan)
	if g.size != 0 || g.missed || !g.next().IsZero() {
		t.Errorf("got size %d, missed %v, the next look at %v; want 0, false and none", g.size, g.missed, g.next())
	}
}
