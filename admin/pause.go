package admin

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/repair"
	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/store"
)

// resumeOrder is what an operator asks for: that a destination is not paused any more.
type resumeOrder struct {
	Database    string     `json:"database,omitempty"` // "" stands for the first
	Side        store.Side `json:"side,omitempty"`     // needed where the database has the tables of both
	Destination string     `json:"destination"`
	Topic       bool       `json:"topic,omitempty"`
	Consumer    string     `json:"consumer,omitempty"` // at the consumer's side; "" for all
}

// pauseOrder is what an operator asks for: that a destination is paused, until a time or for a
// length of it, such as 30m; with neither, until it is resumed.
type pauseOrder struct {
	resumeOrder
	Reason string     `json:"reason,omitempty"`
	Until  *time.Time `json:"until,omitempty"`
	For    string     `json:"for,omitempty"`
}

// pauses are those of one database.
type pauses struct {
	Database string         `json:"database"`
	Pauses   []survey.Pause `json:"pauses"`
	sides    survey.Sides
}

var pauseArguments = []argument{databaseArgument, {"destination", ""}}

// Two says whether it has to be said which side is meant.
func (p *pauses) Two() bool { return p.sides.Producer && p.sides.Consumer }

// HasConsumer says whether inboxes can be told to take nothing.
func (p *pauses) HasConsumer() bool { return p.sides.Consumer }

// pauses reads what is paused of a destination; "" stands for all.
func (d *database) pauses(ctx context.Context, destination string) (*pauses, error) {
	sides, err := d.reader.Sides(ctx)
	if err != nil {
		return nil, err
	}
	all, err := d.reader.Pauses(ctx, sides)
	if err != nil {
		return nil, err
	}
	p := &pauses{Database: d.Name, Pauses: []survey.Pause{}, sides: sides}
	for i := range all {
		if destination == "" || all[i].Destination == destination {
			p.Pauses = append(p.Pauses, all[i])
		}
	}
	return p, nil
}

func (c *Console) apiPauses(w http.ResponseWriter, r *http.Request) {
	reads(c, w, r, func(ctx context.Context, d *database) (*pauses, error) {
		return d.pauses(ctx, r.URL.Query().Get("destination"))
	})
}

func (c *Console) apiPause(w http.ResponseWriter, r *http.Request) {
	var o pauseOrder
	if c.readsOrder(w, r, &o) {
		c.changed(w, r, &o.resumeOrder, c.pause(w, r, &o))
	}
}

func (c *Console) apiResume(w http.ResponseWriter, r *http.Request) {
	var o resumeOrder
	if c.readsOrder(w, r, &o) {
		c.changed(w, r, &o, c.resume(w, r, &o))
	}
}

// changed answers with what is paused of a destination now, where that was changed in d.
func (c *Console) changed(w http.ResponseWriter, r *http.Request, o *resumeOrder, d *database) {
	if d == nil {
		return
	}
	now, err := look(c, r, func(ctx context.Context) (*pauses, error) { return d.pauses(ctx, o.Destination) })
	if err != nil {
		c.failed(w, r, d, err)
		return
	}
	answer(w, http.StatusAccepted, now)
}

// about is the pause that an order means, and its database; a nil one was answered.
func (c *Console) about(w http.ResponseWriter, r *http.Request, o *resumeOrder) (*database, *survey.Pause) {
	d := c.asked(w, r, o.Database)
	if d == nil {
		return nil, nil
	}
	sides, err := look(c, r, d.reader.Sides)
	if err != nil {
		c.failed(w, r, d, err)
		return nil, nil
	}
	p := &survey.Pause{Side: o.Side, Destination: o.Destination, Topic: o.Topic, Consumer: o.Consumer, By: userOf(r).Name}
	switch {
	case p.Side != "":
	case p.Consumer != "", !sides.Producer:
		p.Side = store.Consumer
	case !sides.Consumer:
		p.Side = store.Producer
	}
	_, wrong := repair.SideOf(string(p.Side))
	problem := ""
	switch {
	case wrong != nil:
		problem = wrong.Error()
	case p.Side == "":
		problem = "This database has the tables of both sides: say which is meant, producer (relays send nothing) or consumer (inboxes take nothing)."
	case p.Side == store.Producer && !sides.Producer, p.Side == store.Consumer && !sides.Consumer:
		problem = "This database does not have the tables of that side."
	case p.Side == store.Producer && p.Consumer != "":
		problem = "To a relay all consumers of a destination are one: a consumer group is paused at the consumer's side."
	case waybill.CheckDestination(p.Destination) != nil:
		problem = "This is no name that a destination can have."
	case p.Consumer != "" && waybill.CheckConsumer(p.Consumer) != nil:
		problem = "This is no name that a consumer group can have."
	}
	if problem != "" {
		c.refuse(w, r, http.StatusBadRequest, problem)
		return nil, nil
	}
	return d, p
}

// pause pauses a destination, and returns its database; nil was answered.
func (c *Console) pause(w http.ResponseWriter, r *http.Request, o *pauseOrder) *database {
	d, p := c.about(w, r, &o.resumeOrder)
	if d == nil {
		return nil
	}
	length, err := lengthOf(o.For)
	if err != nil || length > 0 && o.Until != nil {
		c.refuse(w, r, http.StatusBadRequest, "A pause ends after a time, such as 90s, 30m or 4h, or at one; not both.")
		return nil
	}
	p.Reason, p.Until = o.Reason, o.Until
	over, err := look(c, r, func(ctx context.Context) (bool, error) {
		if p.Until != nil {
			clock, err := d.reader.Queue().Clock(ctx)
			if err != nil || !time.UnixMicro(clock).Before(*p.Until) {
				return true, err
			}
		}
		return false, d.reader.Pause(ctx, p, length)
	})
	switch {
	case err != nil:
		c.failed(w, r, d, err)
		return nil
	case over:
		c.refuse(w, r, http.StatusBadRequest, "That time is over, by the database's clock.")
		return nil
	}
	until := "it is resumed"
	switch {
	case length > 0:
		until = "after " + length.String()
	case p.Until != nil:
		until = p.Until.UTC().Format(time.RFC3339)
	}
	c.live.lookSoon()
	c.o.Logger.InfoContext(r.Context(), "audit: a destination is paused", append(auditOf(d, p), slog.String("reason", p.Reason), slog.String("until", until))...)
	return d
}

// resume ends the pause of a destination, and returns its database; nil was answered.
func (c *Console) resume(w http.ResponseWriter, r *http.Request, o *resumeOrder) *database {
	d, p := c.about(w, r, o)
	if d == nil {
		return nil
	}
	was, err := look(c, r, func(ctx context.Context) (bool, error) { return d.reader.Resume(ctx, p) })
	switch {
	case err != nil:
		c.failed(w, r, d, err)
		return nil
	case !was:
		c.refuse(w, r, http.StatusConflict, "It is not paused: somebody else may have had it go on, or its time was over.")
		return nil
	}
	c.live.lookSoon()
	c.o.Logger.InfoContext(r.Context(), "audit: a destination is resumed", auditOf(d, p)...)
	return d
}

// auditOf is what the log says of a change to a pause.
func auditOf(d *database, p *survey.Pause) []any {
	return []any{
		slog.String("who", p.By), slog.String("database", d.Name), slog.String("side", string(p.Side)),
		slog.String("destination", p.Destination), slog.Bool("topic", p.Topic), slog.String("consumer", p.Consumer),
	}
}

// lengthOf reads how long something is to last, a second at least; "" stands for no end.
func lengthOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	length, err := time.ParseDuration(text)
	if err != nil || length < time.Second {
		return 0, &badArgumentError{"A pause ends after a time, such as 90s, 30m or 4h, or at one; not both."}
	}
	return length, nil
}

// formPause reads an order from a form.
func formPause(values url.Values) (*pauseOrder, error) {
	o := &pauseOrder{
		resumeOrder: resumeOrder{
			Database: values.Get("db"), Side: store.Side(values.Get("side")), Destination: values.Get("destination"), Topic: values.Get("topic") != "", Consumer: values.Get("consumer"),
		},
		Reason: values.Get("reason"), For: values.Get("for"),
	}
	if text := values.Get("until"); text != "" {
		// A browser's field for a time has no zone, and may have seconds.
		until, err := time.Parse("2006-01-02T15:04", text)
		if err != nil {
			until, err = time.Parse("2006-01-02T15:04:05", text)
		}
		if err != nil {
			return o, &badArgumentError{"A time in UTC is such as 2026-03-01T06:00."}
		}
		o.Until = &until
	}
	return o, nil
}

// pausesData is what the page about pauses shows.
type pausesData struct {
	*pauses
	Names []string // of consumer groups
}

// pausesPage shows what is paused, and has the forms to pause and to resume.
func (c *Console) pausesPage(w http.ResponseWriter, r *http.Request) {
	data, v := about(c, w, r, func(ctx context.Context, d *database) (*pausesData, error) {
		all, err := d.pauses(ctx, "")
		if err != nil {
			return nil, err
		}
		data := &pausesData{pauses: all}
		if all.sides.Consumer {
			data.Names, err = d.reader.ConsumerNames(ctx)
		}
		return data, err
	})
	if data != nil {
		c.show(w, http.StatusOK, "pauses", v, data)
	}
}

func (c *Console) pausePage(w http.ResponseWriter, r *http.Request) {
	o, err := formPause(r.PostForm)
	if err != nil {
		c.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	if d := c.pause(w, r, o); d != nil {
		redirect(w, r, "pauses?"+url.Values{"db": {d.Name}}.Encode())
	}
}

func (c *Console) resumePage(w http.ResponseWriter, r *http.Request) {
	o, err := formPause(r.PostForm)
	if err != nil {
		c.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	if d := c.resume(w, r, &o.resumeOrder); d != nil {
		redirect(w, r, "pauses?"+url.Values{"db": {d.Name}}.Encode())
	}
}

// pausedHere is a pause and its database.
type pausedHere struct {
	survey.Pause
	Database string
}

// pausesTime is how long a page that is about something else waits for what is paused.
const pausesTime = time.Second

// pausedOf are the pauses of destinations that a page shows, for it to tell. What cannot be
// read is left out: the page is about something else.
func (c *Console) pausedOf(r *http.Request, d *database, shows func(destination string, topic bool) bool) []pausedHere {
	ctx, cancel := context.WithTimeout(r.Context(), pausesTime)
	defer cancel()
	all, err := look(c, r.WithContext(ctx), func(ctx context.Context) (*pauses, error) { return d.pauses(ctx, "") })
	if err != nil && r.Context().Err() != nil {
		return nil // nobody waits for the page any more
	}
	if err != nil {
		c.o.Logger.WarnContext(r.Context(), "a page cannot tell what is paused", slog.String("database", d.Name), slog.Any("error", err))
		return nil
	}
	var some []pausedHere
	for i := range all.Pauses {
		if p := &all.Pauses[i]; shows(p.Destination, p.Topic) {
			some = append(some, pausedHere{*p, d.Name})
		}
	}
	return some
}
