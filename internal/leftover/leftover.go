// Package leftover knows by their names the parts of something that runs and have not
// ended yet, so that what stops can say what it has left behind.
package leftover

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Set holds the names of parts that run. The zero Set is empty and ready; it is safe for
// concurrent use.
type Set struct {
	mu      sync.Mutex
	running map[string]int
}

// Go calls f in a goroutine of the group, as its Go does; f is in the set under this name from now
// until it ends, however it does. What relay and inbox wait for they start with Go alone.
func (s *Set) Go(group *sync.WaitGroup, name string, f func()) {
	s.add(name, 1)
	group.Go(func() {
		defer s.add(name, -1)
		f()
	})
}

// Do calls f, which is in the set under this name meanwhile, however f ends.
func (s *Set) Do(name string, f func()) {
	s.add(name, 1)
	defer s.add(name, -1)
	f()
}

func (s *Set) add(name string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		s.running = map[string]int{}
	}
	if s.running[name] += n; s.running[name] == 0 {
		delete(s.running, name)
	}
}

// Left returns others and Names or, between two parts, the name of the whole: who says that
// something goes on is never at a loss for what.
func (s *Set) Left(whole string, others ...string) []string {
	if left := append(others, s.Names()...); len(left) > 0 {
		return left
	}
	return []string{whole}
}

// Names returns the names of what runs, each once, in order.
func (s *Set) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.running))
	for name := range s.running {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// lateSteps are the steps in which Late counts its time.
const lateSteps = 20

// Late tells late why begun has ended where what should end with it goes on for longer than limit
// then. Whoever waits for that calls over when it has ended. The time is counted in steps, of which
// a pause of the whole process costs one: it is no reason to give up what had no time to end.
func Late(begun context.Context, limit time.Duration, late chan<- error) (over func()) {
	ended := make(chan struct{})
	stop := context.AfterFunc(begun, func() {
		for range lateSteps {
			step := time.NewTimer(limit / lateSteps)
			select {
			case <-step.C:
			case <-ended:
				step.Stop()
				return
			}
		}
		select {
		case late <- context.Cause(begun):
		default: // it has been told of another end
		}
	})
	return func() {
		stop()
		close(ended)
	}
}
