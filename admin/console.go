package admin

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/repair"
	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// Database is one database that a Console shows: the tables of a producer, of a consumer, or
// of both.
type Database struct {
	// Name is how the page calls it, such as "shop"; different for each. Required.
	Name string
	// DB and Dialect are required. The Console asks for little at a time, and does not close DB.
	DB      *sql.DB
	Dialect store.Dialect
	// TablePrefix is that of the tables; store.NewNames has its rules.
	TablePrefix string
	// About is a line about it, such as its address without the password. Default none.
	About string
	// Relay and Inboxes are those of this database that run in this process: they know what
	// no table tells. Default none.
	Relay   *relay.Relay
	Inboxes []*inbox.Inbox
}

// Body is the body of a message, for Options.FormatBody.
type Body struct {
	Destination string
	Topic       bool
	Headers     map[string]string
	Bytes       []byte
}

// Console is a page for people, and a JSON API behind it: what waits and why, what was
// rejected and for which reasons, any message, and sending rejected ones again. It is an
// http.Handler that can be mounted below any prefix, by http.StripPrefix.
type Console struct {
	o         Options
	databases []*database
	desk      *repair.Desk
	access    *access
	live      *live
	pages     *pages
	handler   http.Handler
	readers   chan struct{} // one for each request that looks at rows
}

// database is a Database and what reads it.
type database struct {
	Database
	reader   *survey.Reader
	counting sync.Mutex // while all rows are counted
}

// NewConsole returns a Console of these databases, at least one. Unless the options say who
// may come in, it serves requests of this machine alone. Close it after the server that
// serves it.
func NewConsole(o *Options, databases ...Database) (*Console, error) {
	c := &Console{readers: make(chan struct{}, readersAtOnce)}
	if o != nil {
		c.o = *o
	}
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf("waybill: "+format, args...)) }
	for _, t := range []string{c.o.OperatorToken, c.o.ReaderToken} {
		if t != "" && len(t) < tokenLength {
			problem("a token of the console has %d bytes, and at least %d are required", len(t), tokenLength)
		}
	}
	if c.o.OperatorToken != "" && c.o.OperatorToken == c.o.ReaderToken {
		problem("the console's two tokens are the same")
	}
	if len(databases) == 0 {
		problem("a console needs a database")
	}
	names := map[string]bool{}
	for _, d := range databases {
		if d.Name == "" || names[d.Name] {
			problem("the name %q of a console's database is empty, or another one has it", d.Name)
		}
		names[d.Name] = true
		reader, err := survey.NewReader(d.DB, d.Dialect, d.TablePrefix)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		c.databases = append(c.databases, &database{Database: d, reader: reader})
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	c.o.setDefaults()
	c.desk = repair.New(&repair.Options{Logger: c.o.Logger})
	c.access = newAccess(&c.o)
	c.live = newLive(c.databases, c.o.Timeout)
	c.pages = newPages()
	c.handler = c.newHandler()
	return c, nil
}

// Close stops what was ordered at the page after the message that each order is at, ends the
// pages that are kept up to date, and returns when that is done.
func (c *Console) Close() {
	c.live.close()
	c.desk.Close()
	for _, d := range c.databases {
		d.reader.Close()
	}
}

// route is one thing that the Console serves.
type route struct {
	method, pattern string
	need            Role // of those who may ask for it
	handle          http.HandlerFunc
	about           string     // for OpenAPI
	query           []argument // what may stand in its query, for OpenAPI
	in, out         any        // zero values of what it takes and answers as JSON, for OpenAPI
}

func (r *route) isAPI() bool { return strings.HasPrefix(r.pattern, "/api/") }

// routes are all that the Console serves. What changes something is of method POST.
func (c *Console) routes() []route {
	return append([]route{
		{method: "GET", pattern: "/healthz", handle: func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") }},
		{method: "GET", pattern: "/readyz", handle: c.ready},
		{method: "GET", pattern: "/assets/{file}", handle: c.asset},
		{method: "GET", pattern: "/login", handle: c.loginPage},
		{method: "POST", pattern: "/login", handle: c.logIn},
		{method: "POST", pattern: "/logout", need: ReadOnly, handle: c.logOut},
		{method: "GET", pattern: "/{$}", need: ReadOnly, handle: c.overviewPage},
		{method: "GET", pattern: "/events", need: ReadOnly, handle: c.events},
		{method: "GET", pattern: "/rejected", need: ReadOnly, handle: c.rejectedPage},
		{method: "GET", pattern: "/messages", need: ReadOnly, handle: c.messagesPage},
		{method: "GET", pattern: "/messages/{id}", need: ReadOnly, handle: c.messagePage},
		{method: "GET", pattern: "/consumers", need: ReadOnly, handle: c.consumersPage},
		{method: "GET", pattern: "/count", need: ReadOnly, handle: c.countPage},
		{method: "GET", pattern: "/pauses", need: ReadOnly, handle: c.pausesPage},
		{method: "POST", pattern: "/pauses", need: Operator, handle: c.pausePage},
		{method: "POST", pattern: "/pauses/resume", need: Operator, handle: c.resumePage},
		{method: "GET", pattern: "/operations", need: ReadOnly, handle: c.operationsPage},
		{method: "GET", pattern: "/operations/{id}", need: ReadOnly, handle: c.operationPage},
		{method: "POST", pattern: "/confirm", need: Operator, handle: c.confirmPage},
		{method: "POST", pattern: "/operations", need: Operator, handle: c.orderPage},
		{method: "POST", pattern: "/operations/{id}/{what}", need: Operator, handle: c.steerPage},
	}, c.apiRoutes()...)
}

// contentSecurity lets a page load what this handler serves, and nothing else; no script and
// no style stands in a page.
const contentSecurity = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// newHandler puts the routes behind what all of them need.
func (c *Console) newHandler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range c.routes() {
		mux.HandleFunc(r.method+" "+r.pattern, c.guard(r))
	}
	var foreign http.CrossOriginProtection
	foreign.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.refuse(w, r, http.StatusForbidden, foreignText)
	}))
	safe := foreign.Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurity)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if r.ContentLength != 0 && !c.whole(w, r) {
			return
		}
		safe.ServeHTTP(w, r)
	})
}

const (
	maxRequest  = 1 << 20          // the most bytes of a request's body
	requestTime = 30 * time.Second // the most time that it may take to come
)

// whole reads the body of a request, so that nobody holds a connection by sending it slowly;
// false says that it was answered.
func (c *Console) whole(w http.ResponseWriter, r *http.Request) bool {
	in := http.NewResponseController(w)
	_ = in.SetReadDeadline(time.Now().Add(requestTime)) // where the server can
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		w.Header().Set("Connection", "close")
		c.refuse(w, r, http.StatusRequestEntityTooLarge, "The form cannot be read.")
		return false
	}
	_ = in.SetReadDeadline(time.Time{})
	r.Body = io.NopCloser(bytes.NewReader(body))
	return true
}

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/") {
		// StripPrefix has taken the slash, too. Where it was not there, what the page links
		// to would lie beside the prefix.
		asked, _, _ := strings.Cut(r.RequestURI, "?")
		if r.URL.Path == "" && asked != "" && !strings.HasSuffix(asked, "/") {
			w.Header().Set("Location", path.Base(asked)+"/")
			w.WriteHeader(http.StatusPermanentRedirect)
			return
		}
		whole := *r.URL
		whole.Path = "/" + r.URL.Path
		if r.URL.RawPath != "" {
			whole.RawPath = "/" + r.URL.RawPath
		}
		r = r.Clone(r.Context())
		r.URL = &whole
	}
	c.handler.ServeHTTP(w, r)
}

// guard lets in those who have the route's role.
func (c *Console) guard(route route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user := c.access.user(r)
		switch {
		case route.need != Nobody && isForeignPart(r):
			c.refuse(w, r, http.StatusForbidden, foreignText)
		case user.Role >= route.need && (route.need == Nobody || route.method == http.MethodGet || c.access.mayChange(r, user)):
			ctx := context.WithValue(r.Context(), userKey{}, user)
			route.handle(w, r.WithContext(ctx))
		case user.Role >= route.need:
			c.refuse(w, r, http.StatusForbidden, "The form is too old, or not of this page. Go back, load the page again and try once more.")
		case user.Role != Nobody:
			c.refuse(w, r, http.StatusForbidden, "You may look, and not change anything.")
		case c.access.hasTokens() && !route.isAPI() && route.method == http.MethodGet && route.pattern != "/events":
			redirect(w, r, "login")
		case c.access.hasTokens():
			w.Header().Set("WWW-Authenticate", `Bearer realm="waybill"`)
			c.refuse(w, r, http.StatusUnauthorized, "Log in, or send a token: Authorization: Bearer …")
		default:
			c.refuse(w, r, http.StatusForbidden, "Only this machine may see this page, by the name localhost, unless its owner has said who else may.")
		}
	}
}

const foreignText = "This was asked for by a page of somebody else's."

// isForeignPart reports whether a foreign page wants something of the Console as a part of
// itself, such as an image: it cannot read that, but it can have the database work. A link of
// a foreign page is none. See https://web.dev/articles/fetch-metadata.
func isForeignPart(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

// userKey is the context's key of the User.
type userKey struct{}

func userOf(r *http.Request) User {
	user, _ := r.Context().Value(userKey{}).(User)
	return user
}

// redirect leads to another page of the Console, by an address that is relative to this one:
// what lies before the Console's own paths, it does not know.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	w.Header().Set("Location", upTo(r)+to)
	w.WriteHeader(http.StatusSeeOther)
}

// upTo leads from a request's page up to the Console's root: "./", "../" or "../../". It counts
// as a browser does, to whom a slash that is written as %2F is none: one step too many would
// lead out of the Console.
func upTo(r *http.Request) string {
	return "./" + strings.Repeat("../", max(strings.Count(r.URL.EscapedPath(), "/")-1, 0))
}

// find returns a database by its name; "" stands for the first.
func (c *Console) find(name string) *database {
	for _, d := range c.databases {
		if d.Name == name || name == "" {
			return d
		}
	}
	return nil
}

// ready answers whether what runs in this process works.
func (c *Console) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), c.o.Timeout)
	defer cancel()
	for _, d := range c.databases {
		for _, in := range d.Inboxes {
			if !in.Stats().Connected {
				say(w, http.StatusServiceUnavailable, "an inbox has no connection to the broker")
				return
			}
		}
		if d.Relay != nil {
			status, text := readiness(ctx, d.Relay, d.reader.Queue())
			if status != http.StatusOK {
				say(w, status, text)
				return
			}
		}
		if _, err := d.reader.Queue().Clock(ctx); err != nil {
			say(w, http.StatusServiceUnavailable, "a database does not answer")
			return
		}
	}
	say(w, http.StatusOK, "ok")
}

// readersAtOnce is how many requests look at rows at one time: further ones wait. Where a look
// takes a second, many at once would let none of them come to its end.
const readersAtOnce = 4

// look has read look at rows, for as long as a request waits for a database, once others make
// room for it.
func look[T any](c *Console, r *http.Request, read func(ctx context.Context) (T, error)) (value T, err error) {
	waiting, done := c.within(r)
	defer done()
	select {
	case c.readers <- struct{}{}:
	case <-waiting.Done():
		return value, waiting.Err()
	}
	defer func() { <-c.readers }()
	ctx, cancel := c.within(r)
	defer cancel()
	return read(ctx)
}

// within bounds how long a request waits for a database.
func (c *Console) within(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), c.o.Timeout)
}

// failed tells what kept a database from answering. What it says may name hosts and users,
// so that the log has it whole, and the page that there is something.
func (c *Console) failed(w http.ResponseWriter, r *http.Request, d *database, err error) {
	if r.Context().Err() != nil {
		return
	}
	c.o.Logger.WarnContext(r.Context(), "a page cannot be shown", slog.String("database", d.Name), slog.Any("error", err))
	c.refuse(w, r, http.StatusServiceUnavailable, problemOf(err))
}

// problemOf is what a page tells of an error.
func problemOf(err error) string {
	switch {
	case errors.Is(err, errCounting), errors.Is(err, survey.ErrNoTables), errors.Is(err, repair.ErrNothing), errors.Is(err, repair.ErrClosed):
		return err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "The database has not answered in time."
	case errors.Is(err, waybill.ErrSchema):
		return oldTables
	}
	return "The database cannot be read now; the log says why."
}

// oldTables is what a page tells where tables lack what is asked of them.
const oldTables = "The tables in the database are older than this program, and have no place for this: run 'waybill init'."

// now is the time for people: in UTC, to the second.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
