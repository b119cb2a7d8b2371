package nats

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode"

	natsgo "github.com/nats-io/nats.go"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// A header that Send takes arrives as it was.
func FuzzAHeaderSurvivesTheWire(f *testing.F) {
	f.Add("traceparent", "00-0af7-01", "text/plain")
	f.Add("Nats-Msg-Id", " a ", "")
	f.Add("status", "%41", "")
	f.Add("content-Type", "\u00a0ü\u2028", "a")
	f.Fuzz(func(t *testing.T, name, value, contentType string) {
		if waybill.CheckHeader(name, value) != nil || waybill.CheckHeader("content-type", contentType) != nil || !carries(contentType) {
			return
		}
		m := broker.Message{Headers: []broker.Header{{Name: name, Value: value}}, ContentType: contentType}
		if name == "content-type" {
			m = broker.Message{ContentType: contentType}
		}
		received, err := natsgo.DecodeHeadersMsg(onTheWire(header(&m)))
		if err != nil {
			t.Fatal(err)
		}
		var got broker.Message
		readHeader(&got, received)
		if !slices.Equal(got.Headers, m.Headers) || got.ContentType != m.ContentType {
			t.Errorf("%+v\nbecame\n%+v", m, got)
		}
	})
}

// onTheWire is how the client writes headers.
func onTheWire(h natsgo.Header) []byte {
	var b bytes.Buffer
	b.WriteString("NATS/1.0\r\n")
	for name, values := range h {
		for _, value := range values {
			b.WriteString(name + ": " + value + "\r\n")
		}
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// Two destinations are two subjects and two streams, and each subject is a literal one.
func FuzzNamesAreMappedOneToOne(f *testing.F) {
	f.Add("orders", "Orders")
	f.Add("a.", "a%2E")
	f.Add("..", ".")
	f.Add("_a", "=5Fa")
	f.Fuzz(func(t *testing.T, a, b string) {
		if a == b || waybill.CheckDestination(a) != nil || waybill.CheckDestination(b) != nil {
			return
		}
		for _, topic := range []bool{false, true} {
			for token := range strings.SplitSeq(subject(a, topic, ""), ".") {
				if token == "" || strings.ContainsAny(token, "*>") || strings.ContainsFunc(token, unicode.IsSpace) {
					t.Errorf("%q is the subject %q", a, subject(a, topic, ""))
				}
			}
			if subject(a, topic, "") == subject(b, topic, "") || streamName(a, topic, "") == streamName(b, topic, "") {
				t.Errorf("%q and %q are both %q in %q", a, b, subject(a, topic, ""), streamName(a, topic, ""))
			}
		}
	})
}
