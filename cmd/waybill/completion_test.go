package main

import (
	"slices"
	"strings"
	"testing"
)

func TestShellsCompleteWhatTheDatabaseHolds(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db")
	w.ok("", "init")
	id := strings.TrimSpace(w.ok("", "send", "orders", "--body", "x"))
	w.exec(`UPDATE qmessage SET status = 2, last_error = ?`, "carrier API:\n\x1b[31m503")
	w.ok("", "send", "mails", "--body", "x")
	w.ok("", "pause", "prices", "--side", "producer")
	w.exec(`INSERT INTO n_horizon (consumer, producer, message_id, floor) VALUES ('shipping', 'shop', NULL, NULL)`)
	for _, c := range []struct {
		line string // up to what is begun
		want []string
	}{
		{"pause ", []string{"mails", "orders", "prices"}},
		{"pause or", []string{"orders"}},
		{"resume ", []string{"prices"}},
		{"list --destination ", []string{"mails", "orders", "prices"}},
		{"prune --consumer ", []string{"shipping"}},
		{"resend ", []string{id + "\torders: carrier API: \\x1b[31m503"}},
		{"show --side consumer ", nil},
		{"status --log-level ", []string{"debug", "info", "warn", "error"}},
		{"completion ", []string{"bash", "zsh", "fish", "powershell"}},
		{"pause --db sqlite:none.db ", nil}, // and no file is made
		{"pause --db nonsense ", nil},
	} {
		t.Run(c.line, func(t *testing.T) {
			r := w.at(t).run("", append([]string{"__complete"}, strings.Split(c.line, " ")...)...)
			got := strings.Split(strings.TrimSpace(r.stdout), "\n")
			// The last line is the directive: no files.
			if r.status != 0 || got[len(got)-1] != ":4" || !slices.Equal(got[:len(got)-1], c.want) {
				t.Errorf("got exit status %d and %q, want %q", r.status, got, c.want)
			}
		})
	}
	w.fails(1, "", []string{"status", "--db", "sqlite:none.db"}, "does not exist")
	w.fails(2, "", []string{"completion", "tcsh"}, "no shell that completion knows", "powershell")
	for shell, want := range map[string]string{"bash": "__start_waybill", "zsh": "#compdef waybill", "fish": "complete -c waybill", "powershell": "Register-ArgumentCompleter"} {
		if out := w.ok("", "completion", shell); !strings.Contains(out, want) {
			t.Errorf("%s: got %d bytes without %q", shell, len(out), want)
		}
	}
}
