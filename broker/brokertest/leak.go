package brokertest

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// goroutines returns the stacks of all goroutines by their ids.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	stacks := map[string]string{}
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		id, _, _ := strings.Cut(stack, " [")
		stacks[id] = stack
	}
	return stacks
}

// checkGoroutines checks that the goroutines that a case has started have ended.
func (h *Harness) checkGoroutines(t testing.TB, before map[string]string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Second); ; <-tick.C {
		var left []string
		for id, stack := range goroutines() {
			if _, ok := before[id]; !ok && !h.known(stack) {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%d goroutines go on after every connection was closed, want none:\n\n%s", len(left), strings.Join(left[:min(len(left), 5)], "\n\n"))
			return
		}
	}
}

// known reports whether a goroutine belongs to the runtime, to package testing or to what
// the harness names.
func (h *Harness) known(stack string) bool {
	for _, piece := range []string{"testing.(*T).Run(", "testing.tRunner.func", "runtime.goexit0", "runtime.ensureSigM", "os/signal.", "created by runtime."} {
		if strings.Contains(stack, piece) {
			return true
		}
	}
	for _, piece := range h.Goroutines {
		if strings.Contains(stack, piece) {
			return true
		}
	}
	return false
}
