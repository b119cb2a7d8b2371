package admin

import (
	"bytes"
	"context"
	"embed"
	"html/template"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/repair"
	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/store"
)

//go:embed pages
var files embed.FS

// pages are the templates, by language and page.
type pages struct {
	templates map[string]map[string]*template.Template
}

// newPages parses the templates, which are part of the program: they are whole.
func newPages() *pages {
	all := &pages{templates: map[string]map[string]*template.Template{}}
	names, err := fs.Glob(files, "pages/*.html")
	if err != nil {
		panic(err)
	}
	for _, l := range languages {
		all.templates[l] = map[string]*template.Template{}
		layout := template.Must(template.New("layout.html").Funcs(functionsOf(l)).ParseFS(files, "pages/layout.html"))
		for _, name := range names {
			if name != "pages/layout.html" {
				page := template.Must(template.Must(layout.Clone()).ParseFS(files, name))
				all.templates[l][strings.TrimSuffix(path.Base(name), ".html")] = page
			}
		}
	}
	return all
}

// functionsOf are what templates call in a language.
func functionsOf(l string) template.FuncMap {
	v := view{Language: l}
	return template.FuncMap{
		"t": v.t, "say": v.say, "clock": v.clock, "since": v.since, "age": v.age, "why": v.why, "act": v.act, "body": bodyText, "lane": laneKey, "flight": flightText, "latency": latencyText,
		"spark": sparkline, "rate": rateText, "flow": v.flowText, "lines": flowLines, "taken": takenKey,
		"flowsMost": func() int { return flowsMost }, "number": func(n int64) string { return survey.Count{N: n}.Text() },
		"count":   func(n int) string { return survey.Count{N: int64(n)}.Text() },
		"percent": func(op *repair.Operation) int { return 100 * (op.Done + op.Skipped + op.Forgotten) / max(op.Total, 1) },
		"ended":   func(s repair.State) bool { return s == repair.Done || s == repair.Stopped || s == repair.Failed },
	}
}

// view is what every page knows.
type view struct {
	Language string
	Page     string // the template's name
	Up       string // leads up to the Console's root; see upTo
	User     User
	Database string // the one that the page is about
	All      []*database
	Token    string // for forms
	LogsIn   bool   // there is a way to log out
	Refresh  int    // seconds after which a page without script loads itself again; 0: never
	Query    url.Values
	Paused   []pausedHere // of what the page shows
	Data     any
}

// view is the part of a page that comes from its request.
func (c *Console) view(w http.ResponseWriter, r *http.Request) *view {
	user := userOf(r)
	return &view{
		Language: languageOf(w, r), Up: upTo(r), User: user, All: c.databases, Token: c.access.formToken(r, user),
		LogsIn: c.access.hasTokens() && user.Role != Nobody, Query: r.URL.Query(),
	}
}

// CanOperate says whether buttons are shown.
func (v *view) CanOperate() bool { return v.User.Role >= Operator }

// InLanguage leads to this page in a language.
func (v *view) InLanguage(l string) template.URL { return asking(v.Query, "lang", l) }

// Again leads to this page.
func (v *view) Again() template.URL { return template.URL("?" + v.Query.Encode()) } //nolint:gosec // it is encoded

// Whole leads to this page with whatever takes longer than a page is to take.
func (v *view) Whole() template.URL { return asking(v.Query, "whole", "1") }

// IsWhole says whether this is it.
func (v *view) IsWhole() bool { return v.Query.Get("whole") != "" }

// asking leads to a page with another argument in its query.
func asking(query url.Values, name, value string) template.URL {
	other := maps.Clone(query)
	if other == nil {
		other = url.Values{}
	}
	other.Set(name, value)
	return template.URL("?" + other.Encode()) //nolint:gosec // it is encoded
}

// Selecting are the arguments that say which rejected messages are meant.
func (*view) Selecting() []string {
	return []string{"side", "group", "destination", "consumer", "text"}
}

// show writes a page.
func (c *Console) show(w http.ResponseWriter, status int, page string, v *view, data any) {
	v.Page, v.Data = page, data
	var b bytes.Buffer
	if err := c.pages.templates[v.Language][page].Execute(&b, v); err != nil {
		c.o.Logger.Error("a page cannot be made", slog.String("page", page), slog.Any("error", err))
		http.Error(w, "the page cannot be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Vary", "Accept-Language, Cookie")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that has gone needs no answer
}

// refuse answers why nothing is shown or done: as a page, or as JSON.
func (c *Console) refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	if strings.HasPrefix(r.URL.Path, "/api/") {
		answer(w, status, apiError{why})
		return
	}
	v := c.view(w, r)
	c.show(w, status, "problem", v, v.t(why))
}

// asset serves the style sheet and the script.
func (c *Console) asset(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.PathValue("file"))
	text, err := files.ReadFile("pages/" + name)
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	kind, ok := types[path.Ext(name)]
	if err != nil || !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "public, max-age=600")
	_, _ = w.Write(text)
}

func (c *Console) loginPage(w http.ResponseWriter, r *http.Request) {
	c.show(w, http.StatusOK, "login", c.view(w, r), "")
}

func (c *Console) logIn(w http.ResponseWriter, r *http.Request) {
	user := c.access.byToken(r.PostFormValue("token"))
	if user.Role == Nobody {
		c.access.wrong(r)
		c.show(w, http.StatusForbidden, "login", c.view(w, r), "This is not a token of this page.")
		return
	}
	c.access.logIn(w, r, user)
	redirect(w, r, "")
}

func (c *Console) logOut(w http.ResponseWriter, r *http.Request) {
	c.access.logOut(w, r)
	redirect(w, r, "login")
}

// destinationsShown is how many destinations of a database are listed, the worst first.
const destinationsShown = 100

// shown are the destinations that are listed: those whose names have in them what is asked for.
func (v *view) shown(o *survey.Outbox) []*survey.Destination {
	var some []*survey.Destination
	for i := range o.Destinations {
		d := &o.Destinations[i]
		if len(some) < destinationsShown && strings.Contains(strings.ToLower(d.Destination), strings.ToLower(v.Query.Get("q"))) {
			some = append(some, d)
		}
	}
	return some
}

// Shown is shown, for templates.
func (v *view) Shown(o *survey.Outbox) []*survey.Destination { return v.shown(o) }

type overviewData struct {
	*overview
	Shape string
}

func (c *Console) overviewPage(w http.ResponseWriter, r *http.Request) {
	v := c.view(w, r)
	v.Refresh = 15
	ctx, cancel := context.WithTimeout(r.Context(), c.firstTime)
	defer cancel()
	state, _, err := c.live.look(ctx)
	switch {
	case err != nil && ctx.Err() == nil: // it is closed
		c.refuse(w, r, http.StatusServiceUnavailable, problemOf(err))
		return
	case err != nil:
		state, v.Refresh = c.live.counting(), 1
	}
	c.show(w, http.StatusOK, "overview", v, overviewData{state, shapeOf(state)})
}

func (c *Console) rejectedPage(w http.ResponseWriter, r *http.Request) {
	v := c.view(w, r)
	selection, err := selectionOf(r.URL.Query())
	if err != nil {
		c.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	var meant []*database
	for _, d := range c.databases {
		if name := r.FormValue("db"); name == "" || name == d.Name {
			meant = append(meant, d)
		}
	}
	within := c.firstTime / time.Duration(2*max(len(meant), 1)) // for each side of each
	if v.IsWhole() {
		within = 0
	}
	var all []allGroups
	for _, d := range meant {
		groups, err := look(c, r, func(ctx context.Context) (*survey.Groups, error) { return d.reader.Groups(ctx, &selection, within) })
		if err != nil {
			c.failed(w, r, d, err)
			return
		}
		all = append(all, allGroups{d.Name, groups})
		v.Paused = append(v.Paused, c.pausedOf(r, d, func(destination string, topic bool) bool {
			return slices.ContainsFunc(groups.Groups, func(g survey.Group) bool { return g.Destination == destination && g.Topic == topic })
		})...)
	}
	v.Database = r.FormValue("db")
	c.show(w, http.StatusOK, "rejected", v, all)
}

type messagesData struct {
	Found *survey.Found
	Next  template.URL // leads to what comes next; "" at the end
}

// about finds the database that a page is about, and reads what it shows; nil was answered.
func about[T any](c *Console, w http.ResponseWriter, r *http.Request, read func(ctx context.Context, d *database) (*T, error)) (*T, *view) {
	value, d := found(c, w, r, read)
	if value == nil {
		return nil, nil
	}
	v := c.view(w, r)
	v.Database = d.Name
	return value, v
}

func (c *Console) messagesPage(w http.ResponseWriter, r *http.Request) {
	found, v := about(c, w, r, func(ctx context.Context, d *database) (*survey.Found, error) {
		filter, err := filterOf(r.URL.Query())
		if err != nil {
			return nil, err
		}
		return d.reader.Search(ctx, filter)
	})
	if found == nil {
		return
	}
	v.Paused = c.pausedOf(r, c.find(v.Database), func(destination string, topic bool) bool {
		return slices.ContainsFunc(found.Messages, func(m survey.Summary) bool { return m.Destination == destination && m.Topic == topic })
	})
	data := messagesData{Found: found}
	if found.Next != "" {
		data.Next = asking(r.URL.Query(), "from", found.Next)
	}
	c.show(w, http.StatusOK, "messages", v, data)
}

func (c *Console) messagePage(w http.ResponseWriter, r *http.Request) {
	all, v := about(c, w, r, func(ctx context.Context, d *database) (*[]survey.Message, error) {
		id, err := idOf(r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		return d.messages(ctx, id, sideOf(r.URL.Query()))
	})
	if all == nil {
		return
	}
	for i := range *all {
		c.dress(&(*all)[i])
	}
	first := &(*all)[0]
	v.Paused = c.pausedOf(r, c.find(v.Database), func(destination string, topic bool) bool {
		return first.Destination == destination && first.Topic == topic
	})
	c.show(w, http.StatusOK, "message", v, *all)
}

// messages reads a message of the outbox, or what consumers keep of it; nil where there is
// none.
func (d *database) messages(ctx context.Context, id waybill.ID, side store.Side) (*[]survey.Message, error) {
	var all []survey.Message
	var err error
	if side == store.Consumer {
		all, err = d.reader.Kept(ctx, id)
	} else {
		var m *survey.Message
		if m, err = d.reader.Message(ctx, id); m != nil {
			all = append(all, *m)
		}
	}
	if len(all) == 0 {
		return nil, err
	}
	return &all, err
}

type consumersData struct {
	*survey.Consumers
	Inboxes []inboxData
}

// inboxData is what an inbox of this process knows.
type inboxData struct {
	Connected                                         bool
	Handled, Duplicates, Superseded, Failed, Rejected int64
	Receipts, Pruned                                  int64
	Stuck                                             int
}

func (c *Console) consumersPage(w http.ResponseWriter, r *http.Request) {
	var here *database
	all, v := about(c, w, r, func(ctx context.Context, d *database) (*survey.Consumers, error) {
		here = d
		sides, err := d.reader.Sides(ctx)
		if err != nil || !sides.Consumer {
			return &survey.Consumers{}, err
		}
		return d.reader.Consumers(ctx)
	})
	if all == nil {
		return
	}
	v.Paused = c.pausedOf(r, here, func(string, bool) bool { return true })
	data := consumersData{Consumers: all}
	for _, in := range here.Inboxes {
		s := in.Stats()
		data.Inboxes = append(data.Inboxes, inboxData{
			s.Connected, s.Handled, s.Duplicates, s.Superseded, s.Retried, s.Rejected, s.Receipts, s.Pruned, s.Stuck,
		})
	}
	c.show(w, http.StatusOK, "consumers", v, data)
}

// countPage waits for as long as its reader does.
func (c *Console) countPage(w http.ResponseWriter, r *http.Request) {
	d := c.asked(w, r, r.FormValue("db"))
	if d == nil {
		return
	}
	counted, err := d.countAll(r.Context())
	if err != nil {
		c.failed(w, r, d, err)
		return
	}
	v := c.view(w, r)
	v.Database = d.Name
	c.show(w, http.StatusOK, "count", v, counted)
}

func (c *Console) operationsPage(w http.ResponseWriter, r *http.Request) {
	c.show(w, http.StatusOK, "operations", c.view(w, r), c.desk.Operations())
}

func (c *Console) operationPage(w http.ResponseWriter, r *http.Request) {
	op, ok := c.desk.Operation(r.PathValue("id"))
	if !ok {
		c.refuse(w, r, http.StatusNotFound, "There is no such order here.")
		return
	}
	v := c.view(w, r)
	if op.Ended == nil {
		v.Refresh = 2
	}
	c.show(w, http.StatusOK, "operation", v, &op)
}

// confirmData is what is asked before anything is changed.
type confirmData struct {
	Order    *order
	Messages int
	Stopped  bool
	Groups   []survey.Group
	Grown    bool // there are more than the person was shown
}

// formOrder reads an order from a form.
func formOrder(r *http.Request) (*order, error) {
	if err := r.ParseForm(); err != nil {
		return nil, &badArgumentError{"The form cannot be read."}
	}
	selection, err := selectionOf(r.PostForm)
	if r.PostForm.Has("selected") && len(selection.MessageIDs) == 0 && err == nil {
		err = &badArgumentError{"No message is selected."}
	}
	return &order{Database: r.PostForm.Get("db"), Action: repair.Action(r.PostForm.Get("action")), Selection: selection}, err
}

func (c *Console) confirmPage(w http.ResponseWriter, r *http.Request) {
	o, err := formOrder(r)
	if err != nil {
		c.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	if v, data := c.meant(w, r, o); v != nil {
		c.show(w, http.StatusOK, "confirm", v, data)
	}
}

// meant reads what an order means now; a nil view says that it was answered.
func (c *Console) meant(w http.ResponseWriter, r *http.Request, o *order) (*view, *confirmData) {
	groups, v := about(c, w, r, func(ctx context.Context, d *database) (*survey.Groups, error) {
		return d.reader.Groups(ctx, &o.Selection, 0)
	})
	if groups == nil {
		return nil, nil
	}
	o.Database = v.Database
	data := &confirmData{Order: o, Stopped: groups.Stopped, Groups: groups.Groups}
	for i := range groups.Groups {
		data.Messages += groups.Groups[i].Messages
	}
	if data.Messages == 0 {
		c.refuse(w, r, http.StatusConflict, repair.ErrNothing.Error())
		return nil, nil
	}
	v.Paused = c.pausedOf(r, c.find(v.Database), func(destination string, topic bool) bool {
		return slices.ContainsFunc(groups.Groups, func(g survey.Group) bool { return g.Destination == destination && g.Topic == topic })
	})
	return v, data
}

// orderPage begins what the page before has asked about, unless more messages are meant by now
// than that has told of: then it asks again.
func (c *Console) orderPage(w http.ResponseWriter, r *http.Request) {
	o, err := formOrder(r)
	if err != nil {
		c.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	if shown, err := strconv.Atoi(r.PostForm.Get("shown")); err == nil {
		v, data := c.meant(w, r, o)
		if v == nil {
			return
		}
		if data.Grown = data.Messages > shown; data.Grown {
			c.show(w, http.StatusConflict, "confirm", v, data)
			return
		}
	}
	if op, ok := c.begin(w, r, o); ok {
		redirect(w, r, "operations/"+op.ID)
	}
}

func (c *Console) steerPage(w http.ResponseWriter, r *http.Request) {
	if c.steered(w, r, r.PathValue("what")) {
		redirect(w, r, "operations/"+r.PathValue("id"))
	}
}
