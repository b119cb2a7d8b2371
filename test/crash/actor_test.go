package crash

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/waybill-go/waybill/internal/fault/crash"
)

// actor is one part of a journey: a process that dies where it is told to and is
// started again, for the next death or for good. One goroutine uses it.
type actor struct {
	role    string
	args    []string
	dir     string   // for what it writes
	deaths  []string // points that its lives are to die at, the next one's first
	armed   string   // the point at which this life is to die; "" for none
	lives   int
	died    int // of its lives, where they were told to
	process *exec.Cmd
	stdin   io.Closer
	ended   chan struct{} // closed when the process has ended
	stopped bool          // it was asked to end
	log     bytes.Buffer  // what the process wrote; to be read after ended
}

func (a *actor) trace() string {
	return filepath.Join(a.dir, fmt.Sprintf("%s-%d.trace", a.role, a.lives))
}

// start begins a life.
func (a *actor) start(args ...string) error {
	a.lives++
	a.armed, a.stopped = "", false
	if len(a.deaths) > 0 {
		a.armed, a.deaths = a.deaths[0], a.deaths[1:]
	}
	a.log.Reset()
	cmd := exec.Command(program, append([]string{"-role", a.role}, append(a.args, args...)...)...)
	cmd.Env = append(os.Environ(), crash.Variable+"="+a.armed, crash.TraceVariable+"="+a.trace())
	cmd.Stdout, cmd.Stderr = &a.log, &a.log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	a.process, a.stdin, a.ended = cmd, stdin, ended
	go func() {
		defer close(ended)
		_ = cmd.Wait() // cmd.ProcessState tells
	}()
	return nil
}

// up says whether there is a process, as far as reap has seen.
func (a *actor) up() bool { return a.process != nil }

// atRest says whether nothing is to die here any more.
func (a *actor) atRest() bool { return a.armed == "" && len(a.deaths) == 0 }

// stop asks the process to end.
func (a *actor) stop() {
	if a.up() && !a.stopped {
		a.stopped = true
		_ = a.stdin.Close()
	}
}

// reap looks whether the process has ended, as it should have: at its point, or, where
// it had none, in good order, which it reports.
func (a *actor) reap() (finished bool, err error) {
	if !a.up() {
		return false, nil
	}
	select {
	case <-a.ended:
	default:
		return false, nil
	}
	state := a.process.ProcessState
	a.process = nil
	_ = a.stdin.Close()
	status, _ := state.Sys().(syscall.WaitStatus)
	point, _, _ := strings.Cut(a.armed, "#")
	switch {
	case a.armed != "" && status.Signaled() && status.Signal() == syscall.SIGKILL && lastLine(a.trace()) == crash.DiedAt+point:
		a.armed = ""
		a.died++
		return false, nil
	case !state.Success():
		return false, fmt.Errorf("the %s ended with %v, not at %q; it wrote\n%s", a.role, state, a.armed, a.log.String())
	case a.armed != "":
		return false, fmt.Errorf("the %s has done its work and never passed %s", a.role, a.armed)
	}
	return true, nil
}

// abandon ends the process at once.
func (a *actor) abandon() {
	if a.up() {
		_ = a.process.Process.Kill()
		<-a.ended
		a.process = nil
		_ = a.stdin.Close()
	}
}

// lastLine is the last line of a file; "" where there is none.
func lastLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}
