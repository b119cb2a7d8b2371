// Package supervisor runs parts of a play in processes of their own, so that they can be
// killed, paused and started again, and hears what they tell.
//
// A part is told what to do on its standard input and tells on its standard output
// what it has done, one JSON object a line each. It ends when its standard input
// does, so that none outlives the play, however that ends.
package supervisor

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

// Word is what a part tells of itself. Counters count since its process was started;
// Add sums up the words of two processes of one part, the later one's last.
type Word[W any] interface {
	comparable
	Add(later W) W
}

// Member is one part as the play sees it: a process that is started, killed and
// started again. E is what it is told, W what it tells. The methods are safe for
// concurrent use.
type Member[E any, W Word[W]] struct {
	// Name is the part's name, for a person.
	Name string
	// Command makes the command that calls Play.
	Command func() (*exec.Cmd, error)
	// Errand is what a process is told first. Lives count from 1.
	Errand func(life uint64) E
	// LogPath is the file that gets what the processes write to standard error.
	LogPath string
	// Failed is called when a process ends that nobody has ended.
	Failed func(error)

	mu    sync.Mutex
	proc  *process // nil while it is down
	lives uint64
	kills int
	past  W // of the processes before
	now   W
}

// process is one life of a member.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	words  *json.Encoder
	ended  chan struct{} // closed when it has ended and all of its words are read
	err    error         // how it ended; to be read after ended
	asked  bool          // to end; guarded by Member.mu
	paused bool          // guarded by Member.mu
}

// Start starts the part's process, where none is there.
func (m *Member[E, W]) Start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc != nil {
		return nil
	}
	log, err := os.OpenFile(m.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd, err := m.Command()
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
		return fmt.Errorf("start the %s: %w", m.Name, err)
	}
	m.lives++
	m.proc = &process{cmd: cmd, in: in, words: json.NewEncoder(in), ended: make(chan struct{})}
	m.tell(m.Errand(m.lives))
	go m.watch(m.proc, out)
	return nil
}

// Tell tells the process something. One that is down hears nothing.
func (m *Member[E, W]) Tell(errand E) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tell(errand)
}

// tell needs mu. A process that does not listen has ended, which watch notices.
func (m *Member[E, W]) tell(errand E) {
	if m.proc != nil {
		_ = m.proc.words.Encode(errand)
	}
}

// watch reads what the process tells until it ends.
func (m *Member[E, W]) watch(p *process, out io.Reader) {
	defer close(p.ended)
	words := json.NewDecoder(out)
	for {
		var w W
		if words.Decode(&w) != nil {
			break
		}
		m.mu.Lock()
		m.now = w
		m.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, out)
	p.err = p.cmd.Wait()
	_ = p.in.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	var nothing W
	m.proc = nil
	m.past, m.now = m.past.Add(m.now), nothing
	if !p.asked {
		m.Failed(fmt.Errorf("the %s has ended by itself: %w\n%s", m.Name, orEnded(p.err), m.Tail()))
	}
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("without an error")
	}
	return err
}

// Tail is the end of the part's log.
func (m *Member[E, W]) Tail() string {
	text, err := os.ReadFile(m.LogPath)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// Kill ends the process without notice, as a crash does, and returns its id; 0 where
// none is there.
func (m *Member[E, W]) Kill() (pid int) {
	m.mu.Lock()
	p := m.proc
	if p == nil {
		m.mu.Unlock()
		return 0
	}
	p.asked = true
	m.kills++
	m.mu.Unlock()
	_ = p.cmd.Process.Kill()
	<-p.ended
	return p.cmd.Process.Pid
}

// Doom tells the process an errand that it will not survive, and reports whether it
// has died of it in time. One that has not is to be killed.
func (m *Member[E, W]) Doom(errand E, patience time.Duration) bool {
	m.mu.Lock()
	p := m.proc
	if p == nil {
		m.mu.Unlock()
		return false
	}
	p.asked = true
	m.tell(errand)
	m.mu.Unlock()
	if !p.endsWithin(patience) {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kills++
	return true
}

// endsWithin waits for the process to end, for a while.
func (p *process) endsWithin(patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true
	case <-timer.C:
		return false
	}
}

// Pause stops the process where it stands, as a machine does that is out of memory or
// suspended, until Resume; it reports whether there was one to pause. It needs a system
// with SIGSTOP.
func (m *Member[E, W]) Pause() bool { return m.signal(stopSignal, true) }

// Resume lets a paused process go on.
func (m *Member[E, W]) Resume() { m.signal(continueSignal, false) }

func (m *Member[E, W]) signal(s os.Signal, paused bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc == nil || m.proc.paused == paused || m.proc.cmd.Process.Signal(s) != nil {
		return false
	}
	m.proc.paused = paused
	return true
}

// Stop ends the process in good order by telling it an errand that says so, and
// without notice where it does not end in time. Either way what did not end well is
// an error.
func (m *Member[E, W]) Stop(patience time.Duration, errand E) error {
	m.mu.Lock()
	p := m.proc
	if p == nil {
		m.mu.Unlock()
		return nil
	}
	p.asked = true
	m.tell(errand)
	m.mu.Unlock()
	if !p.endsWithin(patience) {
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	if p.err != nil {
		return fmt.Errorf("the %s did not stop in good order: %w\n%s", m.Name, p.err, m.Tail())
	}
	return nil
}

// Said is what the part has told in all of its lives.
func (m *Member[E, W]) Said() W {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.past.Add(m.now)
}

// Now is what the process that is there has told last; false where none is there.
func (m *Member[E, W]) Now() (W, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now, m.proc != nil
}

// Kills is how often the process was killed.
func (m *Member[E, W]) Kills() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kills
}

// Within waits until done says so, for a while, and reports whether it did. It
// returns the context's cause where that ends.
func Within(ctx context.Context, wait time.Duration, done func() bool) (bool, error) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(wait); !done(); {
		if time.Now().After(deadline) {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-ticker.C:
		}
	}
	return true, nil
}
