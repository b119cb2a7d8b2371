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

// process is one part of a journey. It dies where it is told to and is started again,
// for the next death or for good: each time that is another life. One goroutine uses it.
type process struct {
	role    string
	args    []string
	dir     string    // for what it writes
	deaths  []string  // points that its lives are to die at, the next one's first
	armed   string    // the point at which this life is to die; "" for none
	lives   int       // that have begun
	died    int       // how many of its lives have ended where they were to
	cmd     *exec.Cmd // this life; nil between two of them
	stdin   io.Closer
	ended   chan struct{} // closed when the process has ended
	stopped bool          // it was asked to end
	log     bytes.Buffer  // what the process wrote; to be read after ended
}

// trace is the path of the file with the points that this life has passed.
func (p *process) trace() string {
	return filepath.Join(p.dir, fmt.Sprintf("%s-%d.trace", p.role, p.lives))
}

// start begins a life.
func (p *process) start(args ...string) error {
	p.lives++
	p.armed, p.stopped = "", false
	if len(p.deaths) > 0 {
		p.armed, p.deaths = p.deaths[0], p.deaths[1:]
	}
	p.log.Reset()
	cmd := exec.Command(program, append([]string{"-role", p.role}, append(p.args, args...)...)...)
	cmd.Env = append(os.Environ(), crash.Variable+"="+p.armed, crash.TraceVariable+"="+p.trace())
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	p.cmd, p.stdin, p.ended = cmd, stdin, ended
	go func() {
		defer close(ended)
		_ = cmd.Wait() // cmd.ProcessState tells
	}()
	return nil
}

// up says whether there is a process, as far as reap has seen.
func (p *process) up() bool { return p.cmd != nil }

// diesNoMore says whether nothing is to die here any more.
func (p *process) diesNoMore() bool { return p.armed == "" && len(p.deaths) == 0 }

// stop asks the process to end.
func (p *process) stop() {
	if p.up() && !p.stopped {
		p.stopped = true
		_ = p.stdin.Close()
	}
}

// reap looks whether the process has ended, as it should have: at its point, or, where
// it had none, in good order, which it reports.
func (p *process) reap() (finished bool, err error) {
	if !p.up() {
		return false, nil
	}
	select {
	case <-p.ended:
	default:
		return false, nil
	}
	state := p.cmd.ProcessState
	p.cmd = nil
	_ = p.stdin.Close()
	status, _ := state.Sys().(syscall.WaitStatus)
	point, _, _ := strings.Cut(p.armed, "#")
	switch {
	case p.armed != "" && status.Signaled() && status.Signal() == syscall.SIGKILL && lastLine(p.trace()) == crash.DiedAt+point:
		p.armed = ""
		p.died++
		return false, nil
	case !state.Success():
		return false, fmt.Errorf("the %s ended with %v, not at %q; it wrote\n%s", p.role, state, p.armed, p.log.String())
	case p.armed != "":
		return false, fmt.Errorf("the %s ended well and never passed %s", p.role, p.armed)
	}
	return true, nil
}

// kill ends the process at once.
func (p *process) kill() {
	if p.up() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		p.cmd = nil
		_ = p.stdin.Close()
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
