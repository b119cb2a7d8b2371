package relay

import (
	"testing"
	"time"
)

func TestGapsAreLookedForSoonAndThenAtLongerAndLongerIntervals(t *testing.T) {
	var g gaps
	start := time.Unix(1000, 0)
	g.add(10, 12, start) // id 11
	var looks []time.Duration
	for now := start; now.Before(start.Add(2 * time.Minute)); now = now.Add(time.Millisecond) {
		for _, id := range g.due(now, 100) {
			if id != 11 {
				t.Fatalf("looked for id %d, want 11", id)
			}
			looks = append(looks, now.Sub(start))
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

func TestGapsFoundAreForgotten(t *testing.T) {
	var g gaps
	start := time.Unix(1000, 0)
	g.add(10, 15, start) // 11 to 14
	g.due(start.Add(time.Second), 2)
	g.found(map[int64]bool{11: true, 13: true})
	if g.size != 2 {
		t.Fatalf("size %d, want 2", g.size)
	}
	left := map[int64]bool{}
	for _, id := range g.due(start.Add(time.Hour), 100) {
		left[id] = true
	}
	if !left[12] || !left[14] || left[11] || left[13] {
		t.Errorf("still looks for %v, want 12 and 14 alone", left)
	}
}

func TestALongGapIsLeftToTheSweep(t *testing.T) {
	var g gaps
	g.add(10, 10+maxGapLength+2, time.Unix(1000, 0))
	if g.size != 0 || !g.missed {
		t.Errorf("got size %d, missed %v; want 0 and true", g.size, g.missed)
	}
	if !g.next().IsZero() {
		t.Errorf("got the next look at %v, want none", g.next())
	}
}

func TestNeighboursHaveNoGap(t *testing.T) {
	var g gaps
	g.add(10, 11, time.Unix(1000, 0))
	if g.size != 0 || g.missed {
		t.Errorf("got size %d, missed %v; want 0 and false", g.size, g.missed)
	}
}
