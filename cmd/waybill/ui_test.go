package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/internal/address"
)

func TestWhoHasNoNameIsNoOperator(t *testing.T) {
	t.Parallel()
	f := consoleFlags{operators: strings.Split("ann,", ",")}
	for user, want := range map[string]admin.Role{"ann": admin.Operator, "bob": admin.ReadOnly, "": admin.ReadOnly} {
		if got := f.role(user); got != want {
			t.Errorf("%q: got the role %d, want %d", user, got, want)
		}
	}
}

func TestThePageIsNotServedToWhoeverComes(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db")
	w.ok("", "init")
	w.fails(2, "", []string{"ui", "--http", ":0"}, "nothing says who may come in", "--http-token-file")
	w.fails(2, "", []string{"ui", "--http", "127.0.0.1:0", "--http-token-file", "missing"}, "read a token")
	if err := os.WriteFile(filepath.Join(w.dir, "short"), []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.fails(2, "", []string{"ui", "--http", "127.0.0.1:0", "--http-token-file", "short"}, "at least 16 are required")
	w.fails(2, "", []string{"ui", "--http", "127.0.0.1:0", "--http-user-header", "X-User", "--http-proxies", "nonsense"}, "--http-proxies")
	w.fails(2, "", []string{"ui", "--http-client-ca", "ca.crt"}, "--http-cert")
	w.fails(2, "", []string{"ui", "--database", "nonsense"}, "NAME=ADDRESS")

	const token = "a-token-0123456789abcdef"
	p := w.with("WAYBILL_HTTP_TOKEN="+token).start("ui", "--http", "0.0.0.0:0")
	url := "http://" + strings.Replace(p.httpAddress(), "[::]", "127.0.0.1", 1)
	ask := func(token string) int {
		t.Helper()
		request, err := http.NewRequest(http.MethodGet, url+"/api/v1/overview", nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	if got := []int{ask(""), ask("another-0123456789abcdef"), ask(token)}; got[0] != 401 || got[1] != 401 || got[2] != 200 {
		t.Errorf("got %v, want 401 for strangers and 200 with the token", got)
	}
	if out := w.ok("", "health", strings.TrimPrefix(url, "http://")); out != "ok\n" {
		t.Errorf("health: got %q, want ok", out)
	}
	p.stops()
	if log := p.stderr.String(); strings.Contains(log, token) {
		t.Errorf("got the token in the log\n%s", log)
	}
	w.fails(1, "", []string{"health", strings.TrimPrefix(url, "http://")}, "ask for health")
}

func TestSeveralDatabasesAreOnOnePage(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	w.ok("", "init", "--db", "sqlite:shop.db", "--side", "producer")
	w.ok("", "init", "--db", "sqlite:shipping.db", "--side", "consumer")
	w.ok("", "send", "orders", "--body", "x", "--db", "sqlite:shop.db")
	p := w.start("ui", "--http", "127.0.0.1:0", "--database", "shop=sqlite:shop.db", "--database", "shipping=sqlite:shipping.db")
	response, err := http.Get("http://" + p.httpAddress() + "/api/v1/overview")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var overview struct {
		Databases []struct {
			Database string
			Outbox   *struct{ Pending struct{ N int } }
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&overview); err != nil {
		t.Fatal(err)
	}
	d := overview.Databases
	if len(d) != 2 || d[0].Database != "shop" || d[0].Outbox == nil || d[0].Outbox.Pending.N != 1 || d[1].Database != "shipping" || d[1].Outbox != nil {
		t.Errorf("got %+v, want the shop with one pending, and shipping without an outbox", d)
	}
	p.stops()
}

func TestRejectedMessagesAreGroupedByReason(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init")
	if r := w.run("", "groups"); r.status != 0 || !strings.Contains(r.stderr, "No such messages.") {
		t.Errorf("got %+v, want none", r)
	}
	w.fails(2, "", []string{"groups", "--side", "left"}, "--side")
	for range 3 {
		w.ok("", "send", "orders", "--body", "x")
	}
	db, _, err := address.OpenDatabase("sqlite:" + filepath.Join(w.dir, "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`UPDATE qmessage SET status = 2, last_error = 'shipping: no order ' || id`); err != nil {
		t.Fatal(err)
	}
	if out := w.ok("", "groups"); !strings.Contains(out, "no order #") || strings.Count(out, "\n") != 2 {
		t.Errorf("got\n%swant one group", out)
	}
	lines := jsonLines(t, w.ok("", "groups", "--json", "--consumer", "shipping"))
	if len(lines) != 1 || lines[0]["messages"] != 3.0 || lines[0]["reason"] != "no order #" {
		t.Errorf("got %v, want one group of three", lines)
	}
}

func TestAConsumerServesHealthAndThePage(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "WAYBILL_DB=sqlite:app.db", "WAYBILL_BROKER=embedded:broker")
	w.ok("", "init")
	p := w.start("receive", "orders", "--consumer", "shipping", "--http", "127.0.0.1:0")
	addr := p.httpAddress()
	eventually(t, "the inbox to be ready", func() bool { return w.run("", "health", addr).status == 0 })
	response, err := http.Get("http://" + addr + "/consumers")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(page), "The inbox of this process") {
		t.Errorf("got %v and\n%s\nwant what the inbox knows", err, page)
	}
	p.stops()
}

// httpAddress waits until a process serves, and returns where.
func (p *process) httpAddress() string {
	p.t.Helper()
	var at []string
	eventually(p.t, "the process to serve", func() bool {
		at = servingAt.FindStringSubmatch(p.stderr.String())
		return at != nil
	})
	return at[1]
}
