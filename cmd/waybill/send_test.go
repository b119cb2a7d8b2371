package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// workspaceWithOutbox is a workspace with the producer's tables in SQLite.
func workspaceWithOutbox(t *testing.T) *workspace {
	t.Helper()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db")
	w.ok("", "init", "--side", "producer")
	return w
}

// shown is what "waybill show --json" prints.
type shown struct {
	Destination, Key, Status string
	Topic                    bool
	Headers                  map[string]string
	Body                     *string
	BodyBase64               []byte     `json:"body_base64"`
	NotBefore                *time.Time `json:"not_before"`
}

func showMessage(w *workspace, id string) (m shown) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(w.ok("", "show", "--json", id)), &m); err != nil {
		w.t.Fatal(err)
	}
	return m
}

func TestSendKeepsWhatItIsGiven(t *testing.T) {
	t.Parallel()
	w := workspaceWithOutbox(t)
	id := strings.TrimSpace(w.ok("", "send", "prices", "--topic", "--key", "k", "--body", "", "--header", "a=1", "--header", "b=x=y", "--not-before", "2h"))
	m := showMessage(w, id)
	if m.Destination != "prices" || !m.Topic || m.Key != "k" || *m.Body != "" || m.Headers["a"] != "1" || m.Headers["b"] != "x=y" || m.NotBefore == nil || time.Until(*m.NotBefore) < time.Hour {
		t.Errorf("got %+v, want what the flags say", m)
	}
	if parsed, err := waybill.ParseID(id); err != nil || time.Until(parsed.Time()) < time.Hour {
		t.Errorf("got the id %s, %v; want one of the time at which the message is due", id, err)
	}
	var l struct {
		MessageID        string `json:"message_id"`
		Destination, Key string
	}
	if err := json.Unmarshal([]byte(w.ok("", "send", "orders", "--key", "k", "--body", "x", "--json", "--not-before", "2000-01-01T00:00:00Z")), &l); err != nil || l.Destination != "orders" || l.Key != "k" {
		t.Errorf("--json: got %+v, %v; want destination and key", l, err)
	}
	if m := showMessage(w, l.MessageID); m.NotBefore != nil {
		t.Errorf("got %+v, want no delay to a time that has passed", m)
	}
	if out := w.ok("", "send", "orders", "--body", "x", "--quiet"); out != "" {
		t.Errorf("--quiet: got %q, want nothing", out)
	}
	if out := w.ok("\n  \n", "send", "orders"); out != "" {
		t.Errorf("empty lines: got %q, want nothing", out)
	}
}

func TestSendTakesWhatALineLeavesOutFromTheFlags(t *testing.T) {
	t.Parallel()
	w := workspaceWithOutbox(t)
	ids := strings.Fields(w.ok(`{"body":"1"}
{"destination":"others","key":"own","headers":{"b":"2"},"body_base64":"/w=="}
`, "send", "orders", "--key", "flag", "--header", "a=1", "--header", "b=1"))
	if len(ids) != 2 {
		t.Fatalf("got the ids %q, want two", ids)
	}
	if m := showMessage(w, ids[0]); m.Destination != "orders" || m.Key != "flag" || m.Headers["b"] != "1" || *m.Body != "1" {
		t.Errorf("got %+v, want what the flags say", m)
	}
	if m := showMessage(w, ids[1]); m.Destination != "others" || m.Key != "own" || m.Headers["a"] != "1" || m.Headers["b"] != "2" || string(m.BodyBase64) != "\xff" {
		t.Errorf("got %+v, want what the line says, and the flags' other header", m)
	}
}

func TestABadLineIsNamedAndItsTransactionNotWritten(t *testing.T) {
	t.Parallel()
	good := func(n int) string { return strings.Repeat(`{"body":"x"}`+"\n", n) }
	for _, c := range []struct {
		name, stdin string
		want        []string
		most        int64 // messages that may be sent before
	}{
		{"the first", "nonsense\n" + good(3), []string{"line 1 is no JSON"}, 0},
		{"in the first group", good(3) + `{"body":5}` + "\n" + good(3), []string{"line 4 body is a JSON number"}, 3},
		{"in the second group", good(700) + "{\n", []string{"line 701 is no JSON"}, 700},
		{"a destination", good(2) + `{"destination":"ack.me","body":"x"}`, []string{`line 3: the message to "ack.me": Destination`, "reserved"}, 2},
		{"a header", `{"headers":{"attempt":"1"},"body":"x"}`, []string{"line 1: ", "Headers", "reserved"}, 0},
		{"a large body", good(1) + `{"body":"` + strings.Repeat("x", 1<<20+1) + `"}`, []string{"line 2: ", "1048577 bytes, the limit is 1048576"}, 1},
		{"several faults", good(1) + `{"body":"x","destination":"a b","key":"a\nb"}`, []string{"line 2: ", ": Destination: ", "\nline 2: ", ": Key: "}, 1},
		{"no UTF-8", "{\"body\":\"\xff\"}", []string{"line 1 is not valid UTF-8", "body_base64"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := workspaceWithOutbox(t)
			r := w.fails(1, c.stdin, []string{"send", "orders"}, c.want...)
			// How much was sent before depends on when the input paused: it has to be
			// what the error and the ids say.
			n := pending(w)
			told := "nothing was sent"
			if n > 0 {
				told = fmt.Sprintf("the %d messages up to line %d were sent and nothing after it", n, n)
			}
			if !strings.Contains(r.stderr, told) || int64(strings.Count(r.stdout, "\n")) != n || n > c.most {
				t.Errorf("got %d rows, %d ids and %q; want as many ids as rows, at most %d, and that the error says so", n, strings.Count(r.stdout, "\n"), r.stderr, c.most)
			}
		})
	}
	w := workspaceWithOutbox(t)
	w.fails(1, "", []string{"send", "orders", "--body", strings.Repeat("x", 100), "--key", "k", "--prefix", "none_"}, "tables are missing", "waybill init")
}

func TestSendWritesWhatASlowProgramHasGivenSoFar(t *testing.T) {
	t.Parallel()
	w := workspaceWithOutbox(t)
	p := w.start("send", "orders")
	for i := range int64(3) {
		if _, err := fmt.Fprintf(p.stdin, "{\"body\":\"%d\"}\n", i); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the line to be committed", func() bool { return pending(w) == i+1 })
	}
	if _, err := io.WriteString(p.stdin, `{"body":"no end"}`); err != nil {
		t.Fatal(err)
	}
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if status := p.ends(); status != 0 || pending(w) != 4 || strings.Count(p.stdout.String(), "\n") != 4 {
		t.Errorf("got exit status %d, %d rows, and\n%swant 0, 4 rows and their ids", status, pending(w), p.stdout.String())
	}
}

func TestAnInterruptedSendSaysHowFarItCame(t *testing.T) {
	t.Parallel()
	w := workspaceWithOutbox(t)
	p := w.start("send", "orders")
	if _, err := io.WriteString(p.stdin, "{\"body\":\"1\"}\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the line to be committed", func() bool { return pending(w) == 1 })
	p.signal(os.Interrupt)
	if status := p.ends(); status != 1 || !strings.Contains(p.stderr.String(), "interrupted; the 1 messages up to line 1 were sent") {
		t.Errorf("got exit status %d and %q, want 1 and how far it came", status, p.stderr.String())
	}
}
