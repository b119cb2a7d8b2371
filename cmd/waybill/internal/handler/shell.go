package handler

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/jsonl"
)

// exitPermanent is the exit status of a command that will never take the message:
// EX_DATAERR of sysexits.h. Any other but 0, such as 75 (EX_TEMPFAIL), asks for the
// message again.
const exitPermanent = 65

// grace is how long a command that has run out of time, or whose process is to end, may
// take to end before it is killed.
const grace = 5 * time.Second

// Shell gives each message's body to a command on its standard input. It is safe for
// concurrent use. When our process ends while commands run, they end with it; see leash.
type Shell struct {
	command        string
	stdout, stderr io.Writer
	mu             sync.Mutex // around stdout and stderr
	leash          leash
}

// NewShell runs command through the shell. What it writes goes to stdout and stderr.
func NewShell(command string, stdout, stderr io.Writer) *Shell {
	return &Shell{command: command, stdout: stdout, stderr: stderr}
}

// Close frees what commands needed. None may run any more, and whatever does is killed.
func (s *Shell) Close() { s.leash.close() }

// Handle is the inbox.Handler: exit status 0 is done, 65 a permanent error, all else
// an error with the end of what the command wrote to its standard error.
func (s *Shell) Handle(ctx context.Context, _ *sql.Tx, m *waybill.Message) error {
	environment, err := environment(m)
	if err != nil {
		return err
	}
	name, args := shell(s.command)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdin = bytes.NewReader(m.Body)
	last := &tail{}
	cmd.Stdout = shared{&s.mu, s.stdout}
	cmd.Stderr = io.MultiWriter(last, shared{&s.mu, s.stderr})
	prepare(cmd)
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	// It also bounds the wait for children that the command left behind with its
	// output open.
	cmd.WaitDelay = grace
	begin, done, err := hold(cmd)
	if err != nil {
		return fmt.Errorf("cannot run the command: %w", err)
	}
	defer done()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot run the command: %w", err)
	}
	group := cmd.Process.Pid
	if err := errors.Join(s.leash.add(group), begin()); err != nil {
		kill(cmd.Process)
		_ = cmd.Wait()
		s.leash.remove(group)
		return fmt.Errorf("cannot run the command: %w", err)
	}
	done()
	err = cmd.Wait()
	if ctx.Err() != nil {
		kill(cmd.Process)
	}
	s.leash.remove(group)
	return verdict(ctx, cmd.ProcessState, err, last.String())
}

// verdict says what a command's end means.
func verdict(ctx context.Context, state *os.ProcessState, err error, said string) error {
	switch {
	case state != nil && state.Success():
		// Any error is about its input, which it need not read, or about passing on
		// its output.
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("the command was stopped: %w", ctx.Err())
	case state == nil:
		return fmt.Errorf("wait for the command: %w", err)
	}
	failure := errors.New(state.String())
	if said != "" {
		failure = fmt.Errorf("%s: %s", state, said)
	}
	if state.ExitCode() == exitPermanent {
		return waybill.Permanent(failure)
	}
	return failure
}

// environment is what a command learns of its message besides the body.
func environment(m *waybill.Message) ([]string, error) {
	headers := m.Headers
	if headers == nil {
		headers = map[string]string{}
	}
	text, err := jsonl.Marshal(headers)
	if err != nil {
		return nil, err
	}
	return []string{
		"WAYBILL_MESSAGE_ID=" + m.ID.String(),
		"WAYBILL_DESTINATION=" + m.Destination,
		"WAYBILL_KEY=" + m.Key,
		"WAYBILL_TIME_STAMP=" + strconv.FormatInt(m.TimeStamp, 10),
		"WAYBILL_SEQUENCE=" + strconv.FormatInt(m.Sequence, 10),
		"WAYBILL_PRODUCER=" + m.Producer,
		"WAYBILL_ATTEMPT=" + strconv.Itoa(m.Attempt),
		"WAYBILL_FAILURES=" + strconv.Itoa(m.Failures),
		"WAYBILL_HEADERS=" + strings.TrimSuffix(string(text), "\n"),
	}, nil
}

// shared is a writer that several commands write to, a piece at a time.
type shared struct {
	mu *sync.Mutex
	w  io.Writer
}

func (s shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// tailBytes is how much of a command's standard error a receipt tells.
const tailBytes = 1000

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
	cut  bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailBytes; over > 0 {
		t.text, t.cut = append(t.text[:0], t.text[over:]...), true
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(strings.ToValidUTF8(string(t.text), "\uFFFD"))
	if t.cut {
		return "…" + text
	}
	return text
}
