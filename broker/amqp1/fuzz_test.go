package amqp1

import (
	"bytes"
	"testing"

	"github.com/Azure/go-amqp"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// A header that Send takes arrives as it was, and so does a body.
func FuzzAMessageSurvivesTheWire(f *testing.F) {
	f.Add("traceparent", "00-0af7-01", "text/plain", []byte("body"), byte(0))
	f.Add("original-destination", "x", "", []byte{0}, byte(1))
	f.Add("amq-msg-type", "x", "text/plain", []byte{0}, byte(2))
	f.Fuzz(func(t *testing.T, name, value, contentType string, body []byte, kind byte) {
		if waybill.CheckHeader(name, value) != nil || waybill.CheckHeader("content-type", contentType) != nil || name == "content-type" {
			return
		}
		m := broker.Message{Headers: []broker.Header{{Name: name, Value: value}}, ContentType: contentType, Body: body}
		data, err := encode(&m, waybill.Durable, jmsbroker.Kind(kind%3)).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var received amqp.Message
		if err := received.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		d := decode(&received, &broker.Subscription{Destination: "orders"})
		if got, found := d.Header(name); !found || got != value || d.ContentType != contentType || !bytes.Equal(d.Body, body) {
			t.Errorf("%+v\nbecame\n%+v", m, d.Message)
		}
	})
}
