package journey

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/test/patience"
)

// peer is a consumer or producer that is no Waybill: it speaks to the broker alone.
type peer struct {
	t    testing.TB
	conn broker.Conn
	w    *world
}

func (w *world) peer() *peer {
	w.t.Helper()
	conn, err := w.broker.Connect(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close(context.Background()) })
	return &peer{w.t, conn, w}
}

// publish sends a message to its destination.
func (p *peer) publish(m broker.Message) {
	p.t.Helper()
	results, err := p.conn.Publish(context.Background(), []broker.Message{m}, waybill.Durable)
	if err != nil || results[0].Fate != broker.Confirmed {
		p.t.Fatalf("publish: got %v, error %v; want it confirmed", results, err)
	}
}

// receipt sends a receipt message with this body.
func (p *peer) receipt(body string) {
	p.t.Helper()
	p.publish(broker.Message{Destination: p.w.receiptQueue(), Headers: []broker.Header{{Name: "waybill", Value: "receipt.v1"}}, Body: []byte(body)})
}

// says sends a receipt for one message. more are further fields of its JSON object.
func (p *peer) says(id waybill.ID, outcome, more string) {
	p.t.Helper()
	p.receipt(fmt.Sprintf(`{"consumer":"peer","receipts":[{"id":%q,"outcome":%q%s}]}`, id, outcome, more))
}

// subscription is what a peer receives from one destination.
type subscription struct {
	t        testing.TB
	receiver broker.Receiver
}

func (p *peer) subscribe(s broker.Subscription) *subscription {
	p.t.Helper()
	s.Prefetch = 1000
	receiver, err := p.conn.Subscribe(context.Background(), s)
	if err != nil {
		p.t.Fatal(err)
	}
	return &subscription{p.t, receiver}
}

// within waits for the next message and acknowledges it; false says that none came.
func (s *subscription) within(limit time.Duration) (*broker.Message, bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	deliveries, err := s.receiver.Receive(ctx, 1)
	if err != nil {
		return nil, false
	}
	if err := s.receiver.Settle(context.Background(), deliveries, broker.Ack); err != nil {
		s.t.Fatal(err)
	}
	return &deliveries[0].Message, true
}

// next waits for the next message and fails the test where none comes.
func (s *subscription) next() *broker.Message {
	s.t.Helper()
	m, ok := s.within(patience.Limit)
	if !ok {
		s.t.Fatalf("no message arrived within %v", patience.Limit)
	}
	return m
}

// header returns a header of a message and fails the test where it is not there.
func header(t testing.TB, m *broker.Message, name string) string {
	t.Helper()
	value, ok := m.Header(name)
	if !ok {
		t.Errorf("got no header %s in %v", name, m.Headers)
	}
	return value
}

// idOf returns a message's id and fails the test where it has none.
func idOf(t testing.TB, m *broker.Message) waybill.ID {
	t.Helper()
	id, err := waybill.ParseID(header(t, m, "messageId"))
	if err != nil {
		t.Errorf("message id: %v", err)
	}
	return id
}

// arrival is a message as a Waybill producer's relay sends it. more are headers that
// take the place of its own, or with no value remove them.
func arrival(id waybill.ID, destination, key string, stamp int64, more ...broker.Header) broker.Message {
	m := broker.Message{Destination: destination, Key: key, Headers: []broker.Header{
		{Name: "messageId", Value: id.String()}, {Name: "timeStamp", Value: fmt.Sprint(stamp)}, {Name: "sequence", Value: "1"},
		{Name: "producer", Value: "peer"}, {Name: "receiptTo", Value: "ack.peer"}, {Name: "attempt", Value: "0"},
	}}
	if key != "" {
		m.Headers = append(m.Headers, broker.Header{Name: "businessMark", Value: key})
	}
	for _, h := range more {
		m.Headers = slices.DeleteFunc(m.Headers, func(old broker.Header) bool { return old.Name == h.Name })
		if h.Value != "" {
			m.Headers = append(m.Headers, h)
		}
	}
	return m
}

// receipt is one receipt, as it is on the wire.
type receipt struct {
	ID      string `json:"id"`
	Outcome string `json:"outcome"`
	AfterMS int    `json:"after_ms"`
	Error   string `json:"error"`
}

// receipts are those that the inbox sends for a peer's messages.
type receipts struct {
	*subscription
	got map[string][]receipt // by message, those that nobody has asked for yet
}

func (p *peer) receipts() *receipts {
	p.t.Helper()
	return &receipts{p.subscribe(broker.Subscription{Destination: "ack.peer"}), map[string][]receipt{}}
}

// of waits for the next receipt of a message.
func (r *receipts) of(id waybill.ID) receipt {
	r.t.Helper()
	for len(r.got[id.String()]) == 0 {
		m := r.next()
		var body struct {
			Consumer string    `json:"consumer"`
			Receipts []receipt `json:"receipts"`
		}
		if err := json.Unmarshal(m.Body, &body); err != nil || header(r.t, m, "waybill") != "receipt.v1" || body.Consumer != "tester" {
			r.t.Fatalf("got the receipt message %s (%v), want one of the consumer tester", m.Body, err)
		}
		for _, x := range body.Receipts {
			r.got[x.ID] = append(r.got[x.ID], x)
		}
	}
	first := r.got[id.String()][0]
	r.got[id.String()] = r.got[id.String()][1:]
	return first
}

// expect waits for the next receipt of a message, which is to have this outcome and an
// error that has this text in it.
func (r *receipts) expect(id waybill.ID, outcome, text string) {
	r.t.Helper()
	if got := r.of(id); got.Outcome != outcome || !strings.Contains(got.Error, text) {
		r.t.Errorf("got the receipt %+v, want %s and an error with %q", got, outcome, text)
	}
}
