package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/figure"
	"github.com/waybill-go/waybill/internal/repair"
	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/store"
)

// order is what an operator asks for: that the rejected messages of a database that Selection
// means are sent again, or discarded.
type order struct {
	Database  string           `json:"database,omitempty"` // "" stands for the first
	Action    repair.Action    `json:"action"`             // resend or discard
	Selection survey.Selection `json:"selection"`          // an empty one means all
}

// apiError is what the API answers where it does nothing.
type apiError struct {
	Error string `json:"error"`
}

// allGroups are the groups of one database.
type allGroups struct {
	Database string `json:"database"`
	*survey.Groups
}

// exactCount is a count of all rows.
type exactCount struct {
	CountedAt time.Time  `json:"counted_at"`
	Rows      []rowStats `json:"rows"`
}

// operations are all that the Console knows of.
type operations struct {
	Operations []repair.Operation `json:"operations"`
}

var (
	databaseArgument = argument{"db", "name of the database; the first where it is left out"}
	selectArguments  = []argument{
		databaseArgument, {"side", "producer or consumer; both where it is left out"}, {"group", "id of a group"},
		{"destination", ""}, {"consumer", "a consumer that has rejected the message"}, {"text", "a part of the reason"},
	}
	searchArguments = []argument{
		databaseArgument, {"id", "a message id"}, {"key", ""}, {"destination", ""}, {"status", "pending or rejected"},
		{"older", "least age, such as 90s, 15m or 4h"}, {"younger", "greatest age"}, {"text", "a part of the error"},
		{"order", "newest (the default) or oldest first; rejected messages come oldest first, on MySQL by their last try"}, {"from", "next of the answer to go on from"}, {"limit", "most messages, at most 100"},
	}
)

func (c *Console) apiRoutes() []route {
	return []route{
		{method: "GET", pattern: "/api/v1/openapi.json", need: ReadOnly, handle: c.openAPI, about: "This description"},
		{method: "GET", pattern: "/api/v1/overview", need: ReadOnly, handle: c.apiOverview, about: "What waits, since when and why, by destination", out: overview{}},
		{method: "GET", pattern: "/api/v1/count", need: ReadOnly, handle: c.apiCount, about: "All rows of an outbox, counted now: it reads the whole table", query: []argument{databaseArgument}, out: exactCount{}},
		{method: "GET", pattern: "/api/v1/rejected", need: ReadOnly, handle: c.apiRejected, about: "Rejected messages, in groups", query: selectArguments, out: allGroups{}},
		{method: "GET", pattern: "/api/v1/messages", need: ReadOnly, handle: c.apiSearch, about: "Search the outbox", query: searchArguments, out: survey.Found{}},
		{method: "GET", pattern: "/api/v1/messages/{id}", need: ReadOnly, handle: c.apiMessage, about: "One message of the outbox whole", query: []argument{databaseArgument}, out: survey.Message{}},
		{method: "GET", pattern: "/api/v1/consumers", need: ReadOnly, handle: c.apiConsumers, about: "Consumer groups, and what they keep", query: []argument{databaseArgument}, out: survey.Consumers{}},
		{method: "GET", pattern: "/api/v1/kept/{id}", need: ReadOnly, handle: c.apiKept, about: "What consumers keep of one message", query: []argument{databaseArgument}, out: []survey.Message{}},
		{method: "GET", pattern: "/api/v1/pauses", need: ReadOnly, handle: c.apiPauses, about: "Destinations that are paused, who has paused them, why and until when", query: pauseArguments, out: pauses{}},
		{method: "POST", pattern: "/api/v1/pauses", need: Operator, handle: c.apiPause, about: "Pause a destination: relays send nothing to it, or inboxes take nothing from it, within two seconds", in: pauseOrder{}, out: pauses{}},
		{method: "POST", pattern: "/api/v1/pauses/resume", need: Operator, handle: c.apiResume, about: "End the pause of a destination, within two seconds", in: resumeOrder{}, out: pauses{}},
		{method: "GET", pattern: "/api/v1/operations", need: ReadOnly, handle: c.apiOperations, about: "What was ordered, the newest first", out: operations{}},
		{method: "GET", pattern: "/api/v1/operations/{id}", need: ReadOnly, handle: c.apiOperation, about: "One order and how far it is", out: repair.Operation{}},
		{method: "POST", pattern: "/api/v1/operations", need: Operator, handle: c.apiOrder, about: "Order that rejected messages are sent again in stages, or discarded", in: order{}, out: repair.Operation{}},
		{method: "POST", pattern: "/api/v1/operations/{id}/continue", need: Operator, handle: c.apiContinue, about: "Have a paused order go on", out: repair.Operation{}},
		{method: "POST", pattern: "/api/v1/operations/{id}/stop", need: Operator, handle: c.apiStop, about: "Stop an order; what was done stays done", out: repair.Operation{}},
	}
}

// answer answers with JSON.
func answer(w http.ResponseWriter, status int, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a client that has gone needs no answer
}

// asked finds the database that a request names, or answers that there is none.
func (c *Console) asked(w http.ResponseWriter, r *http.Request, name string) *database {
	d := c.find(name)
	if d == nil {
		c.refuse(w, r, http.StatusNotFound, "There is no database of this name here.")
	}
	return d
}

// found is what read returns of the database that the request names; nil was answered, by 404
// where read has returned it.
func found[T any](c *Console, w http.ResponseWriter, r *http.Request, read func(ctx context.Context, d *database) (*T, error)) (*T, *database) {
	d := c.asked(w, r, r.FormValue("db"))
	if d == nil {
		return nil, nil
	}
	value, err := look(c, r, func(ctx context.Context) (*T, error) { return read(ctx, d) })
	var bad *badArgumentError
	var place *survey.BadPlaceError
	switch {
	case errors.As(err, &bad):
		c.refuse(w, r, http.StatusBadRequest, bad.Error())
	case errors.As(err, &place):
		c.refuse(w, r, http.StatusBadRequest, place.Error())
	case err != nil:
		c.failed(w, r, d, err)
	case value == nil:
		c.refuse(w, r, http.StatusNotFound, notThere)
	default:
		return value, d
	}
	return nil, nil
}

// reads answers with what is found.
func reads[T any](c *Console, w http.ResponseWriter, r *http.Request, read func(ctx context.Context, d *database) (*T, error)) {
	if value, _ := found(c, w, r, read); value != nil {
		answer(w, http.StatusOK, value)
	}
}

const notThere = "There is no such message here: it was confirmed, handled or discarded, or never was here."

func (c *Console) apiOverview(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := c.within(r)
	defer cancel()
	state, _, err := c.live.look(ctx)
	if err != nil {
		c.refuse(w, r, http.StatusServiceUnavailable, problemOf(err))
		return
	}
	answer(w, http.StatusOK, state)
}

// apiCount waits for as long as the reader does.
func (c *Console) apiCount(w http.ResponseWriter, r *http.Request) {
	d := c.asked(w, r, r.FormValue("db"))
	if d == nil {
		return
	}
	counted, err := d.countAll(r.Context())
	if err != nil {
		c.failed(w, r, d, err)
		return
	}
	answer(w, http.StatusOK, counted)
}

var errCounting = errors.New("All rows are being counted already. Ask again later.") //nolint:revive // a sentence of the page

// countAll counts all rows of the outbox, which takes as long as it takes: once at a time, since
// each reads the whole table.
func (d *database) countAll(ctx context.Context) (*exactCount, error) {
	if !d.counting.TryLock() {
		return nil, errCounting
	}
	defer d.counting.Unlock()
	counted := &exactCount{now(), []rowStats{}}
	counts, err := d.reader.Queue().Count(ctx)
	for _, x := range counts {
		counted.Rows = append(counted.Rows, rowStats{x.Destination, x.Topic, figure.StatusName(x.Status), x.Rows, counted.CountedAt.Sub(x.Oldest.Time()).Seconds()})
	}
	return counted, err
}

func (c *Console) apiRejected(w http.ResponseWriter, r *http.Request) {
	reads(c, w, r, func(ctx context.Context, d *database) (*allGroups, error) {
		selection, err := selectionOf(r.URL.Query())
		if err != nil {
			return nil, err
		}
		groups, err := d.reader.Groups(ctx, &selection, 0)
		return &allGroups{d.Name, groups}, err
	})
}

func (c *Console) apiSearch(w http.ResponseWriter, r *http.Request) {
	reads(c, w, r, func(ctx context.Context, d *database) (*survey.Found, error) {
		filter, err := filterOf(r.URL.Query())
		if err != nil {
			return nil, err
		}
		return d.reader.Search(ctx, filter)
	})
}

func (c *Console) apiMessage(w http.ResponseWriter, r *http.Request) {
	reads(c, w, r, func(ctx context.Context, d *database) (*survey.Message, error) {
		id, err := idOf(r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		m, err := d.reader.Message(ctx, id)
		if m != nil {
			c.dress(m)
		}
		return m, err
	})
}

func (c *Console) apiKept(w http.ResponseWriter, r *http.Request) {
	reads(c, w, r, func(ctx context.Context, d *database) (*[]survey.Message, error) {
		id, err := idOf(r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		all, err := d.reader.Kept(ctx, id)
		for i := range all {
			c.dress(&all[i])
		}
		if len(all) == 0 {
			return nil, err
		}
		return &all, err
	})
}

// dress shows a message's body as the options say.
func (c *Console) dress(m *survey.Message) {
	switch {
	case c.o.HideBodies:
		m.HideBody()
	case c.o.FormatBody != nil:
		b := Body{Destination: m.Destination, Topic: m.Topic, Headers: map[string]string{}, Bytes: m.BodyBase64}
		if m.Body != nil {
			b.Bytes = []byte(*m.Body)
		}
		for _, h := range m.Headers {
			b.Headers[h.Name] = h.Value
		}
		text := c.o.FormatBody(b)
		m.Body, m.BodyBase64 = &text, nil
	}
}

func (c *Console) apiConsumers(w http.ResponseWriter, r *http.Request) {
	reads(c, w, r, func(ctx context.Context, d *database) (*survey.Consumers, error) { return d.reader.Consumers(ctx) })
}

func (c *Console) apiOperations(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, operations{c.desk.Operations()})
}

func (c *Console) apiOperation(w http.ResponseWriter, r *http.Request) {
	op, ok := c.desk.Operation(r.PathValue("id"))
	if !ok {
		c.refuse(w, r, http.StatusNotFound, "There is no such order here.")
		return
	}
	answer(w, http.StatusOK, op)
}

func (c *Console) apiOrder(w http.ResponseWriter, r *http.Request) {
	var o order
	if !c.readsOrder(w, r, &o) {
		return
	}
	if ids := o.Selection.MessageIDs; ids != nil && len(ids) == 0 {
		// A program that has found none does not mean all.
		c.refuse(w, r, http.StatusBadRequest, "No message is selected.")
		return
	}
	if op, ok := c.begin(w, r, &o); ok {
		answer(w, http.StatusAccepted, op)
	}
}

// readsOrder reads what is ordered as JSON, or answers why it cannot be read.
func (c *Console) readsOrder(w http.ResponseWriter, r *http.Request, o any) bool {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(o); err != nil {
		c.refuse(w, r, http.StatusBadRequest, "The order cannot be read: "+err.Error())
		return false
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		c.refuse(w, r, http.StatusBadRequest, "The order cannot be read: there is more than one.")
		return false
	}
	return true
}

// begin begins what was ordered, or answers why not.
func (c *Console) begin(w http.ResponseWriter, r *http.Request, o *order) (repair.Operation, bool) {
	d := c.asked(w, r, o.Database)
	if d == nil {
		return repair.Operation{}, false
	}
	if o.Action != repair.Resend && o.Action != repair.Discard {
		c.refuse(w, r, http.StatusBadRequest, "The action is resend or discard.")
		return repair.Operation{}, false
	}
	if _, err := repair.SideOf(string(o.Selection.Side)); err != nil {
		c.refuse(w, r, http.StatusBadRequest, err.Error())
		return repair.Operation{}, false
	}
	op, err := c.desk.Start(r.Context(), d.Name, d.reader, o.Action, o.Selection, userOf(r).Name)
	switch {
	case errors.Is(err, repair.ErrNothing):
		c.refuse(w, r, http.StatusConflict, err.Error())
		return op, false
	case errors.Is(err, repair.ErrTooMany), errors.Is(err, repair.ErrTooManyOfOne):
		c.refuse(w, r, http.StatusTooManyRequests, err.Error())
		return op, false
	case err != nil:
		c.failed(w, r, d, err)
		return op, false
	}
	return op, true
}

func (c *Console) apiContinue(w http.ResponseWriter, r *http.Request) { c.steer(w, r, "continue") }
func (c *Console) apiStop(w http.ResponseWriter, r *http.Request)     { c.steer(w, r, "stop") }

func (c *Console) steer(w http.ResponseWriter, r *http.Request, what string) {
	if !c.steered(w, r, what) {
		return
	}
	op, _ := c.desk.Operation(r.PathValue("id"))
	answer(w, http.StatusOK, op)
}

// steered has an order go on or stop, or answers why not.
func (c *Console) steered(w http.ResponseWriter, r *http.Request, what string) bool {
	id, who := r.PathValue("id"), userOf(r).Name
	if _, ok := c.desk.Operation(id); !ok {
		c.refuse(w, r, http.StatusNotFound, "There is no such order here.")
		return false
	}
	switch {
	case what == "continue" && !c.desk.Continue(r.Context(), id, who):
		c.refuse(w, r, http.StatusConflict, "It does not wait for anybody: somebody else may have had it go on.")
		return false
	case what == "stop" && !c.desk.Stop(r.Context(), id, who):
		c.refuse(w, r, http.StatusConflict, "It has ended already.")
		return false
	case what != "continue" && what != "stop":
		c.refuse(w, r, http.StatusNotFound, "An order can be continued or stopped.")
		return false
	}
	return true
}

// badArgumentError is what is wrong with a request.
type badArgumentError struct{ text string }

func (e *badArgumentError) Error() string { return e.text }

func idOf(text string) (waybill.ID, error) {
	id, err := waybill.ParseID(text)
	if err != nil {
		return id, &badArgumentError{"This is no message id, such as 01890a5d-ac96-774b-bcce-b302099a8057."}
	}
	return id, nil
}

// selectionOf reads which rejected messages are meant.
func selectionOf(values url.Values) (survey.Selection, error) {
	side, err := repair.SideOf(values.Get("side"))
	if err != nil {
		return survey.Selection{}, &badArgumentError{err.Error()}
	}
	s := survey.Selection{
		Side: side, Group: values.Get("group"), Destination: values.Get("destination"), Consumer: values.Get("consumer"), Text: values.Get("text"),
	}
	for _, text := range values["id"] {
		id, err := idOf(text)
		if err != nil {
			return s, err
		}
		s.MessageIDs = append(s.MessageIDs, id)
	}
	return s, nil
}

// filterOf reads what is searched for.
func filterOf(values url.Values) (survey.Filter, error) {
	f := survey.Filter{
		Key: values.Get("key"), Destination: values.Get("destination"), Status: values.Get("status"), Text: values.Get("text"),
		Oldest: values.Get("order") == "oldest", From: values.Get("from"),
	}
	var err error
	if text := values.Get("id"); text != "" {
		if f.ID, err = idOf(text); err != nil {
			return f, err
		}
	}
	if f.Status != "" && f.Status != "pending" && f.Status != "rejected" {
		return f, &badArgumentError{"The status is pending or rejected."}
	}
	for name, into := range map[string]*time.Duration{"older": &f.Older, "younger": &f.Younger} {
		if text := values.Get(name); text != "" {
			if *into, err = time.ParseDuration(text); err != nil || *into < 0 {
				return f, &badArgumentError{"An age is a number with a unit, such as 90s, 15m or 4h."}
			}
		}
	}
	if text := values.Get("limit"); text != "" {
		if f.Limit, err = strconv.Atoi(text); err != nil || f.Limit <= 0 {
			return f, &badArgumentError{"The limit is a number from 1 to 100."}
		}
	}
	return f, nil
}

// sideOf is the side that a page is about.
func sideOf(values url.Values) store.Side {
	if values.Get("side") == string(store.Consumer) {
		return store.Consumer
	}
	return store.Producer
}
