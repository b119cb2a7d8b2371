package main

import (
	"strings"
	"testing"
)

// unknownID is of no message.
const unknownID = "01890a5d-ac96-774b-bcce-b302099a8057"

func TestRejectedMessagesAreListedShownSentAgainAndDiscarded(t *testing.T) {
	t.Parallel()
	w := workspaceHolding(t, "first", "second", "third")
	w.ok("", "receive", "orders", "--consumer", "c", "--exec", `test "$WAYBILL_KEY" = k2 || { echo "no such order" >&2; exit 65; }`, "--count", "1")
	r := w.start("relay")
	eventually(t, "two rejections", func() bool { return len(list(w, "--rejected")) == 2 && len(list(w)) == 2 })
	r.stops()

	rejected := list(w, "--rejected")
	first, second := rejected[0].MessageID, rejected[1].MessageID
	if out := w.ok("", "list"); !strings.Contains(out, first) || !strings.Contains(out, "c: exit status 65: no such order") {
		t.Errorf("list:\n%s", out)
	}
	if r := w.run("", "list", "--limit", "1"); strings.Count(r.stdout, "\n") != 2 || !strings.Contains(r.stderr, "more than these 1") {
		t.Errorf("list --limit 1:\n%s%s", r.stdout, r.stderr)
	}
	if r := w.run("", "list", "--destination", "others"); r.stdout != "" || r.status != 0 || !strings.Contains(r.stderr, "No such messages") {
		t.Errorf("list --destination others:\n%s%s", r.stdout, r.stderr)
	}
	if out := w.ok("", "show", first); !strings.Contains(out, "rejected") || !strings.Contains(out, "no such order") || !strings.Contains(out, "x-n: 0") || !strings.HasSuffix(out, "\nfirst\n") {
		t.Errorf("show:\n%s", out)
	}
	w.fails(1, "", []string{"show", unknownID}, "there is no message "+unknownID)

	w.fails(1, "", []string{"resend", unknownID, first}, "there is no rejected message "+unknownID)
	again := list(w, "--pending")
	if len(again) != 1 || again[0].MessageID != first || again[0].Key != "k0" {
		t.Fatalf("after resend: %+v", again)
	}
	w.fails(1, "", []string{"resend", first}, "there is no rejected message")
	lines := jsonLines(t, w.ok("", "resend", "--json", second))
	if len(lines) != 1 || lines[0]["message_id"] != second || lines[0]["new_message_id"] != second {
		t.Errorf("resend --json: %v", lines)
	}

	// They are taken now.
	deliver(t, w)
	if out := w.ok("", "receive", "orders", "--consumer", "c", "--count", "2", "--exec", "cat"); out != "firstsecond" {
		t.Errorf("received %q", out)
	}
	settle(t, w)
}

// workspaceWithRejected is a workspace whose outbox holds one rejected message.
func workspaceWithRejected(t *testing.T) *workspace {
	t.Helper()
	w := workspaceHolding(t, "poison")
	p := w.start("receive", "orders", "--consumer", "c", "--exec", "exit 65")
	p.says("message rejected")
	p.stops()
	r := w.start("relay")
	eventually(t, "the rejection", func() bool { return len(list(w, "--rejected")) == 1 })
	r.stops()
	return w
}

func TestDiscardDeletesRejectedMessagesOnly(t *testing.T) {
	t.Parallel()
	w := workspaceWithRejected(t)
	id := list(w)[0].MessageID
	pendingID := strings.TrimSpace(w.ok("", "send", "orders", "--body", "x"))

	w.fails(2, "y\n", []string{"discard", id}, "use --yes")
	w.fails(1, "", []string{"discard", "--yes", pendingID}, "there is no rejected message "+pendingID)
	lines := jsonLines(t, w.ok("", "discard", "--yes", "--json", id))
	if len(lines) != 1 || lines[0]["message_id"] != id {
		t.Errorf("discard --json: %v", lines)
	}
	if left := list(w); len(left) != 1 || left[0].MessageID != pendingID {
		t.Errorf("left: %+v", left)
	}
}

func TestPruneSaysWhatItForgot(t *testing.T) {
	t.Parallel()
	w := workspaceHolding(t, "a", "b")
	if r := w.run("", "prune"); r.status != 0 || !strings.Contains(r.stderr, "No consumer") {
		t.Errorf("exit status %d: %s", r.status, r.stderr)
	}
	w.ok("", "receive", "orders", "--consumer", "c", "--count", "2")
	lines := jsonLines(t, w.ok("", "prune", "--consumer", "c", "--json"))
	if len(lines) != 1 || lines[0]["consumer"] != "c" || lines[0]["pruned"] != 0.0 {
		t.Errorf("%v", lines)
	}
	if records := statusOf(w).Consumer.Consumers[0].OnceRecords; records != 2 {
		t.Errorf("%d records", records)
	}
}

func TestInitPrintsItsSQLAndChangesNothing(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"postgres://h/d", "mysql://h/d", "sqlite:app.db"} {
		w := newWorkspace(t, "WAYBILL_DB="+addr)
		out := w.ok("", "init", "--print", "--prefix", "app_")
		for _, name := range []string{"app_qmessage", "app_qmessage_key", "app_qrelay", "app_n1_record", "app_n2_record", "app_n_horizon"} {
			if !strings.Contains(out, name) {
				t.Errorf("%s: the SQL lacks %s", addr, name)
			}
		}
		if out := w.ok("", "init", "--print", "--side", "consumer"); strings.Contains(out, "qmessage") {
			t.Errorf("%s: the consumer's SQL makes the producer's tables", addr)
		}
	}
}
