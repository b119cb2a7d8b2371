package main

import (
	"strings"
	"testing"
)

func TestDiscardTakesWhatIsPicked(t *testing.T) {
	t.Parallel()
	w := workspaceHolding(t, "a", "b", "c")
	ids := map[string]string{}
	for _, m := range list(w) {
		ids[m.Key] = m.MessageID
	}
	w.exec(`UPDATE qmessage SET status = 2, last_error = 'carrier API: 503' WHERE business_mark <> 'k2'`)
	w.exec(`UPDATE qmessage SET last_error = 'no such order' WHERE business_mark = 'k1'`)

	if got, want := w.ok("", "discard", "--all", "--dry-run"), ids["k0"]+"\n"+ids["k1"]+"\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	w.fails(1, "", []string{"discard", "--dry-run", ids["k2"]}, "there is no rejected message "+ids["k2"])
	w.fails(2, "y\n", []string{"discard", "--all"}, "use --yes")
	w.fails(2, "", []string{"discard", "--all", "--pending", "--yes"}, "--pending needs ids")
	if r := w.run("", "discard", "--yes", "--destination", "mails"); r.status != 0 || !strings.Contains(r.stderr, "No such messages.") {
		t.Errorf("got %+v, want nothing and that there are no such messages", r)
	}
	if n := len(list(w)); n != 3 {
		t.Fatalf("got %d messages after what discards nothing, want 3", n)
	}
	if got, want := w.ok("", "discard", "--yes", "--reason", "503"), ids["k0"]+"\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if left := list(w, "--rejected"); len(left) != 1 || left[0].Key != "k1" || len(list(w)) != 2 {
		t.Errorf("got %+v left, want k1 rejected and k2 pending", left)
	}
}
