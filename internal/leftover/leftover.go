// Package leftover knows by their names the parts of something that runs and have not
// ended yet, so that what stops can say what it has left behind.
package leftover

import (
	"slices"
	"sync"
)

// Set holds the names of parts that run. The zero Set is empty and ready; it is safe for
// concurrent use.
type Set struct {
	mu      sync.Mutex
	running map[string]int
}

// While returns a function that calls f, and is in the set under this name meanwhile,
// however f ends.
func (s *Set) While(name string, f func()) func() {
	return func() {
		s.add(name, 1)
		defer s.add(name, -1)
		f()
	}
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
