package leftover

import (
	"runtime"
	"slices"
	"sync"
	"testing"
)

func TestWhatRunsIsNamedOnceUntilAllOfItHasEnded(t *testing.T) {
	var s Set
	var work sync.WaitGroup
	release := []chan struct{}{make(chan struct{}), make(chan struct{}), make(chan struct{})}
	began := make(chan struct{})
	for i, name := range []string{"worker", "worker", "connection"} {
		work.Go(s.While(name, func() {
			began <- struct{}{}
			<-release[i]
		}))
		<-began
	}
	check := func(want ...string) {
		t.Helper()
		if got := s.Names(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check("connection", "worker")
	close(release[2])
	close(release[0])
	for len(s.Names()) > 1 {
		runtime.Gosched()
	}
	check("worker")
	close(release[1])
	work.Wait()
	check()
}

func TestWhatEndsItsGoroutineHasEnded(t *testing.T) {
	var s Set
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.While("quits", runtime.Goexit)()
	}()
	<-ended
	if got := s.Names(); len(got) > 0 {
		t.Errorf("got %q, want nothing", got)
	}
}
