package inbox

import (
	"testing"
	"time"
)

func TestBatchSize(t *testing.T) {
	w := newWorker(&route{in: &Inbox{o: Options{BatchTime: 250 * time.Millisecond}}, o: HandleOptions{Batch: 200}})
	for i, step := range []struct {
		n      int // messages that were there; 0 for as many as may be
		took   time.Duration
		beaten bool
		want   int
	}{
		{took: 10 * time.Millisecond, want: 200},
		{took: 500 * time.Millisecond, want: 100},
		{took: 10 * time.Millisecond, want: 200}, // time alone: back at once
		{took: time.Second, beaten: true, want: 100},
		{took: 10 * time.Millisecond, want: 101}, // it lost with 200: slowly
		{took: 10 * time.Millisecond, want: 102},
		{n: 50, took: 10 * time.Millisecond, want: 102},
		{took: time.Second, want: 25},
		{took: 10 * time.Millisecond, want: 50}, // up to where it was, fast
		{took: 10 * time.Millisecond, want: 100},
		{took: 10 * time.Millisecond, want: 102},
		{took: 10 * time.Millisecond, want: 103},
		{n: 8, took: time.Second, beaten: true, want: 4},
		{n: 1, took: time.Second, beaten: true, want: 1},
		{took: time.Minute, want: 1},
		{took: 10 * time.Millisecond, want: 2},
	} {
		n := step.n
		if n == 0 {
			n = w.size
		}
		w.beaten = step.beaten
		if w.resize(n, step.took); w.size != step.want {
			t.Fatalf("step %d: the next batch is of %d, want %d", i, w.size, step.want)
		}
	}
	for range 1000 {
		w.resize(w.size, 0)
	}
	if w.size != 200 {
		t.Errorf("after a long peace the next batch is of %d, want Options.Batch, 200", w.size)
	}
}
