package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-go/waybill/internal/test/patience"
)

// process is a relay or a consumer, which is killed and started again.
type process struct {
	name string
	exec func() *exec.Cmd
	// stats is the URL of what the process tells of itself; "" where it tells nothing.
	stats string

	cmd   *exec.Cmd // nil while it is down
	ended chan struct{}
	log   *logTail
	began int // how much was in the log when it was started
	kills int
}

// logTail keeps the end of what a process wrote in all of its lives.
type logTail struct {
	mu      sync.Mutex
	text    []byte
	written int // in all
}

const logTailBytes = 64 << 10

func (l *logTail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	l.written += len(p)
	if over := len(l.text) - logTailBytes; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(p), nil
}

func (l *logTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func (l *logTail) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written
}

// supervisor has all processes of a test.
type supervisor struct {
	t         *testing.T
	processes []*process
}

func (s *supervisor) add(name string, exec func() *exec.Cmd) *process {
	p := &process{name: name, exec: exec, log: &logTail{}}
	s.processes = append(s.processes, p)
	return p
}

// start starts the process where it is down.
func (s *supervisor) start(p *process) {
	s.t.Helper()
	if p.cmd != nil {
		return
	}
	cmd := p.exec()
	cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0")
	cmd.Stdout, cmd.Stderr = p.log, p.log
	size := p.log.size()
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("start %s: %v", p.name, err)
	}
	p.cmd, p.ended = cmd, make(chan struct{})
	p.began = size
	go func(ended chan struct{}) {
		defer close(ended)
		_ = cmd.Wait() // cmd.ProcessState tells
	}(p.ended)
}

// kill kills the process with SIGKILL, before which it must not have ended.
func (s *supervisor) kill(p *process) {
	s.t.Helper()
	if p.cmd == nil {
		return
	}
	err := p.cmd.Process.Kill()
	<-p.ended
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if err != nil && !errors.Is(err, os.ErrProcessDone) || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		s.t.Fatalf("%s ended by itself: %v\n%s", p.name, p.cmd.ProcessState, p.log)
	}
	p.cmd = nil
	p.kills++
}

// stop asks all processes to end, which they do with status 0.
func (s *supervisor) stop() {
	s.t.Helper()
	for _, p := range s.processes {
		if p.cmd == nil {
			continue
		}
		// One that was started a moment ago may not listen to signals yet.
		patience.Until(s.t, p.name+" has begun to log", func() bool {
			select {
			case <-p.ended:
				return true
			default:
				return p.log.size() > p.began
			}
		})
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, p := range s.processes {
		if p.cmd == nil {
			continue
		}
		select {
		case <-p.ended:
		case <-time.After(patience.Limit):
			_ = p.cmd.Process.Kill()
			<-p.ended
			s.t.Errorf("%s did not stop within %v of SIGTERM\n%s", p.name, patience.Limit, p.log)
		}
		if !p.cmd.ProcessState.Success() {
			s.t.Errorf("%s ended with %v\n%s", p.name, p.cmd.ProcessState, p.log)
		}
		p.cmd = nil
	}
	for _, p := range s.processes {
		for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
			if strings.Contains(p.log.String(), bad) {
				s.t.Errorf("%s: %s\n%s", p.name, bad, p.log)
			}
		}
	}
}

// logStats logs what the processes tell of themselves.
func (s *supervisor) logStats() {
	for _, p := range s.processes {
		if p.stats == "" {
			continue
		}
		answer, err := http.Get(p.stats)
		if err != nil {
			s.t.Logf("%s: %v", p.name, err)
			continue
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		s.t.Logf("%s: %s %v", p.name, body, err)
	}
}

// cleanUp kills what still runs, and logs what the processes wrote where the test failed.
func (s *supervisor) cleanUp() {
	for _, p := range s.processes {
		if p.cmd != nil {
			_ = p.cmd.Process.Kill()
			<-p.ended
			p.cmd = nil
		}
		if s.t.Failed() {
			s.t.Logf("%s wrote last:\n%s", p.name, lastLines(p.log.String(), 15))
		}
	}
}

func lastLines(text string, n int) string {
	lines := bytes.Split(bytes.TrimRight([]byte(text), "\n"), []byte("\n"))
	return string(bytes.Join(lines[max(len(lines)-n, 0):], []byte("\n")))
}

func (s *supervisor) kills() string {
	var all []string
	for _, p := range s.processes {
		all = append(all, fmt.Sprintf("%s %d", p.name, p.kills))
	}
	return strings.Join(all, ", ")
}
