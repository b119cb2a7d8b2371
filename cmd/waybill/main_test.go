package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-go/waybill/internal/test/patience"
)

// asCommand is the variable that makes this test program the command itself.
const asCommand = "WAYBILL_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) == "1" {
		offerTime = patience.Limit
		main()
		return
	}
	os.Exit(m.Run())
}

// workspace is where a command runs: its directory, and the variables that name its
// databases and broker.
type workspace struct {
	t    *testing.T
	dir  string
	vars []string
}

func newWorkspace(t *testing.T, vars ...string) *workspace {
	return &workspace{t: t, dir: t.TempDir(), vars: vars}
}

// with is the workspace with further variables, such as another database.
func (w *workspace) with(vars ...string) *workspace {
	return &workspace{t: w.t, dir: w.dir, vars: append(w.vars[:len(w.vars):len(w.vars)], vars...)}
}

// at is the workspace for a part of its test.
func (w *workspace) at(t *testing.T) *workspace {
	return &workspace{t: t, dir: w.dir, vars: w.vars}
}

// command is the real command in a process of its own, without the variables of
// whoever runs the tests.
func (w *workspace) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Dir = w.dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WAYBILL_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	// The race detector lets a process wait for a second at its end, otherwise.
	cmd.Env = append(cmd.Env, asCommand+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, w.vars...)
	return cmd
}

// result is what became of a command.
type result struct {
	status         int
	stdout, stderr string
}

// run runs a command to its end, with stdin as its standard input.
func (w *workspace) run(stdin string, args ...string) result {
	w.t.Helper()
	cmd := w.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	timer := time.AfterFunc(patience.Limit, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// ok runs a command that has to succeed and returns its standard output.
func (w *workspace) ok(stdin string, args ...string) string {
	w.t.Helper()
	r := w.run(stdin, args...)
	if r.status != 0 {
		w.t.Fatalf("waybill %q: got exit status %d, want 0\n%s", args, r.status, r.stderr)
	}
	return r.stdout
}

// fails runs a command that has to fail with this exit status and all these texts on
// standard error.
func (w *workspace) fails(status int, stdin string, args []string, texts ...string) result {
	w.t.Helper()
	r := w.run(stdin, args...)
	if r.status != status {
		w.t.Errorf("waybill %q: got exit status %d, want %d\n%s%s", args, r.status, status, r.stdout, r.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			w.t.Errorf("waybill %q: got on standard error %q, want %q in it", args, r.stderr, text)
		}
	}
	return r
}

// process is a command that runs.
type process struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdin          io.WriteCloser
	stdout, stderr capture
	ended          chan struct{}
}

// capture collects what a process writes.
type capture struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

func (c *capture) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// start starts a command that goes on by itself. The test's end kills it.
func (w *workspace) start(args ...string) *process {
	w.t.Helper()
	p := &process{t: w.t, cmd: w.command(args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	stdin, err := p.cmd.StdinPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	p.stdin = stdin
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // cmd.ProcessState tells
	}()
	w.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if w.t.Failed() {
			w.t.Logf("waybill %q wrote:\n%s%s", args, p.stdout.String(), p.stderr.String())
		}
	})
	return p
}

// says waits until the process has written a text to standard error.
func (p *process) says(text string) {
	p.t.Helper()
	eventually(p.t, "standard error to hold "+text, func() bool { return strings.Contains(p.stderr.String(), text) })
}

// signal sends a signal.
func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// ends waits for the process's end and returns its exit status, -1 for a signal.
func (p *process) ends() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience.Limit):
		p.t.Fatal("the process does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// stops asks the process to end, which it has to do with exit status 0.
func (p *process) stops() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if status := p.ends(); status != 0 {
		p.t.Errorf("got exit status %d after SIGTERM, want 0\n%s", status, p.stderr.String())
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	patience.Until(t, what, condition)
}
