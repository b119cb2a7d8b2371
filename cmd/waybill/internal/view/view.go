// Package view shows messages of an outbox: List a line for each, Open one whole, whose
// Write prints it. Their JSON forms are Summary and Whole.
package view

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
	"github.com/waybill-go/waybill/store"
)

// Summary is what a list tells of a message. Its JSON form is a line of "list --json".
type Summary struct {
	MessageID   waybill.ID `json:"message_id"`
	Destination string     `json:"destination"`
	Topic       bool       `json:"topic"`
	Key         string     `json:"key"`
	Status      string     `json:"status"` // pending or rejected
	Sequence    int64      `json:"sequence"`
	TimeStamp   int64      `json:"time_stamp"`
	Minted      time.Time  `json:"minted"` // the time in the id: when it was sent, or is due
	Copies      int        `json:"copies"` // known to be sent beyond the first
	Failures    int        `json:"failures"`
	NotBefore   *time.Time `json:"not_before,omitempty"`  // of a pending one
	RejectedAt  *time.Time `json:"rejected_at,omitempty"` // not known of what an older program has rejected
	LastError   string     `json:"last_error,omitempty"`
	BodyBytes   int        `json:"body_bytes"`
	// Consumers are those named consumers of the destination that are known to have
	// answered, or that were asked for. Which others the relay waits for, it alone knows.
	Consumers []Consumer `json:"consumers,omitempty"`
}

// Consumer is where a named consumer is with a message.
type Consumer struct {
	Consumer string     `json:"consumer"`
	State    string     `json:"state"` // confirmed, rejected or waiting
	Reason   string     `json:"reason,omitempty"`
	At       *time.Time `json:"at,omitempty"` // when it was written down
}

// States of a Consumer.
const (
	Confirmed = "confirmed"
	Rejected  = "rejected"
	Waiting   = "waiting"
)

// Consumers are those that have answered, in order of name, and then those of waiting
// that have not.
func Consumers(answers []store.Answer, waiting ...string) (all []Consumer) {
	for _, a := range answers {
		at := time.UnixMicro(a.TimeStamp).UTC()
		c := Consumer{Consumer: a.Consumer, State: Confirmed, Reason: a.Reason, At: &at}
		if a.Rejected {
			c.State = Rejected
		}
		all = append(all, c)
	}
	for _, name := range waiting {
		if !slices.ContainsFunc(all, func(c Consumer) bool { return c.Consumer == name }) {
			all = append(all, Consumer{Consumer: name, State: Waiting})
		}
	}
	return all
}

// statesOf is what a list tells of consumers, on one line.
func statesOf(all []Consumer) string {
	texts := make([]string, len(all))
	for i, c := range all {
		texts[i] = c.Consumer + " " + c.State
	}
	return strings.Join(texts, ", ")
}

// Whole is a whole message. Its JSON form is what "show --json" prints.
type Whole struct {
	Summary
	Headers    map[string]string `json:"headers"`
	Body       *string           `json:"body,omitempty"`
	BodyBase64 []byte            `json:"body_base64,omitempty"`
	// RawHeaders are headers that are no JSON object of strings, as a program that
	// inserts rows by itself may write them.
	RawHeaders string `json:"raw_headers,omitempty"`
}

// Summarize is what a list tells of a row and its consumers.
func Summarize(r *store.Row, consumers ...Consumer) Summary {
	s := Summary{
		MessageID: r.MessageID, Destination: r.Destination, Topic: r.Topic, Key: r.Key, Status: StatusName(r.Status),
		Sequence: r.Sequence, TimeStamp: r.TimeStamp, Minted: r.MessageID.Time().UTC(), Copies: r.Retry,
		Failures: r.Failures, LastError: r.LastError, BodyBytes: len(r.Body), Consumers: consumers,
	}
	if r.NotBefore > 0 {
		at := time.UnixMicro(r.NotBefore).UTC()
		if r.Status == store.Rejected {
			s.RejectedAt = &at
		} else {
			s.NotBefore = &at
		}
	}
	return s
}

// StatusName is the name of a row's status.
func StatusName(status int) string {
	switch status {
	case store.Pending:
		return "pending"
	case store.Rejected:
		return "rejected"
	}
	return fmt.Sprintf("status %d", status)
}

// Open is all that a row and its consumers tell.
func Open(r *store.Row, consumers ...Consumer) Whole {
	w := Whole{Summary: Summarize(r, consumers...), Headers: map[string]string{}}
	if r.Headers != "" && json.Unmarshal([]byte(r.Headers), &w.Headers) != nil {
		w.Headers, w.RawHeaders = map[string]string{}, r.Headers
	}
	if utf8.Valid(r.Body) {
		body := string(r.Body)
		w.Body = &body
	} else {
		w.BodyBase64 = r.Body
	}
	return w
}

// List prints messages for a person, under a heading; now is the database's clock. brief, as
// on a terminal, cuts long texts.
func List(w io.Writer, messages []Summary, now time.Time, brief bool) error {
	limit := limitOf(brief)
	named := slices.ContainsFunc(messages, func(s Summary) bool { return len(s.Consumers) > 0 })
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	heading, consumers := "ID\tDESTINATION\tKEY\tSTATUS\tAGE\tSENT AGAIN\tLAST ERROR\n", ""
	if named {
		heading = "ID\tDESTINATION\tKEY\tSTATUS\tAGE\tSENT AGAIN\tCONSUMERS\tLAST ERROR\n"
	}
	fmt.Fprint(t, heading)
	for i := range messages {
		s := &messages[i]
		if named {
			consumers = "\t" + orDash(cut(statesOf(s.Consumers), limit(80)))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d%s\t%s\n", s.MessageID, terminal.Destination(s.Destination, s.Topic), orDash(cut(s.Key, limit(40))), s.Status,
			age(s, now), s.Copies, consumers, orDash(cut(s.LastError, limit(60))))
	}
	return t.Flush()
}

// limitOf is how much of a text is shown: n characters, or all of it.
func limitOf(brief bool) func(n int) int {
	if brief {
		return func(n int) int { return n }
	}
	return func(int) int { return math.MaxInt }
}

// Sent is when a message was sent: its time stamp, unless that is a version of the sender's
// own, which is no time, and then the time in its id.
func (s *Summary) Sent(now time.Time) time.Time {
	if s.TimeStamp >= store.FirstTime && s.TimeStamp <= now.Add(time.Minute).UnixMicro() {
		return time.UnixMicro(s.TimeStamp).UTC()
	}
	return s.Minted
}

// age is how long ago a message was sent, or when its next copy is due.
func age(s *Summary, now time.Time) string {
	if s.NotBefore != nil && s.NotBefore.After(now) {
		return terminal.Age(now.Sub(*s.NotBefore))
	}
	return terminal.Age(now.Sub(s.Sent(now)))
}

// cut is text on one line of at most n characters.
func cut(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	text = terminal.Printable(text)
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// Write prints the whole message for a person; now is the database's clock.
func (m *Whole) Write(w io.Writer, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, terminal.Printable(fmt.Sprintf(format, args...)))
	}
	line("Message", "%s", m.MessageID)
	line("Destination", "%s", terminal.Destination(m.Destination, m.Topic))
	if m.Key != "" {
		line("Key", "%s", m.Key)
		line("Sequence", "%d", m.Sequence)
	}
	line("Status", "%s", m.Status)
	sent := m.Sent(now)
	line("Sent", "%s (%s ago)", sent.Format(time.RFC3339), terminal.Age(now.Sub(sent)))
	line("Time stamp", "%d", m.TimeStamp)
	if m.NotBefore != nil {
		due := "due"
		if m.NotBefore.After(now) {
			due = "due in " + terminal.Span(m.NotBefore.Sub(now))
		}
		line("Not before", "%s (%s)", m.NotBefore.Format(time.RFC3339), due)
	}
	if m.RejectedAt != nil {
		line("Rejected", "%s (%s ago)", m.RejectedAt.Format(time.RFC3339), terminal.Age(now.Sub(*m.RejectedAt)))
	}
	line("Sent again", "%d times", m.Copies)
	if m.Status == StatusName(store.Rejected) {
		line("Failures", "%d before it was rejected", m.Failures)
	} else {
		line("Failures", "%d", m.Failures)
	}
	if m.LastError != "" {
		line("Last error", "%s", strings.ReplaceAll(strings.TrimRight(m.LastError, "\n"), "\n", "\n\t"))
	}
	for _, c := range m.Consumers {
		text := c.State
		if c.At != nil {
			text += " " + c.At.Format(time.RFC3339)
		}
		if c.Reason != "" {
			text += ": " + strings.ReplaceAll(strings.TrimRight(c.Reason, "\n"), "\n", "\n\t")
		}
		line("Consumer", "%s %s", c.Consumer, text)
	}
	if m.RawHeaders != "" {
		line("Headers", "%s", m.RawHeaders)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		line("Header", "%s: %s", name, m.Headers[name])
	}
	line("Body", "%d bytes", m.BodyBytes)
	if err := t.Flush(); err != nil {
		return err
	}
	return m.writeBody(w)
}

func (m *Whole) writeBody(w io.Writer) error {
	var text string
	switch {
	case m.BodyBytes == 0:
		return nil
	case m.Body != nil:
		text = terminal.Printable(*m.Body)
		if !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
	default:
		text = hex.Dump(m.BodyBase64)
	}
	_, err := fmt.Fprintf(w, "\n%s", text)
	return err
}
