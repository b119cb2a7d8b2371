package relay

import (
	"testing"
	"time"
)

func TestGapsAreLookedForSoonAndThenLessAndLessOften(t *testing.T) {
	var g gaps
	start := time.Unix(1000, 0)
	g.add(10, 12, start) // id 11
	var looks []time.Duration
	for now := start; now.Before(start.Add(2 * time.Minute)); now = now.Add(time.Millisecond) {
		for _, id := range g.due(now, 100) {
			if id != 11 {
				t.Fatalf("looked for id %d", id)
			}
			looks = append(looks, now.Sub(start))
		}
	}
	if len(looks) != gapLevels {
		t.Fatalf("looked %d times, want %d", len(looks), gapLevels)
	}
	if looks[0] > 5*time.Millisecond {
		t.Errorf("first look after %v", looks[0])
	}
	for i := 2; i < len(looks); i++ {
		if looks[i]-looks[i-1] < looks[i-1]-looks[i-2] {
			t.Errorf("looks at %v do not get rarer", looks)
		}
	}
	if g.size != 0 || !g.missed {
		t.Errorf("size %d, missed %v after the last look; the sweep has to know", g.size, g.missed)
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
		t.Errorf("still looks for %v, want 12 and 14", left)
	}
}

func TestALongGapIsLeftToTheSweep(t *testing.T) {
	var g gaps
	g.add(10, 10+maxGapLength+2, time.Unix(1000, 0))
	if g.size != 0 || !g.missed {
		t.Errorf("size %d, missed %v", g.size, g.missed)
	}
	if !g.next().IsZero() {
		t.Errorf("next look at %v with nothing to look for", g.next())
	}
}

func TestNeighboursHaveNoGap(t *testing.T) {
	var g gaps
	g.add(10, 11, time.Unix(1000, 0))
	if g.size != 0 || g.missed {
		t.Errorf("size %d, missed %v", g.size, g.missed)
	}
}
