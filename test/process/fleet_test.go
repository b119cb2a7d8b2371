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
)

// ship is a place for a process: when the one in it is killed, another one starts.
type ship struct {
	name string
	cmd  func() *exec.Cmd
	// stats is where the process tells what it knows of itself; "" where it does not.
	stats string

	proc  *exec.Cmd
	ended chan struct{}
	log   *journal
	kills int
}

// journal keeps what a ship's processes wrote, the end of it.
type journal struct {
	mu   sync.Mutex
	text []byte
}

const journalBytes = 64 << 10

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text = append(j.text, p...)
	if over := len(j.text) - journalBytes; over > 0 {
		j.text = append(j.text[:0], j.text[over:]...)
	}
	return len(p), nil
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(j.text)
}

// fleet is all processes of a test.
type fleet struct {
	t     *testing.T
	ships []*ship
}

func (f *fleet) add(name string, cmd func() *exec.Cmd) *ship {
	s := &ship{name: name, cmd: cmd, log: &journal{}}
	f.ships = append(f.ships, s)
	return s
}

// start starts the ship's process where none runs.
func (f *fleet) start(s *ship) {
	f.t.Helper()
	if s.proc != nil {
		return
	}
	cmd := s.cmd()
	cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0")
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		f.t.Fatalf("start %s: %v", s.name, err)
	}
	s.proc, s.ended = cmd, make(chan struct{})
	go func(ended chan struct{}) {
		defer close(ended)
		_ = cmd.Wait() // cmd.ProcessState tells
	}(s.ended)
}

// kill kills the ship's process with SIGKILL, which it must have lived to see.
func (f *fleet) kill(s *ship) {
	f.t.Helper()
	if s.proc == nil {
		return
	}
	err := s.proc.Process.Kill()
	<-s.ended
	status, _ := s.proc.ProcessState.Sys().(syscall.WaitStatus)
	if err != nil && !errors.Is(err, os.ErrProcessDone) || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		f.t.Fatalf("%s ended by itself: %v\n%s", s.name, s.proc.ProcessState, s.log)
	}
	s.proc = nil
	s.kills++
}

// stop asks all processes to end, which they do with status 0.
func (f *fleet) stop() {
	f.t.Helper()
	for _, s := range f.ships {
		if s.proc != nil {
			_ = s.proc.Process.Signal(syscall.SIGTERM)
		}
	}
	for _, s := range f.ships {
		if s.proc == nil {
			continue
		}
		select {
		case <-s.ended:
		case <-time.After(30 * time.Second):
			_ = s.proc.Process.Kill()
			<-s.ended
			f.t.Errorf("%s did not stop within 30 s of SIGTERM\n%s", s.name, s.log)
		}
		if !s.proc.ProcessState.Success() {
			f.t.Errorf("%s ended with %v\n%s", s.name, s.proc.ProcessState, s.log)
		}
		s.proc = nil
	}
	for _, s := range f.ships {
		for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
			if strings.Contains(s.log.String(), bad) {
				f.t.Errorf("%s: %s\n%s", s.name, bad, s.log)
			}
		}
	}
}

// explain logs what the processes know of themselves.
func (f *fleet) explain() {
	for _, s := range f.ships {
		if s.stats == "" {
			continue
		}
		answer, err := http.Get(s.stats)
		if err != nil {
			f.t.Logf("%s: %v", s.name, err)
			continue
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		f.t.Logf("%s: %s %v", s.name, body, err)
	}
}

// abandon kills what still runs when a test fails.
func (f *fleet) abandon() {
	for _, s := range f.ships {
		if s.proc != nil {
			_ = s.proc.Process.Kill()
			<-s.ended
			s.proc = nil
		}
		if f.t.Failed() {
			f.t.Logf("%s wrote last:\n%s", s.name, lastLines(s.log.String(), 15))
		}
	}
}

func lastLines(text string, n int) string {
	lines := bytes.Split(bytes.TrimRight([]byte(text), "\n"), []byte("\n"))
	return string(bytes.Join(lines[max(len(lines)-n, 0):], []byte("\n")))
}

func (f *fleet) kills() string {
	var all []string
	for _, s := range f.ships {
		all = append(all, fmt.Sprintf("%s %d", s.name, s.kills))
	}
	return strings.Join(all, ", ")
}
