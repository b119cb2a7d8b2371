package handler_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/handler"
)

func message(body string) *waybill.Message {
	return &waybill.Message{ID: waybill.NewID(), Destination: "orders", Key: "k", Body: []byte(body)}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestPrinterPrintsAMessageOnceAlsoWhenItsTransactionRunsAgain(t *testing.T) {
	var out bytes.Buffer
	p := handler.NewPrinter(&out, func(err error) { t.Errorf("got %v, want no error", err) })
	a, b := message("a"), message("b")
	for _, m := range []*waybill.Message{a, b, a, b} {
		if err := p.Handle(t.Context(), nil, m); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], a.ID.String()) || !strings.Contains(lines[1], b.ID.String()) {
		t.Errorf("got %q, want a line of each message", lines)
	}
}

func TestAPrinterThatIsBrokenEndsTheRunAndBlamesNoMessage(t *testing.T) {
	var broken error
	p := handler.NewPrinter(brokenWriter{}, func(err error) { broken = err })
	err := p.Handle(t.Context(), nil, message("a"))
	var retry *waybill.RetryError
	if !errors.As(err, &retry) || retry.After <= 0 || broken == nil {
		t.Errorf("got %v, and broken with %v; want a RetryError and the reason", err, broken)
	}
}

func TestQuotaStopsWhenTheLastOneIsHandled(t *testing.T) {
	for _, c := range []struct{ left, slack, stopsAfter int }{{3, 1, 3}, {1, 1, 1}, {10, 4, 7}} {
		t.Run(fmt.Sprintf("%d left, slack %d", c.left, c.slack), func(t *testing.T) {
			stopped := 0
			q := handler.NewQuota(c.left, c.slack, func() { stopped++ })
			fails := true
			h := q.Limit(func(context.Context, *sql.Tx, *waybill.Message) error {
				if fails {
					return errors.New("not now")
				}
				return nil
			})
			m := message("x")
			for range 20 {
				if h(t.Context(), nil, m) == nil {
					t.Fatal("got no error, want the handler's")
				}
			}
			fails = false
			for n := 1; n <= c.stopsAfter; n++ {
				if stopped > 0 {
					t.Fatalf("got a stop after %d messages, want it after %d", n-1, c.stopsAfter)
				}
				m := message("x")
				for range 2 { // a transaction that runs again counts once
					if err := h(t.Context(), nil, m); err != nil {
						t.Fatal(err)
					}
				}
			}
			if stopped == 0 {
				t.Errorf("got no stop after %d messages, want one", c.stopsAfter)
			}
		})
	}
}

// newShell is closed with the test.
func newShell(t *testing.T, command string, stdout, stderr io.Writer) *handler.Shell {
	s := handler.NewShell(command, stdout, stderr)
	t.Cleanup(s.Close)
	return s
}

func TestTheExitStatusIsTheResult(t *testing.T) {
	for _, c := range []struct {
		command   string
		want      string // "" for success
		permanent bool
	}{
		{"cat >/dev/null", "", false},
		{"true", "", false}, // does not read its body
		{"exit 65", "exit status 65", true},
		{"exit 75", "exit status 75", false},
		{"echo why >&2; exit 1", "exit status 1: why", false},
		{"kill -9 $$", "signal: killed", false},
		{"no-such-command-anywhere", "exit status 127: ", false},
		{"echo out; printf '\\377' >&2; exit 65", "exit status 65: \uFFFD", true},
		{"yes no | head -c 100000 >&2; echo end >&2; exit 3", "end", false},
	} {
		t.Run(c.command, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			m := message(strings.Repeat("x", 1<<20))
			err := newShell(t, c.command, &stdout, &stderr).Handle(t.Context(), nil, m)
			var permanent *waybill.PermanentError
			switch {
			case (err == nil) != (c.want == ""):
				t.Errorf("got %v, want %q", err, c.want)
			case err != nil && (!strings.Contains(err.Error(), c.want) || len(err.Error()) > 1100):
				t.Errorf("got %v, want %q in it, and 1,100 bytes at most", err, c.want)
			case errors.As(err, &permanent) != c.permanent:
				t.Errorf("got permanent: %v, want %v", permanent != nil, c.permanent)
			}
		})
	}
}

func TestTheCommandGetsTheMessageAndItsOutputPassesThrough(t *testing.T) {
	var stdout, stderr bytes.Buffer
	m := message("\x00\xff body")
	m.Headers = map[string]string{"a": `"1"`}
	m.Failures, m.Attempt = 2, 3
	err := newShell(t, `cat; echo "$WAYBILL_KEY" >&2; echo "$WAYBILL_HEADERS"; echo "$WAYBILL_FAILURES $WAYBILL_ATTEMPT"`, &stdout, &stderr).Handle(t.Context(), nil, m)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(strings.TrimPrefix(stdout.String(), "\x00\xff body"), "\n")
	var headers map[string]string
	if err := json.Unmarshal([]byte(parts[0]), &headers); err != nil || headers["a"] != `"1"` || parts[1] != "2 3" || stderr.String() != "k\n" {
		t.Errorf("got %q and %q, %v; want the message and what the command wrote", stdout.String(), stderr.String(), err)
	}
}

func TestACommandThatTakesTooLongIsStoppedWithWhatItStarted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	started := startWriter{begun: cancel}
	var stderr bytes.Buffer
	// The inner sleep would keep the output open for a minute.
	err := newShell(t, "echo begun; sleep 60 & sleep 60; wait", &started, &stderr).Handle(ctx, nil, message("x"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// startWriter calls begun when something is written.
type startWriter struct{ begun func() }

func (w *startWriter) Write(p []byte) (int, error) {
	w.begun()
	return len(p), nil
}
