package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// workspaceHolding is a workspace with both sides' tables and an embedded broker that holds
// messages with these bodies for the destination orders.
func workspaceHolding(t *testing.T, bodies ...string) *workspace {
	t.Helper()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init")
	var lines strings.Builder
	for i, body := range bodies {
		fmt.Fprintf(&lines, `{"key":"k%d","headers":{"x-n":"%d"},"body":%q}`+"\n", i, i, body)
	}
	w.ok(lines.String(), "send", "orders")
	deliver(t, w)
	return w
}

// listed is a line of "waybill list --json".
type listed struct {
	MessageID, Key, Status string
	LastError              string
	Failures, Copies       int
}

func list(w *workspace, args ...string) []listed {
	w.t.Helper()
	var all []listed
	for _, l := range jsonLines(w.t, w.ok("", append([]string{"list", "--json"}, args...)...)) {
		text := func(name string) string { v, _ := l[name].(string); return v }
		number := func(name string) int { v, _ := l[name].(float64); return int(v) }
		all = append(all, listed{text("message_id"), text("key"), text("status"), text("last_error"), number("failures"), number("copies")})
	}
	return all
}

func TestReceiveForgetsAfterTheRetentionsThatItIsGiven(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args               string
		retention, foreign time.Duration // 0: the inbox's default
	}{
		{"", 0, 0},
		{"--retention 48h", 48 * time.Hour, 0},
		{"--foreign-retention 720h", 0, 720 * time.Hour},
		{"--retention 48h --foreign-retention 168h", 48 * time.Hour, 168 * time.Hour},
	} {
		t.Run(c.args, func(t *testing.T) {
			var f receiveFlags
			cmd := &cobra.Command{}
			f.register(cmd)
			if err := cmd.ParseFlags(append(strings.Fields(c.args), "--consumer", "c")); err != nil {
				t.Fatal(err)
			}
			r, err := f.receiver(cmd, &options{}, "orders")
			if err != nil {
				t.Fatal(err)
			}
			if got := r.inbox; got.Retention != c.retention || got.ForeignRetention != c.foreign {
				t.Errorf("got the retentions %v and %v, want %v and %v", got.Retention, got.ForeignRetention, c.retention, c.foreign)
			}
		})
	}
}

func TestExecGivesTheMessageToTheCommand(t *testing.T) {
	t.Parallel()
	w := workspaceHolding(t, "hello")
	out := w.ok("", "receive", "orders", "--consumer", "c", "--count", "1", "--exec", `cat; echo " $WAYBILL_KEY $WAYBILL_DESTINATION $WAYBILL_SEQUENCE $WAYBILL_PRODUCER $WAYBILL_ATTEMPT $WAYBILL_FAILURES $WAYBILL_HEADERS"; test -n "$WAYBILL_TIME_STAMP" && echo "$WAYBILL_MESSAGE_ID"`)
	id := list(w)[0].MessageID
	if want := `hello k0 orders 1 shop 0 0 {"x-n":"0"}` + "\n" + id + "\n"; out != want {
		t.Errorf("got  %q\nwant %q", out, want)
	}
	settle(t, w)
}

func TestExitStatusesAreTheHandlersResult(t *testing.T) {
	t.Parallel()
	w := workspaceHolding(t, "0", "65", "75", "1", "signal", "0")
	p := w.start("receive", "orders", "--consumer", "c", "--exec", `
		read -r n
		echo "$n" >>ran
		case $n in signal) kill -9 $$;; esac
		echo "no good: $n" >&2
		exit $n`)
	ran := func() []string {
		text, _ := os.ReadFile(filepath.Join(w.dir, "ran"))
		return strings.Fields(string(text))
	}
	eventually(t, "every command to run", func() bool { return len(ran()) >= 6 })
	p.stops()
	// Each ran once: a failure does not make its neighbours' commands run again.
	if got, want := ran(), []string{"0", "65", "75", "1", "signal", "0"}; !slices.Equal(got, want) {
		t.Errorf("got the commands %q, want %q", got, want)
	}
	r := w.start("relay", "--producer", "shop")
	eventually(t, "the receipts to be handled", func() bool {
		return len(list(w, "--rejected")) == 1 && len(list(w, "--pending")) == 3 && !slices.ContainsFunc(list(w, "--pending"), func(l listed) bool { return l.Failures == 0 })
	})
	r.stops()
	if l := list(w, "--rejected")[0]; l.Key != "k1" || l.Status != "rejected" || l.LastError != "c: exit status 65: no good: 65" {
		t.Errorf("got %+v, want k1, rejected with its exit status", l)
	}
	for i, want := range []string{"c: exit status 75: no good: 75", "c: exit status 1: no good: 1", "c: signal: killed"} {
		if l := list(w, "--pending")[i]; l.LastError != want || l.Status != "pending" {
			t.Errorf("got %+v, want it pending with %q", l, want)
		}
	}
}

func TestCountStopsAfterExactlySoMany(t *testing.T) {
	t.Parallel()
	var bodies []string
	for i := range 30 {
		bodies = append(bodies, fmt.Sprint(i))
	}
	w := workspaceHolding(t, bodies...)
	var got []string
	for _, n := range []int{1, 7, 22} {
		lines := printedLines(t, w.ok("", "receive", "orders", "--consumer", "c", "--count", fmt.Sprint(n)))
		if len(lines) != n {
			t.Fatalf("--count %d: got %d lines, want %d", n, len(lines), n)
		}
		for _, l := range lines {
			got = append(got, *l.Body)
		}
		if records := statusOf(w).Consumer.Consumers[0].OnceRecords; records != int64(len(got)) {
			t.Errorf("got %d records, want %d", records, len(got))
		}
	}
	slices.Sort(got)
	slices.Sort(bodies)
	if !slices.Equal(got, bodies) {
		t.Errorf("got %q, want %q", got, bodies)
	}
	settle(t, w)
}

func TestAnInterruptedCountIsAFailure(t *testing.T) {
	t.Parallel()
	w := workspaceHolding(t, "a", "b")
	p := w.start("receive", "orders", "--consumer", "c", "--count", "3")
	eventually(t, "two lines", func() bool { return strings.Count(p.stdout.String(), "\n") == 2 })
	p.signal(os.Interrupt)
	if status := p.ends(); status != 1 || !strings.Contains(p.stderr.String(), "stopped after 2 of 3 messages: interrupted") {
		t.Errorf("got exit status %d and %q, want 1 and how far it came", status, p.stderr.String())
	}
}

func TestLatestSkipsStaleStates(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init")
	w.ok("", "send", "orders", "--key", "A", "--body", "old")
	w.ok("", "send", "orders", "--key", "A", "--body", "new")
	deliver(t, w)
	// One by one, so that both are seen and neither is stale.
	if out := printedLines(t, w.ok("", "receive", "orders", "--consumer", "one", "--level", "latest", "--count", "2")); *out[0].Body != "old" || *out[1].Body != "new" {
		t.Errorf("got %+v, want the old and then the new state", out)
	}
	settle(t, w)
	if c := statusOf(w).Consumer.Consumers; len(c) != 1 || c[0].LatestRecords != 1 || c[0].OnceRecords != 0 {
		t.Errorf("got %+v, want one consumer with one record of Latest", c)
	}
}

func TestAFullStandardOutputLosesNothing(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full")
	}
	w := workspaceHolding(t, "a")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	cmd := w.command("receive", "orders", "--consumer", "c")
	var stderr capture
	cmd.Stdout, cmd.Stderr = full, &stderr
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "standard output takes no more") {
		t.Errorf("got %v and %q, want exit status 1 and the reason", err, stderr.String())
	}
	for _, c := range statusOf(w).Consumer.Consumers { // it is known by the floors that it was told
		if c.OnceRecords != 0 || c.LatestRecords != 0 {
			t.Errorf("got the records %+v, want none", c)
		}
	}
}
