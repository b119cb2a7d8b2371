//go:build unix

package main

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-go/waybill/internal/test/patience"
)

// alive tells whether any process lives that has opened a named pipe for writing.
type alive struct {
	begun chan error // of the first line
	ended chan error // nil when nobody has it open any more
}

// watchPipe makes the named pipe alive of a workspace. A command opens it with "exec 9>alive"
// and writes a line; what it starts has it open, too.
func watchPipe(t *testing.T, w *workspace) *alive {
	t.Helper()
	name := filepath.Join(w.dir, "alive")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	a := &alive{begun: make(chan error, 1), ended: make(chan error, 1)}
	go func() {
		pipe, err := os.Open(name) // waits for a command
		if err == nil {
			defer pipe.Close()
			_, err = io.ReadFull(pipe, make([]byte, 1))
		}
		a.begun <- err
		if err == nil {
			_, err = io.Copy(io.Discard, pipe)
		}
		a.ended <- err
	}()
	t.Cleanup(func() { // ends a wait for nobody
		if pipe, err := os.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			pipe.Close()
		}
	})
	return a
}

// happens waits for one of the two.
func happens(t *testing.T, what string, event <-chan error) {
	t.Helper()
	select {
	case err := <-event:
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	case <-time.After(patience.Limit):
		t.Fatalf("waited in vain for %s", what)
	}
}

func TestNoCommandIsLeftBehindHoweverReceiveEnds(t *testing.T) {
	for name, signal := range map[string]os.Signal{
		"by SIGTERM twice": syscall.SIGTERM, "by SIGINT twice": syscall.SIGINT, "by SIGKILL": syscall.SIGKILL, "by a hangup": syscall.SIGHUP,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := workspaceHolding(t, "a")
			a := watchPipe(t, w)
			// It does not end when it is asked to, nor does what it has started.
			p := w.start("receive", "orders", "--consumer", "c", "--exec", `
				trap '' TERM INT HUP
				exec 9>alive
				sleep 1000 & (sleep 1000 & sleep 1000) &
				echo begun >&9
				wait`)
			happens(t, "the command to begin", a.begun)
			eventually(t, "the end of receive", func() bool { // the first SIGTERM is only asking
				_ = p.cmd.Process.Signal(signal)
				select {
				case <-p.ended:
					return true
				default:
					return false
				}
			})
			if status := p.ends(); status != -1 {
				t.Errorf("got exit status %d, want the end by a signal", status)
			}
			happens(t, "the end of the command and what it has started", a.ended)
			// Nothing was recorded, and the message comes again.
			if out := w.ok("", "receive", "orders", "--consumer", "c", "--count", "1", "--exec", "cat"); out != "a" {
				t.Errorf("got %q again, want the message", out)
			}
			settle(t, w)
		})
	}
}

func TestWhatACommandLeavesBehindOnPurposeStays(t *testing.T) {
	t.Parallel()
	w := workspaceHolding(t, "a", "b")
	a := watchPipe(t, w)
	for i := range 2 {
		// The first leaves a process behind, whose output is elsewhere, and is done.
		w.ok("", "receive", "orders", "--consumer", "c", "--count", "1", "--exec", `
			read -r n
			if [ "$n" = a ]; then
				exec 9>alive
				(while [ ! -e enough ]; do sleep 0.01; done) >/dev/null 2>&1 &
				echo begun >&9
			fi`)
		if i == 0 {
			happens(t, "the command to begin", a.begun)
		}
	}
	select {
	case err := <-a.ended:
		t.Fatalf("what the command has left behind has ended (%v), want it to go on", err)
	default:
	}
	if err := os.WriteFile(filepath.Join(w.dir, "enough"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	happens(t, "the end of what was left behind", a.ended)
	settle(t, w)
}
