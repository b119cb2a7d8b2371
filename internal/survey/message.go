package survey

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// Message is one message whole.
type Message struct {
	Summary
	Side      store.Side `json:"side"` // producer: of the outbox; consumer: one that a consumer keeps
	TimeStamp int64      `json:"time_stamp,omitempty"`
	Headers   []Header   `json:"headers"`
	// RawHeaders are headers that cannot be read.
	RawHeaders string  `json:"raw_headers,omitempty"`
	Body       *string `json:"body,omitempty"`        // where it is UTF-8
	BodyBase64 []byte  `json:"body_base64,omitempty"` // in its place, where it is not
	BodyBytes  int     `json:"body_bytes"`
	BodyHidden bool    `json:"body_hidden,omitempty"` // there is one, and it is not shown
	// Timeline is what is known of the message's way, in order of time.
	Timeline []Event `json:"timeline"`
	Consumer string  `json:"consumer,omitempty"` // of a kept message
	Row      int64   `json:"row"`
}

// Header is one header of a message.
type Header struct {
	Name        string `json:"name"`
	Value       string `json:"value"`
	ValueBase64 []byte `json:"value_base64,omitempty"` // in its place, where it is no UTF-8
}

// Event is something that has happened to a message.
type Event struct {
	At   *time.Time `json:"at,omitempty"` // null where the time is not known
	Text Sentence   `json:"text"`
	Bad  bool       `json:"bad,omitempty"`
}

// Trace is the W3C trace that the message belongs to, in 32 hexadecimal digits; "" where its
// header traceparent does not say.
func (m *Message) Trace() string {
	for _, h := range m.Headers {
		if h.Name == "traceparent" && len(h.Value) >= 35 && h.Value[2] == '-' {
			return h.Value[3:35]
		}
	}
	return ""
}

// Message reads one message of the outbox; nil where there is none.
func (r *Reader) Message(ctx context.Context, id waybill.ID) (*Message, error) {
	rows, err := r.queue.Find(ctx, []waybill.ID{id})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	row := &rows[0]
	answers, err := r.queue.Answers(ctx, []waybill.ID{id})
	if err != nil {
		return nil, err
	}
	m := &Message{Summary: summarize(row), Side: store.Producer, TimeStamp: row.TimeStamp, Headers: []Header{}, Row: row.ID}
	m.setBody(row.Body)
	headers := map[string]string{}
	if row.Headers != "" && json.Unmarshal([]byte(row.Headers), &headers) != nil {
		m.RawHeaders = row.Headers
	}
	for name, value := range headers {
		m.Headers = append(m.Headers, Header{Name: name, Value: value})
	}
	slices.SortFunc(m.Headers, func(a, b Header) int { return cmp.Compare(a.Name, b.Name) })
	m.Timeline = timeline(row, answers)
	return m, nil
}

func (m *Message) setBody(body []byte) {
	m.BodyBytes = len(body)
	if utf8.Valid(body) {
		text := string(body)
		m.Body = &text
	} else {
		m.BodyBase64 = body
	}
}

// HideBody takes the body away.
func (m *Message) HideBody() { m.Body, m.BodyBase64, m.BodyHidden = nil, nil, m.BodyBytes > 0 }

func timeline(row *store.Row, answers []store.Answer) []Event {
	at := func(us int64) *time.Time {
		t := time.UnixMicro(us).UTC()
		return &t
	}
	sent := row.MessageID.Time().UTC()
	events := []Event{{At: &sent, Text: say("Sent: committed with its business change.")}}
	for _, a := range answers {
		if a.Rejected {
			events = append(events, Event{at(a.TimeStamp), say("%s has rejected it: %s", a.Consumer, a.Reason), true})
		} else {
			events = append(events, Event{at(a.TimeStamp), say("%s has confirmed it.", a.Consumer), false})
		}
	}
	slices.SortStableFunc(events, func(a, b Event) int { return a.At.Compare(*b.At) })
	if row.Retry > 0 {
		events = append(events, Event{Text: say("%d copies are known to have been sent beyond the first.", row.Retry)})
	}
	if row.Failures > 0 {
		events = append(events, Event{Text: say("A consumer has failed with it %d times.", row.Failures), Bad: true})
	}
	switch {
	case row.Status == store.Rejected:
		rejected := Event{Text: say("Rejected, and kept for a person: %s", cmp.Or(row.LastError, "no reason was given")), Bad: true}
		if row.NotBefore > 0 {
			rejected.At = at(row.NotBefore)
		}
		events = append(events, rejected)
	case row.LastError != "":
		events = append(events, Event{Text: say("The last try failed: %s", row.LastError), Bad: true})
	}
	if row.Status == store.Pending {
		if row.NotBefore > 0 {
			events = append(events, Event{at(row.NotBefore), say("Not sent before this time."), false})
		}
		events = append(events, Event{Text: say("It waits for its receipt. How often it was sent lately, the relay's memory alone knows.")})
	}
	return events
}

// Kept reads what consumers keep of a message: once for each consumer, destination and
// delivery.
func (r *Reader) Kept(ctx context.Context, id waybill.ID) ([]Message, error) {
	rows, err := r.keeper.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	var all []Message
	for i := range rows {
		all = append(all, *openKept(&rows[i]))
	}
	return all, nil
}

func openKept(k *store.Kept) *Message {
	kept, tried := time.UnixMicro(k.KeptAt).UTC(), time.UnixMicro(k.TriedAt).UTC()
	m := &Message{
		Summary: summarizeKept(k), Side: store.Consumer, Headers: []Header{}, Consumer: k.Consumer, Row: k.ID,
		Timeline: []Event{
			{At: &kept, Text: say("%s has kept it, because nobody else does.", k.Consumer)},
			{At: &tried, Text: say("Last try, of %d: %s", k.Tries, cmp.Or(k.Reason, "no reason was given")), Bad: true},
		},
	}
	if k.Status == store.Pending {
		m.Timeline = append(m.Timeline, Event{Text: say("It is to be handled again.")})
	}
	m.setBody(k.Body)
	headers, err := store.DecodeHeaders(k.Headers)
	if err != nil {
		m.RawHeaders = k.Headers
	}
	for _, h := range headers {
		if utf8.ValidString(h.Value) {
			m.Headers = append(m.Headers, Header{Name: h.Name, Value: h.Value})
		} else {
			m.Headers = append(m.Headers, Header{Name: h.Name, ValueBase64: []byte(h.Value)})
		}
	}
	return m
}

func summarizeKept(k *store.Kept) Summary {
	s := Summary{
		MessageID: k.MessageID, Destination: k.Destination, Topic: k.Topic, Key: k.Key, Status: statusName(k.Status),
		Sent: time.UnixMicro(k.KeptAt).UTC(), Copies: k.Tries - 1, Failures: k.Failures, Error: k.Reason,
	}
	if k.Status == store.Pending && k.NotBefore > 0 {
		at := time.UnixMicro(k.NotBefore).UTC()
		s.NotBefore = &at
	}
	return s
}
