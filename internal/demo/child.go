package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// child is one part as the demo sees it: a process that is started, killed and
// started again.
type child struct {
	name    string // for a person
	first   errand
	command func() (*exec.Cmd, error)
	logPath string
	fail    func(error) // ends the demo

	mu     sync.Mutex
	proc   *process // nil while it is down
	faults weather
	starts uint64
	kills  int
	past   word // of the processes before
	now    word
}

// process is one life of a child.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	words *json.Encoder
	ended chan struct{} // closed when it has ended and all of its words are read
	err   error         // how it ended; to be read after ended
	asked bool          // to end; guarded by child.mu
}

// start starts the part's process.
func (c *child) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proc != nil {
		return nil
	}
	log, err := os.OpenFile(c.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd, err := c.command()
	if err != nil {
		return err
	}
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the %s: %w", c.name, err)
	}
	p := &process{cmd: cmd, in: in, words: json.NewEncoder(in), ended: make(chan struct{})}
	c.starts++
	first := c.first
	first.Seed += c.starts << 32 // each process has faults of its own
	first.Faults = &c.faults
	c.proc = p
	c.tell(first)
	go c.watch(p, out)
	return nil
}

// tell tells the process something; one that does not listen has ended, which watch
// notices. mu is held.
func (c *child) tell(e errand) {
	if c.proc != nil {
		_ = c.proc.words.Encode(e)
	}
}

// watch reads what the process tells until it ends.
func (c *child) watch(p *process, out io.Reader) {
	defer close(p.ended)
	words := json.NewDecoder(out)
	for {
		var w word
		if words.Decode(&w) != nil {
			break
		}
		c.mu.Lock()
		c.now = w
		c.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, out)
	p.err = p.cmd.Wait()
	_ = p.in.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proc = nil
	c.past, c.now = c.past.add(c.now), word{}
	if !p.asked {
		c.fail(fmt.Errorf("the %s has ended by itself: %w\n%s", c.name, orEnded(p.err), tail(c.logPath)))
	}
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("without an error")
	}
	return err
}

// tail is the end of a log.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// kill ends the process without notice, as a crash does, and returns its id.
func (c *child) kill() (pid int) {
	c.mu.Lock()
	p := c.proc
	if p == nil {
		c.mu.Unlock()
		return 0
	}
	p.asked = true
	c.kills++
	c.mu.Unlock()
	_ = p.cmd.Process.Kill()
	<-p.ended
	return p.cmd.Process.Pid
}

// stop ends the process in good order, and without notice where it does not end in
// time. Either way what did not end well is an error.
func (c *child) stop(patience time.Duration) error {
	c.mu.Lock()
	p := c.proc
	if p == nil {
		c.mu.Unlock()
		return nil
	}
	p.asked = true
	c.tell(errand{Stop: true})
	c.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	if p.err != nil {
		return fmt.Errorf("the %s did not stop in good order: %w\n%s", c.name, p.err, tail(c.logPath))
	}
	return nil
}

// setFaults sets the faults of this process and of those that come after it.
func (c *child) setFaults(w weather) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = w
	c.tell(errand{Faults: &w})
}

// said is what the part has told in all of its lives.
func (c *child) said() word {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.past.add(c.now)
}

// up reports whether the process is there and works.
func (c *child) up() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proc != nil && c.now.Ready
}

// killed is how often the process was killed.
func (c *child) killed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kills
}

// waitUp waits until the process works.
func (c *child) waitUp(ctx context.Context, patience time.Duration) error {
	if err := within(ctx, patience, c.up); err != nil {
		return err
	}
	if !c.up() {
		return fmt.Errorf("the %s is not at work after %v\n%s", c.name, patience, tail(c.logPath))
	}
	return nil
}

// pace makes the processes that come after this one take their time for each
// message.
func (c *child) pace(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first.Pace = d
}
