package view

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
	"github.com/waybill-go/waybill/store"
)

// Kept is what a list tells of a message that a consumer keeps. Its JSON form is a line of
// "list --side consumer --json".
type Kept struct {
	MessageID   waybill.ID `json:"message_id"`
	Consumer    string     `json:"consumer"`
	Destination string     `json:"destination"`
	Topic       bool       `json:"topic"`
	Key         string     `json:"key"`
	Status      string     `json:"status"` // rejected, or pending: it is to be handled again
	Tries       int        `json:"tries"`  // how often it came to be kept
	Failures    int        `json:"failures"`
	KeptAt      time.Time  `json:"kept_at"`
	TriedAt     time.Time  `json:"tried_at"`
	NotBefore   *time.Time `json:"not_before,omitempty"` // of a pending one
	Reason      string     `json:"reason"`
	Delivery    string     `json:"delivery"` // the broker's identity of it
	BodyBytes   int        `json:"body_bytes"`
}

// WholeKept is a whole message that a consumer keeps. Its JSON form is what "show --side
// consumer --json" prints.
type WholeKept struct {
	Kept
	// Headers are in the order in which they came. A name may be there more than once.
	Headers    []KeptHeader `json:"headers"`
	Body       *string      `json:"body,omitempty"`
	BodyBase64 []byte       `json:"body_base64,omitempty"`
	// RawHeaders are headers that cannot be read.
	RawHeaders string `json:"raw_headers,omitempty"`
}

// KeptHeader is one header of a message.
type KeptHeader struct {
	Name        string `json:"name"`
	Value       string `json:"value"`
	ValueBase64 []byte `json:"value_base64,omitempty"` // in its place, where it is no UTF-8
}

// SummarizeKept is what a list tells of a row.
func SummarizeKept(k *store.Kept) Kept {
	s := Kept{
		MessageID: k.MessageID, Consumer: k.Consumer, Destination: k.Destination, Topic: k.Topic, Key: k.Key, Status: StatusName(k.Status),
		Tries: k.Tries, Failures: k.Failures, KeptAt: time.UnixMicro(k.KeptAt).UTC(), TriedAt: time.UnixMicro(k.TriedAt).UTC(),
		Reason: k.Reason, Delivery: k.Delivery, BodyBytes: len(k.Body),
	}
	if k.Status == store.Pending && k.NotBefore > 0 {
		at := time.UnixMicro(k.NotBefore).UTC()
		s.NotBefore = &at
	}
	return s
}

// OpenKept is all that a row tells.
func OpenKept(k *store.Kept) WholeKept {
	w := WholeKept{Kept: SummarizeKept(k), Headers: []KeptHeader{}}
	headers, err := store.DecodeHeaders(k.Headers)
	if err != nil {
		w.RawHeaders = k.Headers
	}
	for _, h := range headers {
		w.Headers = append(w.Headers, keptHeader(h))
	}
	if utf8.Valid(k.Body) {
		body := string(k.Body)
		w.Body = &body
	} else {
		w.BodyBase64 = k.Body
	}
	return w
}

func keptHeader(h store.KeptHeader) KeptHeader {
	if utf8.ValidString(h.Value) {
		return KeptHeader{Name: h.Name, Value: h.Value}
	}
	return KeptHeader{Name: h.Name, ValueBase64: []byte(h.Value)}
}

// ListKept prints messages for a person, as List does.
func ListKept(w io.Writer, messages []Kept, now time.Time, brief bool) error {
	limit := limitOf(brief)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "ID\tCONSUMER\tDESTINATION\tKEY\tSTATUS\tKEPT\tTRIES\tREASON\n")
	for i := range messages {
		m := &messages[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", m.MessageID, cut(m.Consumer, limit(40)), terminal.Destination(m.Destination, m.Topic),
			orDash(cut(m.Key, limit(40))), m.Status, terminal.Age(now.Sub(m.KeptAt)), m.Tries, orDash(cut(m.Reason, limit(60))))
	}
	return t.Flush()
}

// Write prints the whole message for a person; now is the database's clock.
func (m *WholeKept) Write(w io.Writer, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, terminal.Printable(fmt.Sprintf(format, args...)))
	}
	line("Message", "%s", m.MessageID)
	line("Consumer", "%s", m.Consumer)
	line("Destination", "%s", terminal.Destination(m.Destination, m.Topic))
	if m.Key != "" {
		line("Key", "%s", m.Key)
	}
	line("Status", "%s", m.Status)
	line("Reason", "%s", strings.ReplaceAll(strings.TrimRight(m.Reason, "\n"), "\n", "\n\t"))
	line("Kept", "%s (%s)", m.KeptAt.Format(time.RFC3339), terminal.Age(now.Sub(m.KeptAt)))
	line("Last try", "%s (%s)", m.TriedAt.Format(time.RFC3339), terminal.Age(now.Sub(m.TriedAt)))
	if m.NotBefore != nil {
		line("Not before", "%s", m.NotBefore.Format(time.RFC3339))
	}
	line("Tries", "%d", m.Tries)
	line("Failures", "%d", m.Failures)
	line("Delivery", "%s", m.Delivery)
	if m.RawHeaders != "" {
		line("Headers", "%s", m.RawHeaders)
	}
	for _, h := range m.Headers {
		if h.ValueBase64 != nil {
			line("Header", "%s: %x (no UTF-8)", h.Name, h.ValueBase64)
			continue
		}
		line("Header", "%s: %s", h.Name, h.Value)
	}
	line("Body", "%d bytes", m.BodyBytes)
	if err := t.Flush(); err != nil {
		return err
	}
	whole := Whole{Summary: Summary{BodyBytes: m.BodyBytes}, Body: m.Body, BodyBase64: m.BodyBase64}
	return whole.writeBody(w)
}
