// Package supervisor runs the roles of a scenario (a relay, a consumer, a broker) as
// processes of their own, so that they can be killed, paused and started again.
//
// The scenario makes a Process for each and calls Start, Kill, Pause, Send and Stop; the
// program that such a process runs calls Main with its Role. A process gets commands on
// its standard input and answers on its standard output with what it has done so far, its
// stats, one JSON object a line each. It ends when its standard input does, so that none
// outlives the scenario, however that ends.
//
// MakeDir makes the directory for a scenario's files, and BrokerAddress and StartBroker
// serve scenarios whose broker is the embedded one.
//
// The files: process.go (the scenario's side), role.go (the process's side), dir.go,
// broker.go; supervisortest is for tests.
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

// Stats are what a role tells of itself. Counters count since its process was started;
// Add sums up the stats of two processes of one role, the later one's last.
type Stats[S any] interface {
	comparable
	Add(later S) S
}

// Process is one role as the scenario sees it: a process that is started, killed and
// started again. C is what it is told, S what it tells. The exported fields are set before
// the first Start. The methods are safe for concurrent use.
type Process[C any, S Stats[S]] struct {
	// Name is the role's name, for a person.
	Name string
	// Exec makes the command line of a program that calls Main.
	Exec func() (*exec.Cmd, error)
	// First is the command that a process gets first. Lives count from 1.
	First func(life uint64) C
	// LogPath is the file that gets what the processes write to standard error.
	LogPath string
	// Failed is called when a process ends that the scenario has not ended.
	Failed func(error)

	mu    sync.Mutex
	life  *life // nil while it is down
	lives uint64
	kills int
	past  S // of the lives before
	now   S
}

// life is one process of the operating system.
type life struct {
	cmd      *exec.Cmd
	in       io.WriteCloser
	commands *json.Encoder
	ended    chan struct{} // closed when it has ended and all of its stats are read
	err      error         // how it ended; to be read after ended
	expected bool          // that it ends; guarded by Process.mu
	paused   bool          // guarded by Process.mu
}

// Start starts the role's process, where none is there.
func (p *Process[C, S]) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life != nil {
		return nil
	}
	log, err := os.OpenFile(p.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd, err := p.Exec()
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
		return fmt.Errorf("start the %s: %w", p.Name, err)
	}
	p.lives++
	p.life = &life{cmd: cmd, in: in, commands: json.NewEncoder(in), ended: make(chan struct{})}
	p.send(p.First(p.lives))
	go p.watch(p.life, out)
	return nil
}

// Send gives the process a command. One that is down does not get it.
func (p *Process[C, S]) Send(command C) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.send(command)
}

// send needs mu. A process that does not read has ended, which watch notices.
func (p *Process[C, S]) send(command C) {
	if p.life != nil {
		_ = p.life.commands.Encode(command)
	}
}

// watch reads the process's stats until it ends.
func (p *Process[C, S]) watch(l *life, out io.Reader) {
	defer close(l.ended)
	stats := json.NewDecoder(out)
	for {
		var s S
		if stats.Decode(&s) != nil {
			break
		}
		p.mu.Lock()
		p.now = s
		p.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, out)
	l.err = l.cmd.Wait()
	_ = l.in.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	var none S
	p.life = nil
	p.past, p.now = p.past.Add(p.now), none
	if !l.expected {
		p.Failed(fmt.Errorf("the %s has ended by itself: %w\n%s", p.Name, orEnded(l.err), p.Tail()))
	}
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("without an error")
	}
	return err
}

// Tail is the end of the role's log.
func (p *Process[C, S]) Tail() string {
	text, err := os.ReadFile(p.LogPath)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// Kill ends the process without notice, as a crash does, and returns its id; 0 where
// none is there.
func (p *Process[C, S]) Kill() (pid int) {
	p.mu.Lock()
	l := p.life
	if l == nil {
		p.mu.Unlock()
		return 0
	}
	l.expected = true
	p.kills++
	p.mu.Unlock()
	_ = l.cmd.Process.Kill()
	<-l.ended
	return l.cmd.Process.Pid
}

// Crash gives the process a command that makes it crash, and reports whether it has done
// so within patience. One that has not is still there, and is to be killed.
func (p *Process[C, S]) Crash(command C, patience time.Duration) bool {
	l := p.dismiss(command)
	if l == nil || !l.endsWithin(patience) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kills++
	return true
}

// dismiss gives the process a command after which it may end, and returns it; nil where
// none is there.
func (p *Process[C, S]) dismiss(command C) *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life != nil {
		p.life.expected = true
		p.send(command)
	}
	return p.life
}

// endsWithin waits for the process to end, for as long as patience, and reports whether
// it did.
func (l *life) endsWithin(patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-l.ended:
		return true
	case <-timer.C:
		return false
	}
}

// Pause stops the process where it stands, as a machine does that is out of memory or
// suspended, until Resume; it reports whether there was one to pause. It needs a system
// with SIGSTOP.
func (p *Process[C, S]) Pause() bool { return p.signal(stopSignal, true) }

// Resume lets a paused process go on.
func (p *Process[C, S]) Resume() { p.signal(continueSignal, false) }

func (p *Process[C, S]) signal(s os.Signal, paused bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life == nil || p.life.paused == paused || p.life.cmd.Process.Signal(s) != nil {
		return false
	}
	p.life.paused = paused
	return true
}

// Stop ends the process in good order by a command that says so; see StopAll.
func (p *Process[C, S]) Stop(patience time.Duration, command C) error {
	return StopAll(patience, command, p)
}

// StopAll ends processes in good order by a command that says so, all at the same time, so
// that none is kept from ending by what the others still do. Those that are left when for
// as long as patience none of them has ended or told anything new, and at the latest after
// ten times as long, are ended without notice, and say in their logs what they were doing.
// What did not end well is an error.
func StopAll[C any, S Stats[S]](patience time.Duration, command C, processes ...*Process[C, S]) error {
	lives := make([]*life, len(processes))
	for i, p := range processes {
		lives[i] = p.dismiss(command)
	}
	type moved struct {
		left int
		told S
	}
	progress := func() (m moved) {
		for i, p := range processes {
			if !lives[i].hasEnded() {
				m.left++
			}
			m.told = m.told.Add(p.Stats())
		}
		return m
	}
	limited, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	_, _ = Wait(limited, patience, func() bool { return progress().left == 0 }, progress)
	var errs []error
	for i, p := range processes {
		errs = append(errs, p.stopped(lives[i], patience))
	}
	return errors.Join(errs...)
}

// stopped ends a process that should have ended by now, and returns what is wrong with how
// it ended.
func (p *Process[C, S]) stopped(l *life, patience time.Duration) error {
	if l == nil {
		return nil
	}
	if !l.hasEnded() {
		if l.cmd.Process.Signal(dumpSignal) != nil || !l.endsWithin(dumpTime) {
			_ = l.cmd.Process.Kill()
			<-l.ended
		}
		return fmt.Errorf("the %s did not stop: nothing had moved for %v; %s has what it was doing", p.Name, patience, p.LogPath)
	}
	if l.err != nil {
		return fmt.Errorf("the %s did not stop in good order: %w\n%s", p.Name, l.err, p.Tail())
	}
	return nil
}

// dumpTime is how long a process may take to write down what it is doing.
const dumpTime = 2 * time.Second

// hasEnded says whether the process has ended, or was never there.
func (l *life) hasEnded() bool {
	if l == nil {
		return true
	}
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// Stats are those of all the role's processes together.
func (p *Process[C, S]) Stats() S {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.past.Add(p.now)
}

// Current are the stats of the process that is there now; false where none is there.
func (p *Process[C, S]) Current() (S, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now, p.life != nil
}

// Kills is how often the process was killed.
func (p *Process[C, S]) Kills() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kills
}

// Within waits until done says so, at most for as long as limit, and reports whether it
// did. It returns the context's cause where that ends. Time in which this process itself
// did not run, as on a machine that is overloaded, does not count.
func Within(ctx context.Context, limit time.Duration, done func() bool) (bool, error) {
	return Wait(ctx, limit, done, func() struct{} { return struct{}{} })
}

// Wait is Within with a limit that begins anew whenever progress returns another value than
// before.
func Wait[P comparable](ctx context.Context, limit time.Duration, done func() bool, progress func() P) (bool, error) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	var idle Stopwatch
	for before := progress(); !done(); {
		if now := progress(); now != before {
			before = now
			idle.Reset()
		}
		if idle.Time() > limit {
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

// Stopwatch measures time from its first use, or its last Reset, and of the time between
// two looks a quarter of a second at most: while this process did not run, those that it
// waits for had no time either. The zero value is ready to use, by one goroutine.
type Stopwatch struct {
	looked time.Time
	spent  time.Duration
}

// Time is the time so far.
func (s *Stopwatch) Time() time.Duration {
	const most = 250 * time.Millisecond
	now := time.Now()
	if !s.looked.IsZero() {
		s.spent += min(now.Sub(s.looked), most)
	}
	s.looked = now
	return s.spent
}

// Reset begins anew.
func (s *Stopwatch) Reset() { *s = Stopwatch{looked: time.Now()} }
