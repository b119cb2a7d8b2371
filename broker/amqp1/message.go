package amqp1

import (
	"bytes"
	"strings"

	"github.com/Azure/go-amqp"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/amqpmessage"
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
	d := amqpmessage.Read(in)
	d.Destination, d.Topic = sub.Destination, sub.Topic
	return d
}

// Identity is what a JMS client, or ActiveMQ in its place, has named a message: any other
// producer's message-id may be what it likes, and is none. See broker.Identified.
func (t *token) Identity() broker.Identity {
	p := t.message.Properties
	if p == nil {
		return broker.Identity{}
	}
	name, isText := p.MessageID.(string)
	if !isText || !strings.HasPrefix(name, "ID:") {
		return broker.Identity{}
	}
	i := broker.Identity{Name: name}
	if p.CreationTime != nil && p.CreationTime.UnixMilli() > 0 {
		i.Time = *p.CreationTime
	}
	return i
}
