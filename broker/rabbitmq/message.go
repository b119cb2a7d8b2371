package rabbitmq

import (
	"encoding/json"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/amqpvalue"
)

// check says why a message cannot be sent at all, or returns nil. frame is the size in
// bytes of the greatest frame that the broker takes, 0 for any.
func (b *Broker) check(m *broker.Message, frame int) error {
	if most := b.options.MaxMessage; most > 0 && len(m.Body) > most {
		return fmt.Errorf("rabbitmq: a body of %d bytes is over MaxMessage, %d", len(m.Body), most)
	}
	if len(m.ContentType) > maxName {
		return fmt.Errorf("rabbitmq: a content type of %d bytes; AMQP takes %d", len(m.ContentType), maxName)
	}
	// All headers travel in one frame, and the broker ends the connection over one that is
	// too large. In bytes: beginning and end of the frame 8; class, weight, body size and
	// flags 14; delivery mode 1; length of the table 4; of each header, the length of its
	// name 1, its type 1 and the length of its value 4.
	size := 8 + 14 + 1 + 4
	if m.ContentType != "" {
		size += 1 + len(m.ContentType)
	}
	for i := range m.Headers {
		if len(m.Headers[i].Name) > maxName {
			return fmt.Errorf("rabbitmq: the name of a header has %d bytes; AMQP takes %d", len(m.Headers[i].Name), maxName)
		}
		size += 6 + len(m.Headers[i].Name) + len(m.Headers[i].Value)
	}
	if frame > 0 && size > frame {
		return fmt.Errorf("rabbitmq: the headers come to %d bytes; the broker's frame_max is %d", size, frame)
	}
	return nil
}

// encode makes an AMQP message. The body need not be copied: when the library's call
// returns, it has been written to a bufferedConn, which has a copy.
func encode(m *broker.Message, transport waybill.Transport) amqp.Publishing {
	out := amqp.Publishing{ContentType: m.ContentType, Body: m.Body, DeliveryMode: amqp.Persistent}
	if transport == waybill.Transient {
		out.DeliveryMode = amqp.Transient
	}
	if len(m.Headers) > 0 {
		out.Headers = make(amqp.Table, len(m.Headers))
		for i := range m.Headers {
			out.Headers[m.Headers[i].Name] = m.Headers[i].Value
		}
	}
	return out
}

// decode turns an AMQP message into what Receive returns, without a token.
func decode(in *amqp.Delivery, sub *broker.Subscription) broker.Delivery {
	d := broker.Delivery{
		Message:     broker.Message{Destination: sub.Destination, Topic: sub.Topic, ContentType: in.ContentType, Body: in.Body},
		Redelivered: in.Redelivered,
	}
	d.Headers = make([]broker.Header, 0, len(in.Headers)+1)
	for name, value := range in.Headers {
		h := broker.Header{Name: name, Value: text(value)}
		if name == "businessMark" {
			d.Key = h.Value
		}
		d.Headers = append(d.Headers, h)
	}
	if _, ok := in.Headers["content-encoding"]; !ok && in.ContentEncoding != "" {
		d.Headers = append(d.Headers, broker.Header{Name: "content-encoding", Value: in.ContentEncoding})
	}
	return d
}

// text returns a header's value as text.
func text(value any) string {
	switch value := value.(type) {
	case amqp.Decimal:
		return decimal(value)
	case amqp.Table, []any:
		if data, err := json.Marshal(value); err == nil {
			return string(data)
		}
	}
	text, _ := amqpvalue.Text(value)
	return text
}

// decimal writes a number with as many digits behind the point as its scale says.
func decimal(d amqp.Decimal) string {
	digits := fmt.Sprint(d.Value)
	if d.Scale == 0 {
		return digits
	}
	sign := ""
	if d.Value < 0 {
		sign, digits = "-", digits[1:]
	}
	if missing := int(d.Scale) + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - int(d.Scale)
	return sign + digits[:point] + "." + digits[point:]
}
