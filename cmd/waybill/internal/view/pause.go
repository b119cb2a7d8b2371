package view

import (
	"cmp"
	"fmt"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
	"github.com/waybill-go/waybill/store"
)

// Pause is a destination that is paused, as commands print it.
type Pause struct {
	Side        store.Side `json:"side"`
	Destination string     `json:"destination"`
	Topic       bool       `json:"topic"`
	Consumer    string     `json:"consumer,omitempty"` // at the consumer's side; empty for all
	By          string     `json:"by"`
	Reason      string     `json:"reason,omitempty"`
	Since       time.Time  `json:"since"`
	Until       *time.Time `json:"until"` // null: until it is resumed
}

// Pauses are one side's pauses.
func Pauses(side store.Side, all []store.Pause) []Pause {
	views := make([]Pause, 0, len(all))
	for _, p := range all {
		v := Pause{Side: side, Destination: p.Destination, Topic: p.Topic, Consumer: p.Consumer, By: p.By, Reason: p.Reason, Since: p.Since.UTC()}
		if !p.Until.IsZero() {
			until := p.Until.UTC()
			v.Until = &until
		}
		views = append(views, v)
	}
	return views
}

// What is what does not happen meanwhile.
func (p *Pause) What() string {
	switch {
	case p.Side == store.Producer:
		return "nothing is sent to " + terminal.Destination(p.Destination, p.Topic)
	case p.Consumer != "":
		return fmt.Sprintf("%s takes nothing from %s", p.Consumer, terminal.Destination(p.Destination, p.Topic))
	}
	return "no consumer takes anything from " + terminal.Destination(p.Destination, p.Topic)
}

// Text is the pause as a sentence; now is the database's clock.
func (p *Pause) Text(now time.Time) string {
	until := "until it is resumed"
	if p.Until != nil {
		until = "for " + terminal.Span(p.Until.Sub(now)) + " more"
	}
	since := p.Since.Format("15:04:05 MST")
	if ago := now.Sub(p.Since); ago >= 24*time.Hour {
		since = p.Since.Format("2006-01-02 15:04 MST")
	} else if ago >= time.Second {
		since += " (" + terminal.Span(ago) + ")"
	}
	text := fmt.Sprintf("%s, since %s and %s; paused by %s", p.What(), since, until, cmp.Or(p.By, "somebody"))
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	return text
}
