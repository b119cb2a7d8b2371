package browser

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/store"
)

func TestARejectedMessageIsFoundReadAndSentAgain(t *testing.T) {
	t.Parallel()
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

func TestAGroupIsSentAgainInStagesAndWhatIsRejectedMeanwhileStays(t *testing.T) {
	t.Parallel()
	const old = 500
	unknown := func(m *waybill.Message) error {
		return waybill.Permanent(fmt.Errorf("order %q is unknown to warehouse 7", m.Key))
	}
	w := newWorld(t, setup{}, func(_ context.Context, m *waybill.Message) error { return unknown(m) })
	var messages []waybill.Message
	for i := range old {
		messages = append(messages, waybill.Message{Destination: "orders", Key: fmt.Sprint("old-", i)})
	}
	w.send(messages...)
	w.rejected("orders", old)

	// The cause is mended for the old ones. One of the third stage is put off, so that the stage
	// cannot end before others have been rejected meanwhile.
	var taken sync.Map // the keys, and as which one they came
	var different atomic.Int64
	var goOn atomic.Bool
	w.handled(func(_ context.Context, m *waybill.Message) error {
		if strings.HasPrefix(m.Key, "new-") {
			return unknown(m)
		}
		n, again := taken.Load(m.Key)
		if !again {
			n = different.Add(1)
			taken.Store(m.Key, n)
		}
		if n == int64(1+10+1) && !goOn.Load() {
			return waybill.RetryAfter(100*time.Millisecond, errors.New("not yet"))
		}
		return nil
	})

	p := newTab(t, w.url)
	p.open("rejected")
	p.has(".groups h3", "500")
	if n := evaluate[int](p, `document.querySelectorAll(".groups > li").length`); n != 1 {
		t.Errorf("got %d groups, want the same reason with other names and numbers in one", n)
	}
	p.click(".groups button", "Send again…")
	p.has("h1", "Send 500 messages again?")
	p.click("button", "Send again")
	p.has("h1", "Sending 500 messages again")
	evaluate[bool](p, `window.mark = true`)
	steps := map[string]bool{} // that the page has shown
	progress := func() {
		steps[evaluate[string](p, `document.querySelector("progress")?.value + "%"`)] = true // undefined before it
	}
	p.watchUntil("the third stage is shown", `document.querySelector("#progress")?.innerText.includes("100 at a time") &&
		document.querySelector("progress").value > 20`, progress)
	news := 0
	patience.Until(t, "others are rejected meanwhile", func() bool {
		w.send(waybill.Message{Destination: "orders", Key: fmt.Sprint("new-", news)})
		news++
		rows, err := w.queue.List(patience.Context(t), "orders", store.Rejected, 0, old)
		return err == nil && slices.ContainsFunc(rows, func(r store.Row) bool { return strings.HasPrefix(r.Key, "new-") })
	})
	goOn.Store(true)
	asked := 0
	p.watchUntil("it is done", `document.querySelector(".state").textContent === "done"`, func() {
		progress()
		// On a machine that stands still for a while nobody confirms, and a person is asked.
		if evaluate[bool](p, `[...document.querySelectorAll("button")].some(b => b.textContent === "Go on")`) {
			asked++
			p.click("button", "Go on")
		}
	})
	progress()
	if delete(steps, "undefined%"); len(steps) < 3 || !steps["100%"] {
		t.Errorf("got the progress %v, want steps", steps)
	}
	if !evaluate[bool](p, `window.mark === true`) && asked == 0 {
		t.Error("the page was loaded again, and should show the progress by itself")
	}
	if text := p.text(".figures"); !strings.Contains(text, "Failed again\n0") || !strings.Contains(text, "Sent again\n500") || asked == 0 && !strings.Contains(text, "Confirmed\n500") {
		t.Errorf("got %q, want 500 messages sent again and confirmed", text)
	}

	// Each of the old ones has gone, for which it had to be sent again once: that makes the 500.
	w.rejected("orders", news)
	rows, err := w.queue.List(patience.Context(t), "orders", store.Rejected, 0, news)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if !strings.HasPrefix(rows[i].Key, "new-") {
			t.Errorf("%s is still rejected", rows[i].Key)
		}
	}
	p.click("nav a", "Rejected")
	p.has(".groups h3", fmt.Sprint(news))
}
