package brokertest

import (
	"bytes"
	"fmt"
	"strings"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

var carryCases = []testCase{
	{name: "bodies of every kind arrive unchanged", run: bodiesArrive},
	{name: "headers of every kind arrive unchanged", run: headersArrive},
	{name: "Waybill's own headers arrive unchanged", run: ownHeadersArrive},
	{name: "characters of every size arrive in keys, headers and content types", run: wideTextArrives},
	{name: "a content type arrives, and none stays none", run: contentTypeArrives},
	{name: "a message without headers arrives", run: bareMessageArrives},
	{name: "destinations of every allowed spelling work and do not collide", run: spellings},
	{name: "a receipt queue is a queue like any other", run: receiptQueue},
}

func bodiesArrive(r *rig) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	large := 1 << 20
	if r.caps.MaxMessage > 0 {
		large = min(large, r.caps.MaxMessage/4*3)
	}
	kinds := [][]byte{
		every, {}, {0}, {'\n'}, []byte("\x00\n"), []byte("\n\n"), []byte("text\x00"), []byte("text\r\n"),
		{0xff, 0xfe}, []byte("\xf0\x9f\x9a\x9a"), []byte(`{"json":"ümläut"}`),
		bytes.Repeat(every, large/len(every)),
	}
	c, queue := r.connect(), r.name()
	ms := make([]broker.Message, len(kinds))
	for i, body := range kinds {
		ms[i] = message(queue, string(body))
		ms[i].Headers = append(ms[i].Headers, broker.Header{Name: "sequence", Value: fmt.Sprint(i)})
	}
	r.publish(c, ms...)
	receiver := r.subscribe(c, queue, 100)
	deliveries := r.receive(receiver, len(kinds))
	r.settle(receiver, deliveries, broker.Ack)
	seen := map[string]bool{}
	for _, d := range deliveries {
		place, _ := d.Header("sequence")
		seen[place] = true
		for i, body := range kinds {
			if fmt.Sprint(i) == place && !bytes.Equal(d.Body, body) {
				r.Errorf("body %d: got %d bytes %.40q, want %d bytes %.40q", i, len(d.Body), d.Body, len(body), body)
			}
		}
	}
	if len(seen) != len(kinds) {
		r.Errorf("got %d kinds of body, want %d", len(seen), len(kinds))
	}
}

func headersArrive(r *rig) {
	values := []string{
		"", " ", "   ", " leading", "trailing ", " both ", "in  between", "a:b", ":", "::", "back\\slash", `\`, `\n`, `\c`, `\\`,
		`"quoted"`, `"`, `'`, "a=b", "=", "a;b,c", "100%", "%20", "ümläut", "漢字", "🚚 emoji 🏳️‍🌈", "\u00a0nbsp\u00a0", "e\u0301",
		"true", "1", "1.5", "null", "2026-01-01T00:00:00Z", "=?utf-8?q?x?=", "<xml/>", `{"a":1}`, strings.Repeat("long ", 1638),
	}
	names := []string{
		"traceparent", "Upper", "upper2", "with-dash", "with.dot", "with_underscore", "$dollar", "_leading", "camelCase", "n1",
		"Nats-Msg-Id", "Status", "Description", "host", "login", "version", "key", "value", "x-match", "content-encoding",
		"Content-Language", strings.Repeat("n", 255),
	}
	var headers []broker.Header
	for i, value := range values {
		headers = append(headers, broker.Header{Name: fmt.Sprintf("value%d", i), Value: value})
	}
	for i, name := range names {
		headers = append(headers, broker.Header{Name: name, Value: fmt.Sprintf("of name %d", i)})
	}
	for _, h := range headers {
		if err := waybill.CheckHeader(h.Name, h.Value); err != nil {
			r.Fatalf("the suite's own header %.40q: %v", h.Name, err)
		}
	}
	// In several messages, since brokers limit the size of all headers together.
	c, queue := r.connect(), r.name()
	const share = 10
	var ms []broker.Message
	for i := 0; i < len(headers); i += share {
		m := message(queue, fmt.Sprint(len(ms)))
		m.Headers = append(m.Headers, headers[i:min(i+share, len(headers))]...)
		ms = append(ms, m)
	}
	r.publish(c, ms...)
	receiver := r.subscribe(c, queue, 100)
	deliveries := r.receive(receiver, len(ms))
	r.settle(receiver, deliveries, broker.Ack)
	for _, d := range deliveries {
		for _, m := range ms {
			if bytes.Equal(m.Body, d.Body) {
				r.sameHeaders(&d, m.Headers)
			}
		}
	}
}

// sameHeaders checks that a delivery has these headers, each once.
func (r *rig) sameHeaders(d *broker.Delivery, want []broker.Header) {
	r.Helper()
	for _, h := range want {
		n := 0
		for _, got := range d.Headers {
			if got.Name != h.Name {
				continue
			}
			n++
			if got.Value != h.Value {
				r.Errorf("header %.40q: got %.60q, want %.60q", h.Name, got.Value, h.Value)
			}
		}
		if n != 1 {
			r.Errorf("header %.40q arrived %d times, want once", h.Name, n)
		}
	}
}

func ownHeadersArrive(r *rig) {
	c, queue := r.connect(), r.name()
	m := broker.Message{Destination: queue, Key: "order 4711/é", Body: []byte("own"), Headers: []broker.Header{
		{Name: "messageId", Value: waybill.NewID().String()},
		{Name: "businessMark", Value: "order 4711/é"},
		{Name: "timeStamp", Value: "1790000000000001"},
		{Name: "sequence", Value: "9223372036854775807"},
		{Name: "producer", Value: "orders.eu/1"},
		{Name: "receiptTo", Value: "ack.orders.eu/1"},
		{Name: "attempt", Value: "0"},
		{Name: "failures", Value: "2"},
		{Name: "floor", Value: waybill.NewID().String()},
		{Name: "waybill", Value: "receipt.v1"},
	}}
	r.publish(c, m)
	receiver := r.subscribe(c, queue, 10)
	d := r.receive(receiver, 1)
	r.sameHeaders(&d[0], m.Headers)
	if d[0].Destination != queue || d[0].Topic {
		r.Errorf("Destination is %q, Topic %v; want %q, false", d[0].Destination, d[0].Topic, queue)
	}
	if d[0].Redelivered {
		r.Error("the first delivery says Redelivered, want that it does not")
	}
	r.settle(receiver, d, broker.Ack)
}

// wideTexts are texts that differ in characters beyond U+FFFF alone, which two surrogates stand
// for in UTF-16, and some that look like what such are escaped to.
var wideTexts = []string{
	"order 🦊", "order 🦉", "order 🦊🦉", "order 🦉🦊", "order \ufffd\ufffd", "order %F0%9F%A6%8A", "%41🦊", "\U00010000", "\U0010ffff", "🏳️‍🌈",
	strings.Repeat("🦊", 255),
}

// wideMessages makes a message of each of wideTexts.
func wideMessages(queue string) []broker.Message {
	ms := messages(queue, "wide", len(wideTexts))
	for i, text := range wideTexts {
		ms[i].Key = text
		if len(text) < 200 { // some protocols bound a content type
			ms[i].ContentType = "text/plain; of=" + text
		}
		ms[i].Headers = append(ms[i].Headers, broker.Header{Name: "businessMark", Value: text}, broker.Header{Name: "tenant", Value: text}, broker.Header{Name: "plain", Value: "漢字 ✓"})
	}
	return ms
}

// sameWide checks that messages of wideMessages have arrived as they were, and settles them.
func (r *rig) sameWide(c broker.Conn, ms []broker.Message) {
	r.Helper()
	receiver := r.subscribe(c, ms[0].Destination, 100)
	deliveries := r.receive(receiver, len(ms))
	r.settle(receiver, deliveries, broker.Ack)
	r.same(bodies(deliveries), bodiesOf(ms))
	for i := range deliveries {
		d := &deliveries[i]
		for _, m := range ms {
			if !bytes.Equal(m.Body, d.Body) {
				continue
			}
			r.sameHeaders(d, m.Headers)
			if d.ContentType != m.ContentType {
				r.Errorf("the content type %.60q arrived as %.60q", m.ContentType, d.ContentType)
			}
			for _, h := range d.Headers {
				if strings.HasSuffix(h.Name, "*") {
					r.Errorf("the header %q arrived, which is no sender's", h.Name)
				}
			}
		}
	}
}

func wideTextArrives(r *rig) {
	c := r.connect()
	ms := wideMessages(r.name())
	r.publish(c, ms...)
	r.sameWide(c, ms)
}

func contentTypeArrives(r *rig) {
	c := r.connect()
	for _, contentType := range []string{"", "application/json", "text/plain; charset=utf-8", "application/vnd.x+json", "application/octet-stream"} {
		queue := r.name()
		m := message(queue, `{}`)
		m.ContentType = contentType
		r.publish(c, m)
		receiver := r.subscribe(c, queue, 10)
		d := r.receive(receiver, 1)
		if d[0].ContentType != contentType {
			r.Errorf("ContentType is %q, want %q", d[0].ContentType, contentType)
		}
		if string(d[0].Body) != "{}" {
			r.Errorf("with content type %q the body is %q, want {}", contentType, d[0].Body)
		}
		r.sameHeaders(&d[0], m.Headers)
		r.settle(receiver, d, broker.Ack)
		r.close(receiver)
	}
}

func bareMessageArrives(r *rig) {
	c, queue := r.connect(), r.name()
	r.publish(c, broker.Message{Destination: queue}, broker.Message{Destination: queue, Body: []byte("x")})
	receiver := r.subscribe(c, queue, 10)
	d := r.receive(receiver, 2)
	r.same(bodies(d), []string{"", "x"})
	r.settle(receiver, d, broker.Ack)
}

// lookAlikes makes destinations out of a new name that look alike, or like names that have
// a meaning for some broker.
func lookAlikes(base string) []string {
	upper := strings.ToUpper(base)
	names := []string{base, upper, base + "a", base + "A"}
	for _, sep := range []string{
		".", "/", "-", "_", ":", "::", "\\", "..", "//", "./", "|", "+", "~", "@", "=", "&", ";", "!", "^", "$", "'", `"`, "`",
		"(", ")", "[", "]", "{", "}", "<", "é", "e\u0301", "ß", "漢字", "🚚", ".a.", "/a/", "_2E", "=2E", "\\.", "\\c", "u002e",
	} {
		names = append(names, base+sep+"a")
	}
	for _, end := range []string{".", "/", ":", "..", "\\", "-", "é"} {
		names = append(names, base+end, end+base)
	}
	for _, start := range []string{
		"/queue/", "/topic/", "queue://", "topic://", "temp-queue://", "/exchange/", "/amq/queue/", "amq.", "$SYS.", "$JS.API.",
		"_INBOX.", "ActiveMQ.", "activemq.", "jms.", "DLQ.", "$", "_", "~", "address::", "ack_", "ackx.",
	} {
		names = append(names, start+base)
	}
	long := base + strings.Repeat("x", 253-len(base))
	wide := base + strings.Repeat("漢", 253-len(base))
	names = append(names, long+"-1", long+"-2", wide+"-1", wide+"-2", long+"-é", strings.ToUpper(long)+"-1")
	return names
}

func spellings(r *rig) {
	c := r.connect()
	names := lookAlikes(r.name())
	var first, second []broker.Message
	for _, name := range names {
		if err := waybill.CheckDestination(name); err != nil {
			r.Fatalf("the suite's own destination %.40q: %v", name, err)
		}
		first = append(first, message(name, "first to "+name))
		second = append(second, message(name, "second to "+name))
	}
	// Of each destination, one message is published before anyone subscribes and one after.
	// Where two names collide, one of the two messages arrives at the other name.
	r.publish(c, first...)
	receivers := make([]broker.Receiver, len(names))
	for i, name := range names {
		receivers[i] = r.subscribe(c, name, 10)
	}
	r.publish(c, second...)
	for i, name := range names {
		d := r.receive(receivers[i], 2)
		r.same(bodies(d), []string{"first to " + name, "second to " + name})
		for _, d := range d {
			if d.Destination != name {
				r.Errorf("Destination is %q, want %q", d.Destination, name)
			}
		}
		r.settle(receivers[i], d, broker.Ack)
	}
}

func receiptQueue(r *rig) {
	c := r.connect()
	for _, producer := range []string{r.name(), r.name() + ".eu/1", r.name() + "-é"} {
		queue := waybill.ReceiptQueue(producer, "7q3mk2xw9d4hznsb6t5vfc8a")
		r.publish(c, message(queue, `{"consumer":"x","receipts":[]}`))
		receiver := r.subscribe(c, queue, 10)
		d := r.receive(receiver, 1)
		if d[0].Destination != queue {
			r.Errorf("Destination is %q, want %q", d[0].Destination, queue)
		}
		r.settle(receiver, d, broker.Ack)
	}
}
