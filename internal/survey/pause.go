package survey

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/waybill-go/waybill/store"
)

// Pause is a destination that is paused: at the producer's side relays send nothing to it, at
// the consumer's side inboxes take nothing from it.
type Pause struct {
	Side        store.Side `json:"side"`
	Destination string     `json:"destination"`
	Topic       bool       `json:"topic"`
	Consumer    string     `json:"consumer,omitempty"` // at the consumer's side; "" for all
	By          string     `json:"by"`
	Reason      string     `json:"reason,omitempty"`
	Since       time.Time  `json:"since"`
	Until       *time.Time `json:"until"` // null: until it is resumed
}

// Pauses reads what is paused at the sides that are there, the producer's first, in order of
// name.
func (r *Reader) Pauses(ctx context.Context, sides Sides) ([]Pause, error) {
	all := []Pause{}
	for _, s := range []struct {
		there bool
		side  store.Side
		read  func(context.Context) ([]store.Pause, error)
	}{{sides.Producer, store.Producer, r.queue.Pauses}, {sides.Consumer, store.Consumer, r.keeper.Pauses}} {
		if !s.there {
			continue
		}
		some, err := s.read(ctx)
		if err != nil {
			return nil, err
		}
		for _, p := range some {
			one := Pause{s.side, p.Destination, p.Topic, p.Consumer, p.By, p.Reason, p.Since.UTC(), nil}
			if !p.Until.IsZero() {
				until := p.Until.UTC()
				one.Until = &until
			}
			all = append(all, one)
		}
	}
	return all, nil
}

// Pause has relays send nothing to a destination or, where the side is the consumer's, inboxes
// take nothing from it: for length or, where that is 0, until p.Until. It takes the place of
// the pause that there is. It is obeyed within two seconds.
func (r *Reader) Pause(ctx context.Context, p *Pause, length time.Duration) error {
	one := store.Pause{Destination: p.Destination, Topic: p.Topic, Consumer: p.Consumer, By: p.By, Reason: p.Reason}
	if p.Until != nil {
		one.Until = *p.Until
	}
	if p.Side == store.Consumer {
		return r.keeper.Pause(ctx, one, length)
	}
	return r.queue.Pause(ctx, one, length)
}

// Resume ends a pause: that of p's consumer or, where that is "", those of all of them. false
// says that there was none.
func (r *Reader) Resume(ctx context.Context, p *Pause) (bool, error) {
	if p.Side == store.Consumer {
		return r.keeper.Resume(ctx, p.Consumer, p.Destination, p.Topic)
	}
	return r.queue.Resume(ctx, p.Destination, p.Topic)
}

// Text says what does not happen meanwhile, by whom, why and until when.
func (p *Pause) Text() Sentence {
	until := say("until it is resumed")
	if p.Until != nil {
		until = say("until %s", moment(*p.Until))
	}
	var by any = p.By
	if p.By == "" {
		by = say("somebody")
	}
	var text Sentence
	switch {
	case p.Side == store.Producer:
		text = say("Nothing is sent: paused by %s since %s, %s", by, moment(p.Since), until)
	case p.Consumer != "":
		text = say("%s takes nothing: paused by %s since %s, %s", p.Consumer, by, moment(p.Since), until)
	default:
		text = say("No consumer takes anything: paused by %s since %s, %s", by, moment(p.Since), until)
	}
	if p.Reason == "" {
		return say("%s.", text)
	}
	return say("%s: %s", text, p.Reason)
}

// ConsumerNames are the consumer groups that have recorded something.
func (r *Reader) ConsumerNames(ctx context.Context) ([]string, error) {
	return store.Consumers(ctx, r.db, r.dialect, r.prefix)
}

// moment is a time as a person reads it.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// Paused notes what is paused with the destinations that it is about, of which some may not be
// there yet.
func (o *Outbox) Paused(all []Pause) {
	known := make(map[lane]int, len(o.Destinations))
	for i := range o.Destinations {
		known[lane{o.Destinations[i].Destination, o.Destinations[i].Topic}] = i
	}
	for i := range all {
		p := &all[i]
		at, is := known[lane{p.Destination, p.Topic}]
		switch {
		case p.Side == store.Consumer && p.Consumer != "":
			continue // others may go on: the destination is not paused
		case !is && p.Side == store.Consumer:
			continue // what inboxes of this database take need not be what its outbox sends
		case !is:
			at = len(o.Destinations)
			known[lane{p.Destination, p.Topic}] = at
			o.Destinations = append(o.Destinations, Destination{Destination: p.Destination, Topic: p.Topic})
		}
		d := &o.Destinations[at]
		if d.State != Paused {
			text := p.Text()
			d.State, d.Why = Paused, &text
		}
	}
	slices.SortFunc(o.Destinations, worstFirst)
}

// worstFirst is the order in which destinations are listed.
func worstFirst(a, b Destination) int {
	return cmp.Or(cmp.Compare(order[a.State], order[b.State]), cmp.Compare(b.OldestAge, a.OldestAge),
		cmp.Compare(a.Destination, b.Destination), cmp.Compare(number(a.Topic), number(b.Topic)))
}
