package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/address"
)

// unknownID is of no message.
const unknownID = "01890a5d-ac96-774b-bcce-b302099a8057"

func TestRejectedMessagesAreListedShownSentAgainAndDiscarded(t *testing.T) {
	t.Parallel()
	w := workspaceHolding(t, "first", "second", "third")
	w.ok("", "receive", "orders", "--consumer", "c", "--exec", `test "$WAYBILL_KEY" = k2 || { echo "no such order" >&2; exit 65; }`, "--count", "1")
	r := w.start("relay", "--producer", "shop")
	eventually(t, "two rejections", func() bool { return len(list(w, "--rejected")) == 2 && len(list(w)) == 2 })
	r.stops()

	rejected := list(w, "--rejected")
	first, second := rejected[0].MessageID, rejected[1].MessageID
	if out := w.ok("", "list"); !strings.Contains(out, first) || !strings.Contains(out, "c: exit status 65: no such order") {
		t.Errorf("list: got\n%swant the message %s with its reason", out, first)
	}
	if r := w.run("", "list", "--limit", "1"); strings.Count(r.stdout, "\n") != 2 || !strings.Contains(r.stderr, "more than these 1") {
		t.Errorf("list --limit 1: got\n%s%swant a heading and one message, and that there are more", r.stdout, r.stderr)
	}
	if r := w.run("", "list", "--destination", "others"); r.stdout != "" || r.status != 0 || !strings.Contains(r.stderr, "No such messages") {
		t.Errorf("list --destination others: got exit status %d\n%s%swant 0 and no messages", r.status, r.stdout, r.stderr)
	}
	if out := w.ok("", "show", first); !strings.Contains(out, "rejected") || !strings.Contains(out, "no such order") || !strings.Contains(out, "x-n: 0") || !strings.HasSuffix(out, "\nfirst\n") {
		t.Errorf("show: got\n%swant its status, reason, headers and body", out)
	}
	w.fails(1, "", []string{"show", unknownID}, "there is no message "+unknownID)

	w.fails(1, "", []string{"resend", unknownID, first}, "there is no rejected message "+unknownID)
	again := list(w, "--pending")
	if len(again) != 1 || again[0].MessageID != first || again[0].Key != "k0" {
		t.Fatalf("after resend: got %+v pending, want %s", again, first)
	}
	w.fails(1, "", []string{"resend", first}, "there is no rejected message")
	lines := jsonLines(t, w.ok("", "resend", "--json", second))
	if len(lines) != 1 || lines[0]["message_id"] != second || lines[0]["new_message_id"] != second {
		t.Errorf("resend --json: got %v, want the id %s twice", lines, second)
	}

	// They are taken now.
	deliver(t, w)
	out := w.ok("", "receive", "orders", "--consumer", "c", "--count", "2", "--exec", "cat")
	if out != "firstsecond" && out != "secondfirst" { // they have different keys
		t.Errorf("received: got %q, want first and second", out)
	}
	settle(t, w)
}

func TestResendSaysWhatConsumersMayHaveForgotten(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db")
	w.ok("", "init")
	const forgotten = "was rejected longer ago than 72h0m0s"
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	for _, c := range []struct {
		name           string
		sent, rejected time.Duration // ago; rejected 0: it is not known when
		forgotten      bool
	}{
		{"rejected at once", 71 * time.Hour, 71 * time.Hour, false},
		{"rejected late", 1000 * time.Hour, 71 * time.Hour, false},
		{"rejected long ago", 1000 * time.Hour, 73 * time.Hour, true},
		{"sent lately, rejected by an older program", 71 * time.Hour, 0, false},
		{"sent long ago, rejected by an older program", 73 * time.Hour, 0, true},
	} {
		id, at := waybill.NewIDAt(ago(c.sent)).String(), int64(0)
		if c.rejected > 0 {
			at = ago(c.rejected).UnixMicro()
		}
		w.exec(`INSERT INTO qmessage (message_id, destination, time_stamp, message_content, status, not_before) VALUES (?, 'orders', 1, x'00', 2, ?)`, id, at)
		r := w.run("", "resend", id)
		if r.status != 0 || strings.Contains(r.stderr, forgotten) != c.forgotten {
			t.Errorf("%s: got exit status %d\n%swant it sent again, and told that it may be forgotten: %v", c.name, r.status, r.stderr, c.forgotten)
		}
	}
}

// workspaceWithRejected is a workspace whose outbox holds one rejected message.
func workspaceWithRejected(t *testing.T) *workspace {
	t.Helper()
	w := workspaceHolding(t, "poison")
	p := w.start("receive", "orders", "--consumer", "c", "--exec", "exit 65")
	p.says("message rejected")
	p.stops()
	r := w.start("relay", "--producer", "shop")
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
		t.Errorf("discard --json: got %v, want the id %s", lines, id)
	}
	if left := list(w); len(left) != 1 || left[0].MessageID != pendingID {
		t.Errorf("got %+v left, want %s alone", left, pendingID)
	}
	w.fails(2, "y\n", []string{"discard", "--pending", pendingID}, "use --yes")
	w.fails(2, "", []string{"discard", "--yes", "--pending", "--side", "consumer", pendingID}, "producer's side")
	w.fails(1, "", []string{"discard", "--yes", "--pending", id}, "there is no message "+id)
	w.ok("", "discard", "--yes", "--pending", pendingID)
	if left := list(w); len(left) != 0 {
		t.Errorf("got %+v left, want nothing", left)
	}
}

// exec runs a statement on the workspace's database.
func (w *workspace) exec(statement string, args ...any) {
	w.t.Helper()
	db, _, err := address.OpenDatabase("sqlite:" + filepath.Join(w.dir, "app.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement, args...); err != nil {
		w.t.Fatal(err)
	}
}

func TestRejectedMessagesArePickedByWhatTheyHaveInCommon(t *testing.T) {
	t.Parallel()
	w := workspaceHolding(t, "a", "b", "c")
	w.ok("", "send", "mails", "--body", "d")
	ids := map[string]string{}
	for _, m := range list(w) {
		ids[m.Key] = m.MessageID
	}
	reject := func(id, reason string) {
		t.Helper()
		w.exec(`UPDATE qmessage SET status = 2, last_error = ? WHERE message_id = ?`, reason, id)
	}
	reject(ids["k0"], "carrier API: 503")
	reject(ids["k1"], "no such order")
	reject(ids["k2"], "carrier API: 503")
	reject(ids[""], "carrier API: 503")
	w.exec(`UPDATE qmessage SET time_stamp = time_stamp - 7200000000 WHERE message_id = ?`, ids["k2"])

	w.fails(2, "", []string{"resend"}, "needs ID, or one of --all")
	w.fails(2, "", []string{"resend", "--all", ids["k0"]}, "not both")
	w.fails(2, "", []string{"resend", "--all", "--reason", "503"}, "all")
	w.fails(2, "", []string{"resend", "--older-than", "-1s"}, "below 0")
	if r := w.run("", "resend", "--reason", "no such reason"); r.status != 0 || r.stdout != "" || !strings.Contains(r.stderr, "No such messages.") {
		t.Errorf("got %+v, want nothing and that there are no such messages", r)
	}
	if r := w.run("", "resend", "--reason", "API: #"); r.status != 0 || r.stdout != "" || !strings.Contains(r.stderr, "stand for what differs") {
		t.Errorf("got %+v, want nothing, and how a reason of groups is given", r)
	}
	for _, c := range []struct {
		flags, want []string // keys, in order of their rows
	}{
		{[]string{"--all"}, []string{"k0", "k1", "k2", ""}},
		{[]string{"--destination", "orders", "--reason", "API: 503"}, []string{"k0", "k2"}},
		{[]string{"--older-than", "1h"}, []string{"k2"}},
	} {
		want := ""
		for _, key := range c.want {
			want += ids[key] + "\n"
		}
		if got := w.ok("", append([]string{"resend", "--dry-run"}, c.flags...)...); got != want {
			t.Errorf("%q: got\n%swant\n%s", c.flags, got, want)
		}
	}
	if n := len(list(w, "--rejected")); n != 4 {
		t.Fatalf("got %d rejected messages after dry runs, want 4", n)
	}
	w.exec(`UPDATE qmessage SET last_error = 'c: waybill:forgotten: too old' WHERE message_id = ?`, ids["k1"])
	w.fails(1, "", []string{"resend", "--all"}, "1 of 4 messages were not sent again", "--as-new")
	if left := list(w, "--rejected"); len(left) != 1 || left[0].Key != "k1" || len(list(w, "--pending")) != 3 {
		t.Errorf("got %+v left, want the one that its consumer has forgotten", left)
	}
}

func TestAListIsNotCutInAPipe(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db")
	w.ok("", "init")
	key := strings.Repeat("k", 200)
	w.ok("", "send", "orders", "--key", key, "--body", "x")
	if out := w.ok("", "list"); !strings.Contains(out, key) {
		t.Errorf("got\n%swant the whole key", out)
	}
}

func TestPruneSaysWhatItForgot(t *testing.T) {
	t.Parallel()
	w := workspaceHolding(t, "a", "b")
	if r := w.run("", "prune"); r.status != 0 || !strings.Contains(r.stderr, "No consumer") {
		t.Errorf("got exit status %d and %q, want 0 and that no consumer has recorded anything", r.status, r.stderr)
	}
	w.ok("", "receive", "orders", "--consumer", "c", "--count", "2")
	lines := jsonLines(t, w.ok("", "prune", "--consumer", "c", "--json"))
	if len(lines) != 1 || lines[0]["consumer"] != "c" || lines[0]["pruned"] != 0.0 {
		t.Errorf("got %v, want one line: none of the records of c pruned", lines)
	}
	if records := statusOf(w).Consumer.Consumers[0].OnceRecords; records != 2 {
		t.Errorf("got %d records, want 2", records)
	}
}

func TestPruneForgetsKeysThatAreIdleWhereItIsAsked(t *testing.T) {
	t.Parallel()
	w := workspaceHolding(t, "a", "b")
	for _, args := range [][]string{
		{"--keys-idle", "48h"}, {"--side", "producer"}, {"--side", "both", "--keys-idle", "48h"}, {"--side", "producer", "--keys-idle", "1h"},
		{"--side", "consumer", "--keys-idle", "48h"}, {"--side", "producer", "--keys-idle", "48h", "--consumer", "c"},
	} {
		w.fails(2, "", append([]string{"prune"}, args...), "")
	}
	lines := jsonLines(t, w.ok("", "prune", "--side", "producer", "--keys-idle", "48h", "--json"))
	if len(lines) != 1 || lines[0]["keys"] != 0.0 {
		t.Errorf("got %v, want one line: no keys forgotten", lines)
	}
	w.ok("", "receive", "orders", "--consumer", "c", "--count", "2")
	lines = jsonLines(t, w.ok("", "prune", "--side", "consumer", "--keys-idle", "168h", "--consumer", "c", "--json"))
	if len(lines) != 1 || lines[0]["consumer"] != "c" || lines[0]["keys"] != 0.0 {
		t.Errorf("got %v, want one line: no states of c forgotten", lines)
	}
}

func TestInitPrintsItsSQLAndChangesNothing(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"postgres://h/d", "mysql://h/d", "sqlite:app.db"} {
		t.Run(addr, func(t *testing.T) {
			w := newWorkspace(t, "WAYBILL_DB="+addr)
			out := w.ok("", "init", "--print", "--prefix", "app_")
			for _, name := range []string{"app_qmessage", "app_qmessage_key", "app_qrelay", "app_n1_record", "app_n2_record", "app_n_horizon", "app_n_rejected"} {
				if !strings.Contains(out, name) {
					t.Errorf("got SQL without %s, want it there", name)
				}
			}
			if out := w.ok("", "init", "--print", "--side", "consumer"); strings.Contains(out, "qmessage") {
				t.Errorf("got SQL that makes the producer's tables, want the consumer's alone:\n%s", out)
			}
		})
	}
}

func TestInitPrintsSQLForToolsWithoutAnAddress(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	for _, c := range []struct {
		args       string
		first      string
		has, lacks []string
	}{
		{"--dialect mysql", "CREATE TABLE", []string{"DELIMITER $$"}, nil},
		{"--dialect mariadb --format golang-migrate", "CREATE TABLE", []string{"CREATE TRIGGER"}, []string{"DELIMITER", "DROP TABLE"}},
		{"--dialect postgres --format goose --prefix app_", "-- +goose Up", []string{"-- +goose StatementBegin", "-- +goose Down", "app_qmessage", "DROP TABLE IF EXISTS app_qmessage"}, []string{"ON_ERROR_STOP"}},
		{"--dialect sqlite --format atlas --side consumer", "-- atlas:delimiter -- end", []string{"n1_record"}, []string{"qmessage"}},
		{"--dialect sqlite --down", ".bail on", []string{"the_outbox_has_no_messages", "DROP TABLE IF EXISTS qmessage"}, []string{"CREATE TABLE"}},
		{"--dialect postgres --from 1 --format golang-migrate", "-- producer, version 2", []string{"LOCK TABLE", "lock_timeout"}, []string{"version 1"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			out := w.at(t).ok("", append([]string{"init", "--print"}, strings.Fields(c.args)...)...)
			if !strings.HasPrefix(out, c.first) {
				t.Errorf("got SQL that begins with %.60q, want %q", out, c.first)
			}
			for _, text := range c.has {
				if !strings.Contains(out, text) {
					t.Errorf("got SQL without %q, want it there:\n%s", text, out)
				}
			}
			for _, text := range c.lacks {
				if strings.Contains(out, text) {
					t.Errorf("got SQL with %q, want none:\n%s", text, out)
				}
			}
		})
	}
	for args, want := range map[string]string{
		"init --print":                                        "give --dialect",
		"init --print --dialect oracle":                       "use postgres, mysql or sqlite",
		"init --print --dialect sqlite --format flyway":       "flyway",
		"init --print --dialect sqlite --from 2":              "no upgrade from version 2",
		"init --print --dialect sqlite --from 1 --down":       "not taken back",
		"init --print --dialect sqlite --format goose --down": "both ways",
		"init --dialect sqlite":                               "--print",
		"init --db sqlite:x.db --down":                        "--print",
	} {
		w.fails(2, "", strings.Fields(args), want)
	}
}

func TestWhatAConsumerKeepsIsListedShownHandledAgainAndDiscarded(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init")
	w.ok(`{"key":"k0","headers":{"x-n":"0"},"body":"first"}`+"\n"+`{"body":"second"}`+"\n", "send", "orders")
	r := w.start("relay", "--producer", "shop", "--accepted", "orders")
	eventually(t, "the broker has them", func() bool { return len(list(w)) == 0 })
	r.stops()
	p := w.start("receive", "orders", "--consumer", "c", "--exec", `echo "no such order" >&2; exit 65`)
	kept := func(args ...string) []map[string]any {
		return jsonLines(t, w.ok("", append([]string{"list", "--side", "consumer", "--json"}, args...)...))
	}
	eventually(t, "both are kept", func() bool { return len(kept("--rejected")) == 2 })
	p.stops()

	ids := map[string]string{}
	for _, l := range kept() {
		id, _ := l["message_id"].(string)
		whole := jsonLines(t, w.ok("", "show", "--side", "consumer", "--json", id))
		if len(whole) != 1 || l["consumer"] != "c" || l["destination"] != "orders" || !strings.Contains(fmt.Sprint(l["reason"]), "no such order") {
			t.Fatalf("got %v and %v, want one message of the consumer c, with its reason", l, whole)
		}
		ids[fmt.Sprint(whole[0]["body"])] = id
	}
	first, second := ids["first"], ids["second"]
	if out := w.ok("", "list", "--side", "consumer"); !strings.Contains(out, first) || !strings.Contains(out, "no such order") || !strings.Contains(out, "CONSUMER") {
		t.Errorf("list: got\n%swant the message %s with its reason", out, first)
	}
	if out := w.ok("", "show", "--side", "consumer", first); !strings.Contains(out, "x-n: 0") || !strings.Contains(out, "no such order") || !strings.HasSuffix(out, "\nfirst\n") {
		t.Errorf("show: got\n%swant its headers, reason and body", out)
	}
	if r := w.run("", "list", "--side", "consumer", "--limit", "1"); strings.Count(r.stdout, "\n") != 2 || !strings.Contains(r.stderr, "more than these 1") {
		t.Errorf("list --limit 1: got\n%s%swant a heading and one message, and that there are more", r.stdout, r.stderr)
	}
	for _, args := range [][]string{{"--consumer", "other"}, {"--pending"}, {"--destination", "others"}} {
		if l := kept(args...); len(l) != 0 {
			t.Errorf("list %v: got %v, want nothing", args, l)
		}
	}
	w.fails(2, "", []string{"list", "--side", "both"}, "--side is")
	w.fails(1, "", []string{"show", "--side", "consumer", unknownID}, "no consumer keeps a message "+unknownID)
	w.fails(1, "", []string{"show", first}, "there is no message")
	w.fails(2, "y\n", []string{"discard", "--side", "consumer", second}, "use --yes")
	w.fails(1, "", []string{"discard", "--side", "consumer", "--yes", unknownID}, "no consumer keeps a rejected message")

	w.fails(1, "", []string{"resend", "--side", "consumer", unknownID, first}, "no consumer keeps a rejected message "+unknownID)
	if l := kept("--pending"); len(l) != 1 || l[0]["message_id"] != first {
		t.Errorf("after resend: got %v pending, want %s", l, first)
	}
	if lines := jsonLines(t, w.ok("", "discard", "--side", "consumer", "--yes", "--json", second)); len(lines) != 1 || lines[0]["message_id"] != second {
		t.Errorf("discard --json: got %v, want the id %s", lines, second)
	}
	if out := w.ok("", "receive", "orders", "--consumer", "c", "--count", "1", "--exec", "cat"); out != "first" {
		t.Errorf("received: got %q, want the first message", out)
	}
	if l := kept(); len(l) != 0 {
		t.Errorf("got %v left, want nothing", l)
	}
}
