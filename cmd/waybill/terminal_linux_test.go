package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newTerminal is a terminal for a command and what a person at it reads and types.
func newTerminal(t *testing.T) (person, command *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	command, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Close() })
	return person, command
}

// atTerminal runs a command at a terminal, where a person types an answer as soon as
// the command has written a text, and returns what the terminal showed.
func (w *workspace) atTerminal(text, answer string, args ...string) (status int, shown string) {
	w.t.Helper()
	person, tty := newTerminal(w.t)
	cmd := w.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	var screen capture
	go func() { _, _ = io.Copy(&screen, person) }() // ends with the terminal
	eventually(w.t, "the terminal to show "+text, func() bool { return strings.Contains(screen.String(), text) })
	if _, err := io.WriteString(person, answer); err != nil {
		w.t.Fatal(err)
	}
	_ = cmd.Wait() // cmd.ProcessState tells
	const mark = "[the end]"
	if _, err := io.WriteString(tty, mark); err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, "the terminal to show everything", func() bool { return strings.Contains(screen.String(), mark) })
	return cmd.ProcessState.ExitCode(), screen.String()
}

func TestDiscardAsksAtATerminal(t *testing.T) {
	t.Parallel()
	w := workspaceWithRejected(t)
	id := list(w)[0].MessageID
	if status, shown := w.atTerminal("[y/N]", "n\n", "discard", id); status != 1 || !strings.Contains(shown, id) || !strings.Contains(shown, "nothing was discarded") {
		t.Errorf("no: got exit status %d, want 1 and nothing discarded\n%s", status, shown)
	}
	if status, shown := w.atTerminal("[y/N]", "\x04", "discard", id); status != 1 || !strings.Contains(shown, "no answer") {
		t.Errorf("no answer: got exit status %d, want 1\n%s", status, shown)
	}
	if n := len(list(w)); n != 1 {
		t.Errorf("got %d messages before a yes, want 1", n)
	}
	if status, shown := w.atTerminal("[y/N]", "y\n", "discard", id); status != 0 || len(list(w)) != 0 {
		t.Errorf("yes: got exit status %d, want 0 and an empty outbox\n%s", status, shown)
	}
}

func TestSendSaysThatItReadsTheTerminal(t *testing.T) {
	t.Parallel()
	w := workspaceWithOutbox(t)
	if status, shown := w.atTerminal("end with Ctrl-D", "{\"body\":\"x\"}\n\x04", "send", "orders"); status != 0 || pending(w) != 1 {
		t.Errorf("got exit status %d, want 0 and a row\n%s", status, shown)
	}
}
