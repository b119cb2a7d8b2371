package amqp1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/Azure/go-amqp"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/amqpvalue"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// routing is Artemis' number for a topic or a queue.
func routing(topic bool) int8 {
	if topic {
		return 0
	}
	return 1
}

// encode makes an AMQP message: the body as one data section, the headers as
// application properties.
func encode(m *broker.Message, transport waybill.Transport, kind jmsbroker.Kind) *amqp.Message {
	out := &amqp.Message{Header: &amqp.MessageHeader{Durable: transport == waybill.Durable, Priority: 4}}
	if m.ContentType != "" {
		out.Properties = &amqp.MessageProperties{ContentType: &m.ContentType}
	}
	if len(m.Headers) > 0 {
		out.ApplicationProperties = make(map[string]any, len(m.Headers))
		for _, h := range m.Headers {
			out.ApplicationProperties[h.Name] = h.Value
		}
	}
	if kind == jmsbroker.Artemis {
		// Without it, where a queue and a topic have one name, a message goes to both.
		out.Annotations = amqp.Annotations{"x-opt-routing-type": routing(m.Topic)}
	}
	if kind != jmsbroker.Any && m.ContentType != "" && bytes.IndexByte(m.Body, 0) >= 0 {
		// ActiveMQ makes data with a textual content type a text message, and sends that to
		// a STOMP consumer without a length, so it would end at the first zero byte. A
		// binary value stays what it is.
		out.Value = m.Body
	} else {
		out.Data = [][]byte{m.Body}
	}
	return out
}

// decode makes of an AMQP message what Receive returns, without a token.
func decode(in *amqp.Message, sub *broker.Subscription) broker.Delivery {
	d := broker.Delivery{Message: broker.Message{Destination: sub.Destination, Topic: sub.Topic, Body: body(in)}}
	if in.Header != nil {
		d.Redelivered = in.Header.DeliveryCount > 0
	}
	if in.Properties != nil && in.Properties.ContentType != nil {
		d.ContentType = *in.Properties.ContentType
	}
	d.Headers = make([]broker.Header, 0, len(in.ApplicationProperties))
	for name, value := range in.ApplicationProperties {
		switch {
		case name == "businessMark":
			d.Key = text(value)
		case name == "content-type":
			d.ContentType = text(value) // it came by STOMP
		}
		if !jmsbroker.ReservedHeader(name) {
			d.Headers = append(d.Headers, broker.Header{Name: name, Value: text(value)})
		}
	}
	return d
}

// body returns the bytes of a message's body. Producers other than Waybill may use
// other sections: JMS sends text as a value.
func body(in *amqp.Message) []byte {
	switch {
	case len(in.Data) == 1:
		return in.Data[0]
	case len(in.Data) > 1:
		return bytes.Join(in.Data, nil)
	case len(in.Sequence) > 0:
		var all []any
		for _, section := range in.Sequence {
			all = append(all, section...)
		}
		return structured(all)
	}
	switch value := in.Value.(type) {
	case nil, amqp.Null:
		return []byte{}
	case []byte:
		return value
	case []any, map[string]any, map[any]any:
		return structured(value)
	}
	return []byte(text(in.Value))
}

// structured returns a list or map as JSON.
func structured(value any) []byte {
	data, err := json.Marshal(plain(value))
	if err != nil {
		return []byte(fmt.Sprint(value))
	}
	return data
}

// plain turns a value into one that JSON has.
func plain(value any) any {
	switch value := value.(type) {
	case []any:
		out := make([]any, len(value))
		for i := range value {
			out[i] = plain(value[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(value))
		for k, v := range value {
			out[k] = plain(v)
		}
		return out
	case map[any]any:
		out := make(map[string]any, len(value))
		for k, v := range value {
			out[text(k)] = plain(v)
		}
		return out
	case nil, bool, string, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64:
		return value
	}
	return text(value)
}

// text returns a property's value as text.
func text(value any) string {
	if symbol, ok := value.(amqp.Symbol); ok {
		return string(symbol)
	}
	text, ok := amqpvalue.Text(value)
	if !ok {
		text = strings.TrimSpace(text)
	}
	return text
}
