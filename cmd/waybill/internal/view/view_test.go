package view_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/view"
	"github.com/waybill-go/waybill/store"
)

var (
	now = time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)
	row = store.Row{
		ID: 1, MessageID: waybill.NewIDAt(now.Add(-90 * time.Second)), Destination: "orders", Key: "A-1", Sequence: 2, TimeStamp: 3,
		Headers: `{"content-type":"text/plain","x":"1"}`, Body: []byte("hello"), Status: store.Rejected, Retry: 4, Failures: 5,
		LastError: "c: no such\norder \x1b[31mred",
	}
)

func TestAListTellsAMessageOnALine(t *testing.T) {
	delayed := row
	delayed.Status, delayed.Topic, delayed.NotBefore, delayed.Key = store.Pending, true, now.Add(time.Hour).UnixMicro(), strings.Repeat("k", 100)
	var out bytes.Buffer
	if err := view.List(&out, []view.Summary{view.Summarize(&row), view.Summarize(&delayed)}, now, true); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("got %d lines, want 3:\n%s", len(lines), out.String())
	}
	for i, want := range [][]string{
		{"ID", "DESTINATION", "LAST ERROR"},
		{row.MessageID.String(), "orders", "A-1", "rejected", "1m30s", "4", `c: no such order \x1b[31mred`},
		{"orders (topic)", strings.Repeat("k", 39) + "…", "pending", "due in 1h00m"},
	} {
		for _, text := range want {
			if !strings.Contains(lines[i], text) {
				t.Errorf("line %d: got %q, want %q in it", i, lines[i], text)
			}
		}
	}
}

func TestAnAgeCountsFromTheSend(t *testing.T) {
	for _, c := range []struct {
		name      string
		timeStamp int64
		minted    time.Time // when it is due
		want      string
	}{
		{"a delayed message that is due since", now.Add(-time.Hour).UnixMicro(), now.Add(-time.Minute), "1h00m"},
		{"a version of the sender's own", 7, now.Add(-time.Minute), "1m00s"},
		{"a version that is no time of µs", now.UnixNano(), now.Add(-time.Minute), "1m00s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := row
			r.Status, r.TimeStamp, r.MessageID, r.NotBefore = store.Pending, c.timeStamp, waybill.NewIDAt(c.minted), c.minted.UnixMicro()
			var list, whole bytes.Buffer
			m := view.Open(&r)
			if err := errors.Join(view.List(&list, []view.Summary{view.Summarize(&r)}, now, false), m.Write(&whole, now)); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(list.String(), " "+c.want+" ") || !strings.Contains(whole.String(), "("+c.want+" ago)") {
				t.Errorf("got\n%s%swant the age %s", list.String(), whole.String(), c.want)
			}
		})
	}
	delayed := row
	delayed.Status, delayed.NotBefore = store.Pending, now.Add(time.Hour).UnixMicro()
	var out bytes.Buffer
	m := view.Open(&delayed)
	if err := m.Write(&out, now); err != nil || !strings.Contains(out.String(), "2030-01-31T13:00:00Z (due in 1h00m)") {
		t.Errorf("got\n%s%v, want when it is due", out.String(), err)
	}
}

func TestARejectedMessageSaysWhenThatWas(t *testing.T) {
	late := row
	late.NotBefore = now.Add(-time.Minute).UnixMicro()
	m := view.Open(&late)
	var out bytes.Buffer
	if err := m.Write(&out, now); err != nil || !strings.Contains(out.String(), "Rejected     2030-01-31T11:59:00Z (1m00s ago)\n") || strings.Contains(out.String(), "Not before") {
		t.Errorf("got\n%s%v, want when it was rejected, and not that it is due", out.String(), err)
	}
	if m.NotBefore != nil || m.RejectedAt == nil || !m.RejectedAt.Equal(now.Add(-time.Minute)) {
		t.Errorf("got not_before %v and rejected_at %v, want the latter alone", m.NotBefore, m.RejectedAt)
	}
	if m = view.Open(&row); m.RejectedAt != nil {
		t.Errorf("got rejected_at %v of a row that does not tell", m.RejectedAt)
	}
}

func TestAWholeMessageIsShown(t *testing.T) {
	text := func(r store.Row) string {
		var out bytes.Buffer
		whole := view.Open(&r)
		if err := whole.Write(&out, now); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for _, want := range []string{"A-1", "rejected", "2030-01-31T11:58:30Z (1m30s ago)", "content-type: text/plain", "x: 1", "5 bytes", `order \x1b[31mred`, "\n\nhello\n"} {
		t.Run(want, func(t *testing.T) {
			if out := text(row); !strings.Contains(out, want) {
				t.Errorf("got\n%swant %q in it", out, want)
			}
		})
	}
	bytesRow := row
	bytesRow.Body = []byte{0, 0xff, 'a'}
	if out := text(bytesRow); !strings.Contains(out, "00 ff 61") {
		t.Errorf("a body that is no text: got\n%swant it as hexadecimal digits", out)
	}
	foreign := row
	foreign.Headers = "no json"
	if out := text(foreign); !strings.Contains(out, "no json") {
		t.Errorf("headers that are no JSON: got\n%swant them as they are", out)
	}
	empty := row
	empty.Body, empty.Headers = nil, ""
	if out := text(empty); !strings.HasSuffix(out, "0 bytes\n") {
		t.Errorf("an empty body: got\n%swant nothing after its size", out)
	}
}

func TestTheJSONFormsKeepTheirNames(t *testing.T) {
	names := func(value any) string {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	summary := names(view.Summarize(&row))
	for _, name := range []string{"message_id", "destination", "topic", "key", "status", "sequence", "time_stamp", "minted", "copies", "failures", "last_error", "body_bytes"} {
		if !strings.Contains(summary, `"`+name+`":`) {
			t.Errorf("got the summary %s, want %s in it", summary, name)
		}
	}
	if whole, want := names(view.Open(&row)), `"headers":{"content-type":"text/plain","x":"1"},"body":"hello"`; !strings.Contains(whole, want) {
		t.Errorf("got the whole message %s, want %s in it", whole, want)
	}
}

func TestConsumersThatHaveAnsweredAreNamed(t *testing.T) {
	consumers := view.Consumers([]store.Answer{
		{Consumer: "audit", Rejected: true, Reason: "no such\nprice", TimeStamp: now.UnixMicro()}, {Consumer: "shop", TimeStamp: now.UnixMicro()},
	}, "mail", "shop")
	var list, whole bytes.Buffer
	if err := view.List(&list, []view.Summary{view.Summarize(&row, consumers...), view.Summarize(&row)}, now, false); err != nil {
		t.Fatal(err)
	}
	m := view.Open(&row, consumers...)
	if err := m.Write(&whole, now); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, out, want string }{
		{"a heading", list.String(), "CONSUMERS"},
		{"on a line", list.String(), "audit rejected, shop confirmed, mail waiting"},
		{"why one has rejected it", whole.String(), "audit rejected 2030-01-31T12:00:00Z: no such"},
		{"when one has confirmed it", whole.String(), "shop confirmed 2030-01-31T12:00:00Z"},
		{"who waits", whole.String(), "mail waiting"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(c.out, c.want) {
				t.Errorf("got\n%swant %q in it", c.out, c.want)
			}
		})
	}
}
