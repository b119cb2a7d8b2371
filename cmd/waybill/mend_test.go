package main

import (
	"strings"
	"testing"
)

const nobody = "01890a5d-ac96-774b-bcce-b302099a8057"

func TestRejectedMessagesAreListedShownSentAgainAndDiscarded(t *testing.T) {
	t.Parallel()
	s := depotOf(t, "first", "second", "third")
	s.ok("", "receive", "orders", "--consumer", "c", "--exec", `test "$WAYBILL_KEY" = k2 || { echo "no such order" >&2; exit 65; }`, "--count", "1")
	r := s.start("relay")
	eventually(t, "two rejections", func() bool { return len(list(s, "--rejected")) == 2 && len(list(s)) == 2 })
	r.stops()

	rejected := list(s, "--rejected")
	first, second := rejected[0].MessageID, rejected[1].MessageID
	if out := s.ok("", "list"); !strings.Contains(out, first) || !strings.Contains(out, "c: exit status 65: no such order") {
		t.Errorf("list:\n%s", out)
	}
	if r := s.run("", "list", "--limit", "1"); strings.Count(r.stdout, "\n") != 2 || !strings.Contains(r.stderr, "more than these 1") {
		t.Errorf("list --limit 1:\n%s%s", r.stdout, r.stderr)
	}
	if r := s.run("", "list", "--destination", "others"); r.stdout != "" || r.status != 0 || !strings.Contains(r.stderr, "No such messages") {
		t.Errorf("list --destination others:\n%s%s", r.stdout, r.stderr)
	}
	if out := s.ok("", "show", first); !strings.Contains(out, "rejected") || !strings.Contains(out, "no such order") || !strings.Contains(out, "x-n: 0") || !strings.HasSuffix(out, "\nfirst\n") {
		t.Errorf("show:\n%s", out)
	}
	s.fails(1, "", []string{"show", nobody}, "there is no message "+nobody)

	s.fails(1, "", []string{"resend", nobody, first}, "there is no rejected message "+nobody)
	again := list(s, "--pending")
	if len(again) != 1 || again[0].MessageID != first || again[0].Key != "k0" {
		t.Fatalf("after resend: %+v", again)
	}
	s.fails(1, "", []string{"resend", first}, "there is no rejected message")
	lines := jsonLines(t, s.ok("", "resend", "--json", second))
	if len(lines) != 1 || lines[0]["message_id"] != second || lines[0]["new_message_id"] != second {
		t.Errorf("resend --json: %v", lines)
	}

	// They are taken now.
	deliver(t, s)
	if out := s.ok("", "receive", "orders", "--consumer", "c", "--count", "2", "--exec", "cat"); out != "firstsecond" {
		t.Errorf("received %q", out)
	}
	settle(t, s)
}

// rejectedOrder is a setting whose outbox holds one rejected message.
func rejectedOrder(t *testing.T) *setting {
	t.Helper()
	s := depotOf(t, "poison")
	p := s.start("receive", "orders", "--consumer", "c", "--exec", "exit 65")
	p.says("message rejected")
	p.stops()
	r := s.start("relay")
	eventually(t, "the rejection", func() bool { return len(list(s, "--rejected")) == 1 })
	r.stops()
	return s
}

func TestDiscardDeletesRejectedMessagesOnly(t *testing.T) {
	t.Parallel()
	s := rejectedOrder(t)
	id := list(s)[0].MessageID
	pendingID := strings.TrimSpace(s.ok("", "send", "orders", "--body", "x"))

	s.fails(2, "y\n", []string{"discard", id}, "use --yes")
	s.fails(1, "", []string{"discard", "--yes", pendingID}, "there is no rejected message "+pendingID)
	lines := jsonLines(t, s.ok("", "discard", "--yes", "--json", id))
	if len(lines) != 1 || lines[0]["message_id"] != id {
		t.Errorf("discard --json: %v", lines)
	}
	if left := list(s); len(left) != 1 || left[0].MessageID != pendingID {
		t.Errorf("left: %+v", left)
	}
}

func TestPruneSaysWhatItForgot(t *testing.T) {
	t.Parallel()
	s := depotOf(t, "a", "b")
	if r := s.run("", "prune"); r.status != 0 || !strings.Contains(r.stderr, "No consumer") {
		t.Errorf("exit status %d: %s", r.status, r.stderr)
	}
	s.ok("", "receive", "orders", "--consumer", "c", "--count", "2")
	lines := jsonLines(t, s.ok("", "prune", "--consumer", "c", "--json"))
	if len(lines) != 1 || lines[0]["consumer"] != "c" || lines[0]["pruned"] != 0.0 {
		t.Errorf("%v", lines)
	}
	if records := statusOf(s).Consumer.Consumers[0].OnceRecords; records != 2 {
		t.Errorf("%d records", records)
	}
}

func TestInitPrintsItsSQLAndChangesNothing(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"postgres://h/d", "mysql://h/d", "sqlite:app.db"} {
		s := newSetting(t, "WAYBILL_DB="+addr)
		out := s.ok("", "init", "--print", "--prefix", "app_")
		for _, name := range []string{"app_qmessage", "app_qmessage_key", "app_qrelay", "app_n1_record", "app_n2_record", "app_n_horizon"} {
			if !strings.Contains(out, name) {
				t.Errorf("%s: the SQL lacks %s", addr, name)
			}
		}
		if out := s.ok("", "init", "--print", "--side", "consumer"); strings.Contains(out, "qmessage") {
			t.Errorf("%s: the consumer's SQL makes the producer's tables", addr)
		}
	}
}
