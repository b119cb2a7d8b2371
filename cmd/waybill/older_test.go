package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/store"
)

// version1 is the dialect of a program of version 1, as far as it makes tables.
type version1 struct{ store.Dialect }

func (d version1) Migrations(n store.Names) []store.Migration {
	return slices.DeleteFunc(d.Dialect.Migrations(n), func(m store.Migration) bool { return m.Version > 1 })
}

// workspaceOfVersion1 is a workspace with the tables that both sides had in version 1, a
// rejected message of each of two keys, and a pending one. It returns their ids, too.
func workspaceOfVersion1(t *testing.T) (w *workspace, rejected, other, pending string) {
	t.Helper()
	w = newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	db, dialect, err := address.OpenDatabase("sqlite:" + filepath.Join(w.dir, "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		if err := store.Migrate(t.Context(), db, version1{dialect}, "", side); err != nil {
			t.Fatal(err)
		}
	}
	send := func(key string) string {
		return strings.TrimSpace(w.ok("", "send", "orders", "--key", key, "--body", "x"))
	}
	rejected, other, pending = send("a"), send("b"), send("c")
	w.exec(`UPDATE qmessage SET status = 2, last_error = 'no good' WHERE message_id <> ?`, pending)
	w.exec(`INSERT INTO n_horizon (consumer, producer) VALUES ('c', 'shop')`)
	return w, rejected, other, pending
}

func TestCommandsWorkWithTablesOfVersion1OrNameInit(t *testing.T) {
	t.Parallel()
	template, rejected, other, pending := workspaceOfVersion1(t)
	tables, err := os.ReadFile(filepath.Join(template.dir, "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	id := strings.NewReplacer("REJECTED", rejected, "OTHER", other, "PENDING", pending)
	tested := map[string]bool{
		// These open no database, or none that is there before.
		"completion": true, "demo": true, "health": true, "torture": true, "version": true,
		// These run on, and are tested below.
		"relay": true, "receive": true, "ui": true, "init": true,
	}
	for _, c := range []struct {
		args  string
		works bool // else it says that 'waybill init' is to be run
	}{
		{"send orders --key a --body x", true},
		{"status", true},
		{"status --json", true},
		{"list", true},
		{"list --rejected", true},
		{"list --side consumer", false},
		{"show REJECTED", true},
		{"show --side consumer REJECTED", false},
		{"groups", false},
		{"groups --side consumer", false},
		{"resend REJECTED", true},
		{"resend --as-new REJECTED", true},
		{"resend --all", true},
		{"resend --side consumer REJECTED", false},
		{"discard --yes REJECTED OTHER", true},
		{"discard --yes --all", true},
		{"discard --yes --pending PENDING", true},
		{"discard --yes --side consumer REJECTED", false},
		{"pause orders --side producer", false},
		{"pause orders --side consumer --consumer c", false},
		{"resume orders --side producer", false},
		{"resume orders --side consumer", false},
		{"prune", true},
		{"prune --dry-run", true},
		{"prune --keys-idle 2160h --side producer", false},
		{"prune --keys-idle 2160h --side consumer", false},
		{"prune --keys-idle 2160h --side producer --dry-run", false},
	} {
		tested[strings.Fields(c.args)[0]] = true
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			w := newWorkspace(t, template.vars...)
			if err := os.WriteFile(filepath.Join(w.dir, "app.db"), tables, 0o600); err != nil {
				t.Fatal(err)
			}
			r := w.run("", strings.Fields(id.Replace(c.args))...)
			if c.works != (r.status == 0) {
				t.Errorf("got exit status %d, want 0: %v\n%s%s", r.status, c.works, r.stdout, r.stderr)
			}
			if !c.works && !strings.Contains(r.stderr, "waybill init") {
				t.Errorf("got the error %q, want 'waybill init' in it", r.stderr)
			}
		})
	}
	root, _ := newRoot()
	for _, c := range root.Commands() {
		if !tested[c.Name()] {
			t.Errorf("waybill %s: got no test with tables of version 1, want one", c.Name())
		}
	}
}

func TestMessagesMoveWithTablesOfVersion1AndThePageNamesInit(t *testing.T) {
	t.Parallel()
	w, _, _, _ := workspaceOfVersion1(t)
	deliver(t, w)
	if out := w.ok("", "receive", "orders", "--consumer", "c", "--count", "1"); !strings.Contains(out, `"key":"c"`) {
		t.Errorf("got %q received, want the message that was pending", out)
	}
	page := w.start("ui", "--http", "127.0.0.1:0")
	response, err := http.Get("http://" + page.httpAddress() + "/api/v1/overview")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || strings.Count(string(body), "waybill init") < 2 {
		t.Errorf("got %s (%v), want 'waybill init' for both sides", body, err)
	}
	page.stops()
	w.ok("", "init")
	if out := w.ok("", "groups"); !strings.Contains(out, "no good") {
		t.Errorf("got the groups %q behind an upgrade, want the reason", out)
	}
}
