package browser

import (
	"context"
	"errors"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
)

func TestARejectedMessageIsFoundReadAndSentAgain(t *testing.T) {
	taken := make(chan *waybill.Message, 10)
	w := newWorld(t, setup{}, func(_ context.Context, m *waybill.Message) error {
		if m.Key == "order-4711" {
			return waybill.Permanent(errors.New("article b-12 is unknown"))
		}
		return nil
	})
	id := waybill.NewID()
	w.send(waybill.Message{Destination: "orders", Key: "order-1", Body: []byte("{}")}, waybill.Message{
		ID: id, Destination: "orders", Key: "order-4711", Body: []byte(`{"order":4711,"lines":[{"article":"b-12"}]}`),
		Headers: map[string]string{"content-type": "application/json", "tenant": "acme"},
	})
	w.rejected("orders", 1)

	p := newTab(t, w.url)
	p.open("")
	p.click("nav a", "Messages")
	p.has("h1", "Messages in the outbox")
	p.fill("Part of the error", "article b-12")
	p.click("button", "Find")
	p.has("[role=status]", "1 found")
	p.click("td, th a", id.String())
	p.has("h1", id.String())
	for selector, text := range map[string]string{
		".facts":       "order-4711",
		".state":       "rejected",
		"table":        "acme",
		"pre":          `"article": "b-12"`, // indented
		".timeline":    "article b-12 is unknown",
		".facts + *":   "Send again…",
		"article > h1": "Message",
	} {
		if got := p.text(selector); !strings.Contains(got, text) {
			t.Errorf("%s: got %q, want %q in it", selector, got, text)
		}
	}

	w.handled(func(_ context.Context, m *waybill.Message) error {
		taken <- m
		return nil
	})
	p.click("button", "Send again…")
	p.has("h1", "Send 1 messages again?")
	p.click("button", "Send again")
	p.has("h1", "Sending 1 messages again")
	p.until("it is done", `document.querySelector(".state").textContent === "done" && document.querySelector("progress").value === 100`)
	if m := <-taken; m.ID != id || m.Failures != 0 {
		t.Errorf("the consumer got %+v, want the message %s as new", m, id)
	}
	if row := w.find(id); row != nil {
		t.Errorf("got %+v, want the message gone", row)
	}
	p.open("messages?id=" + id.String())
	p.has("[role=status]", "0 found")
	p.click("nav a", "Rejected")
	p.has(".note", "No message is rejected.")
}
