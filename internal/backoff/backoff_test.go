package backoff

import (
	"context"
	"testing"
	"time"
)

func TestDelaysDoubleUpToTheMostAndBeginAnew(t *testing.T) {
	b := Backoff{Least: 100 * time.Millisecond, Most: time.Second}
	for range 2 {
		for _, ms := range []int{100, 200, 400, 800, 1000, 1000} {
			most := time.Duration(ms) * time.Millisecond
			if d := b.Next(); d < most/2 || d > most {
				t.Errorf("got a delay of %v, want half to all of %v", d, most)
			}
		}
		b.Reset()
	}
}

func TestDoublingDoesNotOverflow(t *testing.T) {
	for _, times := range []int{-1, 0, 62, 63, 64, 1000} {
		if d := Doubled(time.Second, times, time.Hour); d < time.Second || d > time.Hour {
			t.Errorf("a second doubled %d times: got %v, want 1s to 1h", times, d)
		}
	}
	if d := Doubled(time.Minute, 3, time.Second); d != time.Second {
		t.Errorf("got %v, want the most, 1s", d)
	}
}

func TestASleepEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b := Backoff{Least: time.Hour, Most: time.Hour}
	b.Sleep(ctx) // the test's own time-out is the judge
}
