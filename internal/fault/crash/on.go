//go:build crashpoints

package crash

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
)

// plan is where this process dies, and what it has passed so far.
var plan = struct {
	sync.Mutex
	name    string
	passing int // the number of that at which it dies, from 1
	passed  map[string]int
	trace   io.Writer
}{passed: map[string]int{}}

var load = sync.OnceFunc(func() {
	name, passing, counted := strings.Cut(os.Getenv(Variable), "#")
	plan.name, plan.passing, plan.trace = name, 1, io.Discard
	if counted {
		n, err := strconv.Atoi(passing)
		if err != nil || n < 1 {
			panic(fmt.Sprintf("%s: %q is no passing", Variable, passing))
		}
		plan.passing = n
	}
	if path := os.Getenv(TraceVariable); path != "" {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		plan.trace = f
	}
})

// Point ends the process without notice where it is to die here.
func Point(name string) {
	load()
	plan.Lock() // a process that dies never unlocks it: nothing passes a point after that
	defer plan.Unlock()
	plan.passed[name]++
	if plan.passed[name] == 1 {
		fmt.Fprintln(plan.trace, name)
	}
	if name != plan.name || plan.passed[name] != plan.passing {
		return
	}
	fmt.Fprintln(plan.trace, DiedAt+name)
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {} // until the signal is there
}
