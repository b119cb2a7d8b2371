package admin

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/waybill-go/waybill/internal/survey"
)

// bodyShown is the most bytes of a body that a page shows.
const bodyShown = 64 << 10

// depthIndented is how deep JSON may be nested that is indented: each line begins with two
// blanks for each level, so that 64 KiB of brackets would make a gigabyte.
const depthIndented = 50

// depthOf is how deep JSON is nested, or more: brackets in strings count, too.
func depthOf(text string) int {
	depth, most := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '[', '{':
			depth++
			most = max(most, depth)
		case ']', '}':
			depth--
		}
	}
	return most
}

// bodyText is a body as a person reads it.
func bodyText(m *survey.Message) string {
	if m.Body == nil {
		return hex.Dump(m.BodyBase64[:min(len(m.BodyBase64), bodyShown/4)])
	}
	text := *m.Body
	var indented bytes.Buffer
	if len(text) <= bodyShown && json.Valid([]byte(text)) && depthOf(text) <= depthIndented && json.Indent(&indented, []byte(text), "", "  ") == nil {
		text = indented.String()
	}
	if len(text) > bodyShown {
		text = strings.ToValidUTF8(text[:bodyShown], "") + "…"
	}
	return text
}

// laneKey is a destination's key in updates.
func laneKey(d *survey.Destination) string {
	return strconv.Quote(d.Destination) + map[bool]string{true: "t"}[d.Topic]
}

// takenKey is the same of one that inboxes take from.
func takenKey(t *taken) string {
	return "in." + strconv.Quote(t.Destination) + map[bool]string{true: "t"}[t.Topic]
}

func flightText(d *survey.Destination) string {
	if d.InFlight == nil {
		return "–"
	}
	return survey.Count{N: int64(*d.InFlight)}.Text()
}

// latencyText is how long messages took to be confirmed.
func latencyText(d *survey.Destination) string {
	if d.P50 == nil || d.P99 == nil {
		return "–"
	}
	text := func(seconds float64) string {
		if seconds < 10 {
			return strconv.FormatFloat(seconds, 'g', 2, 64) + " s"
		}
		return survey.Span(time.Duration(seconds * float64(time.Second)))
	}
	return text(*d.P50) + " / " + text(*d.P99)
}

// age is how long the oldest message of a destination waits.
func (v *view) age(d *survey.Destination) string {
	switch {
	case d.Oldest == nil:
		return "–"
	case d.OldestAge < 0:
		return v.t("due in %s", survey.Span(time.Duration(d.OldestAge*float64(time.Second))))
	}
	return survey.Span(time.Duration(d.OldestAge * float64(time.Second)))
}

func (v *view) why(d *survey.Destination) string {
	if d.Why == nil {
		return ""
	}
	return v.say(*d.Why)
}

// act is what an operator can do about a destination.
func (v *view) act(d *survey.Destination) string {
	if d.State == survey.Paused {
		return v.t("Resume…")
	}
	return v.t("Pause…")
}

// clock is a time for people.
func (v *view) clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// since is a time that may not be known, and how long ago it was.
func (v *view) since(t *time.Time) string {
	if t == nil {
		return "–"
	}
	if ago := time.Since(*t); ago < 0 {
		return v.clock(*t)
	}
	return v.t("%s (%s ago)", v.clock(*t), survey.Span(time.Since(*t)))
}
