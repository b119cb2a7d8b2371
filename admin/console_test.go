package admin_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/admin"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
)

const (
	operatorToken = "operator-token-0123456789"
	readerToken   = "reader-token-0123456789"
)

// desk is a Console of a database with both sides' tables.
type desk struct {
	*testing.T
	db       *sql.DB
	dialect  store.Dialect
	queue    *store.Queue
	database admin.Database
	console  *admin.Console
	log      bytes.Buffer
}

func newDesk(t *testing.T, o admin.Options) *desk {
	t.Helper()
	db, dialect, err := address.OpenDatabase("sqlite:" + filepath.Join(t.TempDir(), "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	d := &desk{T: t, db: db, dialect: dialect, database: admin.Database{Name: "shop", DB: db, Dialect: dialect}}
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		d.must(store.Migrate(t.Context(), db, dialect, "", side))
	}
	d.queue, err = store.NewQueue(db, dialect, "")
	d.must(err)
	o.Logger = slog.New(slog.NewTextHandler(&d.log, nil))
	d.console, err = admin.NewConsole(&o, d.database)
	d.must(err)
	admin.Eager(d.console)
	t.Cleanup(d.console.Close)
	return d
}

func (d *desk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// rejected sends a message and rejects it.
func (d *desk) rejected(m waybill.Message, reason string) waybill.ID {
	d.Helper()
	id := d.sent(m)
	if found, err := d.queue.Reject(d.Context(), id, reason); err != nil || !found {
		d.Fatalf("reject: got %v, %v, want it found", found, err)
	}
	return id
}

func (d *desk) sent(m waybill.Message) waybill.ID {
	d.Helper()
	out, err := outbox.New(d.dialect, nil)
	d.must(err)
	d.must(out.InTx(d.Context(), d.db, func(tx *sql.Tx) error { return out.Send(d.Context(), tx, m) }))
	var id waybill.ID
	d.must(d.db.QueryRow(`SELECT message_id FROM qmessage ORDER BY id DESC LIMIT 1`).Scan(&id))
	return id
}

func (d *desk) keep(k store.Kept) {
	d.Helper()
	l, err := store.NewLedger(d.db, d.dialect, "", "shipping")
	d.must(err)
	d.must(l.Keep(d.Context(), []store.Kept{k}, make([]time.Duration, 1)))
}

// ask asks the Console as somebody of this machine does, unless change makes it somebody else.
func (d *desk) ask(method, target, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host, r.RemoteAddr = "localhost:8080", "127.0.0.1:4711"
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	d.console.ServeHTTP(w, r)
	return w
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func asJSON(r *http.Request) { r.Header.Set("Content-Type", "application/json") }

func asForm(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }

func TestEveryRouteIsForThoseWhoseRoleItNeeds(t *testing.T) {
	d := newDesk(t, admin.Options{OperatorToken: operatorToken, ReaderToken: readerToken})
	id := d.rejected(waybill.Message{Destination: "orders", Body: []byte("confidential")}, "shipping: no")
	open := []string{"GET /healthz", "GET /readyz", "GET /assets/{file}", "GET /login", "POST /login"}
	routes := admin.RoutesOf(d.console)
	if len(routes) < 25 {
		t.Fatalf("got %d routes, want all", len(routes))
	}
	for _, route := range routes {
		name := route.Method + " " + route.Pattern
		target := strings.NewReplacer("{$}", "", "{file}", "waybill.css", "{id}", id.String(), "{what}", "stop").Replace(route.Pattern)
		changes := route.Method != http.MethodGet && route.Pattern != "/login" && route.Pattern != "/logout"
		t.Run(name, func(t *testing.T) {
			if changes && route.Need != admin.Operator || !changes && route.Need == admin.Operator {
				t.Errorf("it needs the role %v", route.Need)
			}
			ask := func(who string) *httptest.ResponseRecorder {
				return d.ask(route.Method, target, "{}", asJSON, func(r *http.Request) {
					ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond) // it ends events
					t.Cleanup(cancel)
					*r = *r.WithContext(ctx)
					if who != "" {
						bearer(who)(r)
					}
				})
			}
			stranger, reader := ask(""), ask(readerToken)
			if slices.Contains(open, name) {
				if stranger.Code == http.StatusUnauthorized || stranger.Code == http.StatusSeeOther {
					t.Errorf("a stranger: got %d, want it open", stranger.Code)
				}
				return
			}
			refused := stranger.Code == http.StatusUnauthorized || stranger.Code == http.StatusSeeOther && stranger.Header().Get("Location") != ""
			if !refused || strings.Contains(stranger.Body.String(), "orders") || strings.Contains(stranger.Body.String(), "confidential") {
				t.Errorf("a stranger: got %d %s, want nothing shown", stranger.Code, stranger.Body)
			}
			if wrong := ask("wrong-token-0123456789"); wrong.Code != stranger.Code {
				t.Errorf("a wrong token: got %d, want %d as for a stranger", wrong.Code, stranger.Code)
			}
			if forbidden := reader.Code == http.StatusForbidden; forbidden != changes {
				t.Errorf("a reader: got %d", reader.Code)
			}
			if operator := ask(operatorToken); operator.Code == http.StatusForbidden || operator.Code == http.StatusUnauthorized {
				t.Errorf("an operator: got %d %s", operator.Code, operator.Body)
			}
		})
	}
	if rows, err := d.queue.Find(t.Context(), []waybill.ID{id}); err != nil || len(rows) != 1 || rows[0].Status != store.Rejected {
		t.Errorf("got %+v, %v, want the message as it was", rows, err)
	}
	if log := d.log.String(); strings.Contains(log, operatorToken) || strings.Contains(log, readerToken) {
		t.Errorf("got a token in the log\n%s", log)
	}
}

func TestWhereEverybodyMayOnlyLookNobodyCanChangeAnything(t *testing.T) {
	d := newDesk(t, admin.Options{ReadOnly: true})
	d.rejected(waybill.Message{Destination: "orders"}, "shipping: no")
	for _, route := range admin.RoutesOf(d.console) {
		if route.Need == admin.Operator {
			if w := d.ask(route.Method, strings.ReplaceAll(route.Pattern, "{id}", "x"), `{"action":"discard"}`, asJSON); w.Code != http.StatusForbidden {
				t.Errorf("%s: got %d, want 403", route.Pattern, w.Code)
			}
		}
	}
	if w := d.ask("GET", "/rejected", ""); w.Code != http.StatusOK || strings.Contains(w.Body.String(), `name="action"`) {
		t.Errorf("got %d, want a page without buttons", w.Code)
	}
}

func TestWithoutATokenOnlyThisMachineIsLetIn(t *testing.T) {
	d := newDesk(t, admin.Options{})
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	at := func(ip string) func(*http.Request) {
		return func(r *http.Request) {
			addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(ip))
			*r = *r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
		}
	}
	for _, c := range []struct {
		name         string
		remote, host string
		change       func(*http.Request)
		want         int
	}{
		{"this machine", "127.0.0.1:1", "127.0.0.1:8080", nil, 200},
		{"by its name", "[::1]:1", "localhost:8080", at("[::1]:8080"), 200},
		{"another machine", "10.0.0.7:1", "localhost:8080", nil, 403},
		{"a foreign name that leads here", "127.0.0.1:1", "evil.example:8080", nil, 403},
		{"through a proxy", "127.0.0.1:1", "localhost:8080", header("X-Forwarded-For", "10.0.0.7"), 403},
		{"through a proxy that adds a line to an empty one", "127.0.0.1:1", "localhost:8080", header("X-Forwarded-For", "", "10.0.0.7"), 403},
		{"through one that tells of the scheme alone", "127.0.0.1:1", "localhost:8080", header("X-Forwarded-Proto", "https"), 403},
		{"through one that says nothing and speaks HTTP/1.0", "127.0.0.1:1", "127.0.0.1:8080", func(r *http.Request) { r.ProtoMinor = 0 }, 403},
		{"through a side-car", "127.0.0.6:1", "localhost:8080", at("10.0.0.7:8080"), 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := d.ask("GET", "/", "", func(r *http.Request) {
				r.RemoteAddr, r.Host = c.remote, c.host
				if c.change != nil {
					c.change(r)
				}
			})
			if w.Code != c.want {
				t.Errorf("got %d, want %d", w.Code, c.want)
			}
		})
	}
}

func TestCertificatesAndProxiesSayWhoComes(t *testing.T) {
	role := func(name string) admin.Role {
		return map[string]admin.Role{"ann": admin.Operator, "bob": admin.ReadOnly}[name]
	}
	certificate := admin.ClientCertificate(func(c *x509.Certificate) admin.Role { return role(c.Subject.CommonName) })
	proxy := admin.ProxyHeader("X-User", role, netip.MustParsePrefix("10.0.0.0/8"))
	for _, name := range []string{"ann", "bob", "eve"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: name}}}}}
		if user, ok := certificate(r); ok != (name != "eve") || user.Role != role(name) {
			t.Errorf("the certificate of %s: got %+v, %v", name, user, ok)
		}
		r.TLS = &tls.ConnectionState{PeerCertificates: r.TLS.VerifiedChains[0]}
		if _, ok := certificate(r); ok {
			t.Errorf("a certificate of %s that nobody has verified: got it let in", name)
		}
		for remote, trusted := range map[string]bool{"10.1.2.3:4": true, "[::ffff:10.1.2.3]:4": true, "11.1.2.3:4": false, "@": false} {
			r = httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = remote
			r.Header.Set("X-User", name)
			if user, ok := proxy(r); ok != (trusted && name != "eve") || ok && user.Name != name {
				t.Errorf("%s by %s: got %+v, %v", name, remote, user, ok)
			}
			r.Header.Add("X-User", "ann")
			if _, ok := proxy(r); ok {
				t.Errorf("two names by %s: got one of them let in", remote)
			}
		}
	}
}

func TestOptionsThatLetInTooManyAreRefused(t *testing.T) {
	d := newDesk(t, admin.Options{})
	for _, o := range []admin.Options{{OperatorToken: "short"}, {OperatorToken: operatorToken, ReaderToken: operatorToken}} {
		if _, err := admin.NewConsole(&o, d.database); err == nil {
			t.Errorf("%+v: got no error, want one", o)
		}
	}
	if _, err := admin.NewConsole(nil); err == nil {
		t.Error("no database: got no error, want one")
	}
	if _, err := admin.NewConsole(nil, d.database, d.database); err == nil {
		t.Error("one name twice: got no error, want one")
	}
}

// browser is one that keeps cookies.
type browser struct {
	*testing.T
	http.Client
	url string
}

func (d *desk) browser(handler http.Handler, prefix string) *browser {
	server := httptest.NewServer(handler)
	d.Cleanup(server.Close)
	jar, err := cookiejar.New(nil)
	d.must(err)
	return &browser{d.T, http.Client{Jar: jar}, server.URL + prefix}
}

func (b *browser) get(path string) (status int, page string, at *url.URL) {
	b.Helper()
	return b.read(b.Client.Get(b.url + path))
}

func (b *browser) post(path string, form url.Values) (status int, page string, at *url.URL) {
	b.Helper()
	return b.read(b.PostForm(b.url+path, form))
}

func (b *browser) read(response *http.Response, err error) (int, string, *url.URL) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	return response.StatusCode, string(text), response.Request.URL
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([a-z_]+)" value="([^"]*)">`)

// formIn reads the hidden fields of the first form of a page that has a text in it.
func (b *browser) formIn(page, text string) url.Values {
	b.Helper()
	for form := range strings.SplitSeq(page, "<form") {
		form, _, _ = strings.Cut(form, "</form>")
		if strings.Contains(form, text) {
			values := url.Values{}
			for _, m := range hiddenField.FindAllStringSubmatch(form, -1) {
				values.Add(m[1], m[2])
			}
			return values
		}
	}
	b.Fatalf("got no form with %q in\n%s", text, page)
	return nil
}

func TestAPersonLogsInFindsAGroupAndSendsItAgain(t *testing.T) {
	d := newDesk(t, admin.Options{OperatorToken: operatorToken})
	for i := range 12 {
		d.rejected(waybill.Message{Destination: "orders", Key: fmt.Sprint(i)}, fmt.Sprintf("shipping: no order %d", i))
	}
	mux := http.NewServeMux()
	mux.Handle("/ops/waybill/", http.StripPrefix("/ops/waybill", d.console))
	b := d.browser(mux, "/ops/waybill")
	status, _, at := b.get("/rejected")
	if at.Path != "/ops/waybill/login" || status != 200 || at.RawQuery != "" {
		t.Fatalf("got %d at %s, want the page to log in", status, at)
	}
	if status, _, _ := b.post("/login", url.Values{"token": {"wrong-token-0123456789"}}); status != 403 {
		t.Errorf("a wrong token: got %d, want 403", status)
	}
	if _, _, at = b.post("/login", url.Values{"token": {operatorToken}}); at.Path != "/ops/waybill/" || strings.Contains(at.String(), operatorToken) {
		t.Fatalf("got to %s, want the overview", at)
	}
	_, page, _ := b.get("/rejected")
	if !strings.Contains(page, "no order #") {
		t.Fatalf("got\n%s\nwant the group", page)
	}
	form := b.formIn(page, `name="group"`)
	form.Set("action", "resend")
	_, page, _ = b.post("/confirm", form)
	if !strings.Contains(page, "Send 12 messages again?") {
		t.Fatalf("got\n%s\nwant to be asked", page)
	}
	form = b.formIn(page, `name="group"`)
	forged := url.Values{}
	for name, values := range form {
		forged[name] = values
	}
	forged.Set("form_token", strings.Repeat("0", 64))
	if status, _, _ = b.post("/operations", forged); status != 403 {
		t.Errorf("with another form's token: got %d, want 403", status)
	}
	status, page, at = b.post("/operations", form)
	if status != 200 || !strings.HasPrefix(at.Path, "/ops/waybill/operations/") {
		t.Fatalf("got %d at %s\n%s\nwant the order", status, at, page)
	}
	eventually(t, "the first message to be sent again", func() bool {
		var n int
		d.must(d.db.QueryRow(`SELECT count(*) FROM qmessage WHERE status = 0`).Scan(&n))
		return n == 1
	})
	if _, err := d.db.Exec(`DELETE FROM qmessage WHERE status = 0`); err != nil {
		t.Fatal(err)
	}
	_, page, _ = b.get(strings.TrimPrefix(at.Path, "/ops/waybill"))
	form = b.formIn(page, "Stop")
	path := strings.TrimPrefix(at.Path, "/ops/waybill")
	if status, page, at = b.post(path+"/stop", form); status != 200 && status != 409 {
		t.Errorf("stop: got %d at %s\n%s", status, at, page)
	}
	_, page, _ = b.get("/operations")
	form = b.formIn(page, "Log out")
	if _, _, at = b.post("/logout", form); at.Path != "/ops/waybill/login" {
		t.Errorf("logged out: got to %s", at)
	}
	if _, _, at = b.get("/messages"); at.Path != "/ops/waybill/login" {
		t.Errorf("after that: got to %s, want the page to log in", at)
	}
}

func TestAForeignPageChangesNothing(t *testing.T) {
	d := newDesk(t, admin.Options{})
	d.rejected(waybill.Message{Destination: "orders"}, "shipping: no")
	for _, c := range []struct {
		name   string
		change []func(*http.Request)
		want   int
	}{
		{"a form of a foreign page", []func(*http.Request){asForm, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }}, 403},
		{"JSON of a foreign page", []func(*http.Request){asJSON, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }}, 403},
		{"a foreign origin", []func(*http.Request){asJSON, func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }}, 403},
		{"text, which a form can send", []func(*http.Request){func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }}, 403},
		{"a form without its token", []func(*http.Request){asForm}, 403},
		{"a program", []func(*http.Request){asJSON}, 202},
	} {
		t.Run(c.name, func(t *testing.T) {
			if w := d.ask("POST", "/api/v1/operations", `{"action":"discard","selection":{}}`, c.change...); w.Code != c.want {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, c.want)
			}
		})
	}
}

func TestAForeignPageHasNothingAsAPartOfIt(t *testing.T) {
	d := newDesk(t, admin.Options{})
	fetched := func(site, mode, dest string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", site)
			r.Header.Set("Sec-Fetch-Mode", mode)
			r.Header.Set("Sec-Fetch-Dest", dest)
		}
	}
	for _, path := range []string{"/count", "/", "/api/v1/count", "/events"} {
		for _, by := range []func(*http.Request){fetched("cross-site", "no-cors", "image"), fetched("same-site", "cors", "empty"), fetched("cross-site", "navigate", "iframe")} {
			if w := d.ask("GET", path, "", by); w.Code != http.StatusForbidden {
				t.Errorf("%s: got %d, want 403", path, w.Code)
			}
		}
	}
	for _, by := range []func(*http.Request){fetched("cross-site", "navigate", "document"), fetched("none", "navigate", "document"), fetched("same-origin", "cors", "empty")} {
		if w := d.ask("GET", "/", "", by); w.Code != http.StatusOK {
			t.Errorf("got %d, want the page: a link leads to it, or it is its own", w.Code)
		}
	}
}

func TestAnOrderThatMeansNothingInParticularIsNotOneOfAll(t *testing.T) {
	d := newDesk(t, admin.Options{})
	d.rejected(waybill.Message{Destination: "orders"}, "shipping: no")
	for _, body := range []string{
		`{"action":"discard","selection":{"message_ids":[]}}`, `{"action":"discard"}{"selection":{"destination":"mails"}}`, `{"action":"discard"} x`,
		`{"action":"discard","selection":{"destinations":"mails"}}`, `[]`, ``,
	} {
		if w := d.ask("POST", "/api/v1/operations", body, asJSON); w.Code != http.StatusBadRequest {
			t.Errorf("%s: got %d %s, want 400", body, w.Code, w.Body)
		}
	}
}

func TestWhatAPersonWasNotShownIsNotDone(t *testing.T) {
	d := newDesk(t, admin.Options{})
	d.rejected(waybill.Message{Destination: "orders"}, "shipping: no order 1")
	b := d.browser(d.console, "")
	_, page, _ := b.get("/rejected")
	form := b.formIn(page, `name="group"`)
	form.Set("action", "discard")
	_, page, _ = b.post("/confirm", form)
	form = b.formIn(page, `name="shown"`)
	d.rejected(waybill.Message{Destination: "orders"}, "shipping: no order 2") // of the same group, while the person reads
	status, page, _ := b.post("/operations", form)
	if status != http.StatusConflict || !strings.Contains(page, "Discard 2 messages for good?") {
		t.Fatalf("got %d\n%s\nwant to be asked again", status, page)
	}
	if status, page, at := b.post("/operations", b.formIn(page, `name="shown"`)); status != http.StatusOK || !strings.HasPrefix(at.Path, "/operations/") {
		t.Errorf("got %d at %s\n%s\nwant the order", status, at, page)
	}
}

func TestAFormThatCannotBeReadWholeDoesNothing(t *testing.T) {
	d := newDesk(t, admin.Options{})
	d.rejected(waybill.Message{Destination: "orders"}, "shipping: no")
	b := d.browser(d.console, "")
	_, page, _ := b.get("/rejected")
	token := b.formIn(page, `name="group"`).Get("form_token")
	for _, body := range []string{"destination=mails;x", "destination=%zz"} {
		response, err := b.Post(b.url+"/operations", "application/x-www-form-urlencoded", strings.NewReader("action=discard&form_token="+token+"&"+body))
		if status, _, _ := b.read(response, err); status != http.StatusForbidden {
			t.Errorf("%s: got %d, want 403: the destination would be lost, and all be meant", body, status)
		}
	}
}

func TestWrongTokensAreLoggedAndDoNotFillTheLog(t *testing.T) {
	d := newDesk(t, admin.Options{OperatorToken: operatorToken})
	for i := range 100 {
		d.ask("GET", "/api/v1/overview", "", bearer(fmt.Sprint("guess-", i)))
		d.ask("POST", "/login", fmt.Sprint("token=guess-", i), asForm)
	}
	if text := d.log.String(); strings.Count(text, "wrong tokens") != 1 || strings.Contains(text, "guess-") {
		t.Errorf("got the log\n%s\nwant one line, without a token", text)
	}
}

func TestASlashInAPathLeadsNowhereElse(t *testing.T) {
	d := newDesk(t, admin.Options{})
	for prefix, handler := range map[string]http.Handler{"": d.console, "/waybill": http.StripPrefix("/waybill", d.console), "/ops/": http.StripPrefix("/ops/", d.console)} {
		r := httptest.NewRequest(http.MethodGet, strings.TrimSuffix(prefix, "/")+"/messages/a%2Fb%2Fc", nil)
		r.Host, r.RemoteAddr = "localhost", "127.0.0.1:1"
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if text := w.Body.String(); !strings.Contains(text, `src="./../assets/`) {
			t.Errorf("below %q: got\n%s\nwant links to one level up", prefix, text)
		}
	}
}

func TestTheHandlerWorksBelowAnyPrefix(t *testing.T) {
	d := newDesk(t, admin.Options{})
	link := regexp.MustCompile(`(?:href|src|action|data-events)="([^"?]*)`)
	for name, handler := range map[string]http.Handler{
		"/":         d.console,
		"/waybill/": http.StripPrefix("/waybill", d.console),
		"/a/b/":     http.StripPrefix("/a/b/", d.console),
	} {
		t.Run(name, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.Handle(name, handler)
			mux.Handle(strings.TrimSuffix(name, "/")+"/x/{rest...}", http.NotFoundHandler())
			b := d.browser(mux, strings.TrimSuffix(name, "/"))
			for _, page := range []string{"/", "/rejected", "/operations", "/messages"} {
				status, text, at := b.get(page)
				if status != 200 {
					t.Fatalf("%s: got %d", page, status)
				}
				for _, m := range link.FindAllStringSubmatch(text, -1) {
					to, err := at.Parse(m[1])
					if err != nil || !strings.HasPrefix(to.Path, name) {
						t.Errorf("%s: got a link %q to %s, want one below %s", page, m[1], to, name)
					}
					if strings.Contains(m[1], "assets/") {
						if status, _, _ := b.get(strings.TrimPrefix(to.Path, strings.TrimSuffix(name, "/"))); status != 200 {
							t.Errorf("%s: got %d for %s", page, status, to)
						}
					}
				}
			}
		})
	}
	w := httptest.NewRecorder()
	http.StripPrefix("/waybill", d.console).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/waybill", nil))
	if w.Code != http.StatusPermanentRedirect || w.Header().Get("Location") != "waybill/" {
		t.Errorf("without the slash: got %d to %q, want to be led to it", w.Code, w.Header().Get("Location"))
	}
}

func TestHostileTextIsTextOnEveryPage(t *testing.T) {
	const evil = `"'><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}%s%d` + "`" + `</title></textarea>`
	d := newDesk(t, admin.Options{})
	id := d.rejected(waybill.Message{Destination: "orders", Key: evil, Body: []byte(evil), Headers: map[string]string{"x-evil": evil}}, evil)
	d.sent(waybill.Message{Destination: "orders", Topic: true})
	if _, err := d.db.Exec(`UPDATE qmessage SET destination = ?`, evil); err != nil { // as any program may
		t.Fatal(err)
	}
	kept := waybill.NewID()
	d.keep(store.Kept{MessageID: kept, Destination: evil, Key: evil, Delivery: evil, Headers: `[]`, Body: []byte(evil), Status: store.Rejected, Reason: evil})
	if _, err := d.db.Exec(`INSERT INTO qpause (destination, dest_type, paused_by, reason, paused_at, paused_until) VALUES (?, 0, ?, ?, 1, 0)`, evil, evil, evil); err != nil {
		t.Fatal(err)
	}
	q := url.QueryEscape(evil)
	for _, page := range []string{
		"/", "/?q=" + q, "/rejected", "/rejected?text=" + q + "&destination=" + q, "/messages", "/messages?key=" + q + "&text=" + q, "/messages/" + id.String(),
		"/messages/" + kept.String() + "?side=consumer", "/consumers", "/count", "/pauses", "/pauses?destination=" + q, "/messages?db=" + q, "/messages?older=" + q, "/?lang=" + q, "/operations/" + url.PathEscape(evil), "/messages/" + url.PathEscape(evil),
	} {
		w := d.ask("GET", page, "")
		text := w.Body.String()
		if w.Code >= 500 || strings.Contains(text, "<script>alert") || strings.Contains(text, "<img") || strings.Contains(text, "%!") {
			t.Errorf("%s: got %d and\n%s\nwant text alone", page, w.Code, text)
		}
		if scripts := strings.Count(text, "<script"); scripts != 1 || strings.Contains(text, " style=") || strings.Contains(text, "<style") {
			t.Errorf("%s: got %d scripts or a style, want the one script of our own", page, scripts)
		}
		if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: got the policy %q", page, policy)
		}
	}
}

func TestDeeplyNestedJSONIsShownAsItIs(t *testing.T) {
	d := newDesk(t, admin.Options{})
	for deep, most := range map[int]int{5: 10_000, 9000: 100_000} {
		body := strings.Repeat("[", deep) + strings.Repeat("1,", 200) + "1" + strings.Repeat("]", deep)
		id := d.sent(waybill.Message{Destination: "orders", Body: []byte(body)})
		if w := d.ask("GET", "/messages/"+id.String(), ""); w.Code != http.StatusOK || w.Body.Len() > most || strings.Contains(w.Body.String(), body) == (deep == 5) {
			t.Errorf("%d deep: got %d and %d bytes", deep, w.Code, w.Body.Len())
		}
	}
}

func TestBodiesAreHiddenOrFormatted(t *testing.T) {
	for _, c := range []struct {
		name string
		o    admin.Options
		want string
	}{
		{"as they are", admin.Options{}, "4111-1111"},
		{"hidden", admin.Options{HideBodies: true}, "Bodies are not shown here."},
		{"formatted", admin.Options{FormatBody: func(b admin.Body) string {
			return strings.ReplaceAll(string(b.Bytes), "4111", b.Headers["kind"]+"-"+b.Destination)
		}}, "card-orders-1111"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, c.o)
			id := d.rejected(waybill.Message{Destination: "orders", Body: []byte(`4111-1111`), Headers: map[string]string{"kind": "card"}}, "no")
			page, api := d.ask("GET", "/messages/"+id.String(), "").Body.String(), d.ask("GET", "/api/v1/messages/"+id.String(), "").Body.String()
			if !strings.Contains(page, c.want) {
				t.Errorf("got the page\n%s\nwant %q in it", page, c.want)
			}
			if hidden := c.name != "as they are"; hidden && (strings.Contains(page, "4111") || strings.Contains(api, "4111")) {
				t.Errorf("got the body in\n%s\n%s", page, api)
			}
		})
	}
}

var link = regexp.MustCompile(`<a [^>]*href="([^"]*)"[^>]*>`)

func TestEachLinkLeadsWhereItSays(t *testing.T) {
	d := newDesk(t, admin.Options{})
	for i := range 250 { // more than a page
		d.sent(waybill.Message{Destination: "orders", Key: fmt.Sprint(i)})
	}
	d.rejected(waybill.Message{Destination: "a-b", Key: "x y&z"}, "shipping: no such order")
	b := d.browser(d.console, "/")
	seen, waiting := map[string]bool{}, []string{"", "messages?destination=orders"}
	for len(waiting) > 0 {
		from := waiting[0]
		waiting = waiting[1:]
		status, page, at := b.get(from)
		if status != http.StatusOK {
			t.Errorf("%s: got status %d", from, status)
			continue
		}
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			target := html.UnescapeString(m[1])
			if strings.HasPrefix(target, "#") {
				continue
			}
			to, err := at.Parse(target)
			if err != nil || to.Host != at.Host {
				t.Errorf("%s: the link %q leads away: %v", from, target, err)
				continue
			}
			if next := strings.TrimPrefix(to.RequestURI(), "/"); !seen[next] && len(seen) < 100 {
				seen[next] = true
				waiting = append(waiting, next)
			}
		}
	}
	for _, want := range []string{"?lang=zh", "messages?destination=orders&lang=zh"} {
		if !seen[want] {
			t.Errorf("no link leads to %s", want)
		}
	}
	_, page, _ := b.get("messages?destination=orders")
	for _, m := range link.FindAllStringSubmatch(page, -1) {
		if !strings.Contains(m[0], `rel="next"`) {
			continue
		}
		next := html.UnescapeString(m[1])
		if !strings.Contains(next, "from=") || !strings.Contains(next, "destination=orders") {
			t.Errorf("what comes next is at %q, want the same search from where this page ends", next)
		}
		if _, other, _ := b.get("messages" + next); other == page {
			t.Errorf("%q shows the same page", next)
		}
		return
	}
	t.Error("250 messages stand on one page")
}

func TestThePagesSpeakChinese(t *testing.T) {
	d := newDesk(t, admin.Options{})
	d.sent(waybill.Message{Destination: "orders"})
	for _, c := range []struct {
		name, target, accept, cookie string
		want                         string
	}{
		{"by default", "/", "", "", `lang="en"`},
		{"as the browser prefers", "/", "fr, zh-CN;q=0.9, en;q=0.5", "", `lang="zh"`},
		{"as is asked for", "/?lang=zh", "en", "", `lang="zh"`},
		{"as was asked for", "/", "en", "zh", `lang="zh"`},
		{"in no other language", "/?lang=xx", "", "", `lang="en"`},
	} {
		w := d.ask("GET", c.target, "", func(r *http.Request) {
			r.Header.Set("Accept-Language", c.accept)
			if c.cookie != "" {
				r.AddCookie(&http.Cookie{Name: "waybill_lang", Value: c.cookie})
			}
		})
		if !strings.Contains(w.Body.String(), "<html "+c.want) {
			t.Errorf("%s: got\n%.200s\nwant %s", c.name, w.Body, c.want)
		}
		if c.want == `lang="zh"` && !strings.Contains(w.Body.String(), "没有中继主导此发件箱") {
			t.Errorf("%s: got no sentence in Chinese that says why messages wait", c.name)
		}
	}
}

func TestTooManyOrdersAreRefusedWithASentence(t *testing.T) {
	d := newDesk(t, admin.Options{})
	order := func() *httptest.ResponseRecorder { // it sends one again, and waits for what becomes of it
		id := d.rejected(waybill.Message{Destination: "orders"}, "shipping: no")
		return d.ask("POST", "/api/v1/operations", `{"action":"resend","selection":{"message_ids":["`+id.String()+`"]}}`, asJSON)
	}
	for i := range 4 {
		if w := order(); w.Code != http.StatusAccepted {
			t.Fatalf("%d: got %d %s, want it ordered", i, w.Code, w.Body)
		}
	}
	if w := order(); w.Code != http.StatusTooManyRequests || !strings.Contains(w.Body.String(), "orders of yours are under way") {
		t.Errorf("the fifth: got %d %s, want to be told", w.Code, w.Body)
	}
}

func TestHealthIsThatOfTheDatabases(t *testing.T) {
	d := newDesk(t, admin.Options{OperatorToken: operatorToken})
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200} {
		if w := d.ask("GET", path, ""); w.Code != want {
			t.Errorf("%s: got %d, want %d", path, w.Code, want)
		}
	}
	d.must(d.db.Close())
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503} {
		if w := d.ask("GET", path, ""); w.Code != want || strings.Contains(w.Body.String(), "sql") {
			t.Errorf("without a database: %s: got %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
}
