package stomp

import (
	"fmt"
	"strings"

	"github.com/go-stomp/stomp/v3/frame"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

const (
	// headerLine is the greatest length in bytes of an encoded header that ActiveMQ
	// Classic reads; at a longer one it breaks the connection. Artemis has no limit
	// of the kind.
	headerLine = 10 << 10
	// headerCount is the greatest number of headers that ActiveMQ Classic reads.
	headerCount = 1000
)

// address is a destination's name as the broker knows it in STOMP. Artemis takes bare
// names, whatever prefixes its acceptors are set up with, and tells queues from topics by
// another header (routing).
func address(kind jmsbroker.Kind, destination string, topic bool) string {
	name := jmsbroker.Name(destination)
	switch {
	case kind == jmsbroker.Artemis:
		return name
	case topic:
		return "/topic/" + name
	}
	return "/queue/" + name
}

// routing is Artemis' name for a topic or a queue.
func routing(topic bool) string {
	if topic {
		return "MULTICAST"
	}
	return "ANYCAST"
}

// contentTypeProperty is what both brokers call the content type of AMQP. A message with
// this header has that content type for consumers of AMQP.
const contentTypeProperty = "JMS_AMQP_ContentType"

// check says why a message cannot be sent, or returns nil.
func (c *conn) check(m *broker.Message) error {
	if most := c.broker.maxMessage; most > 0 && len(m.Body) > most {
		return fmt.Errorf("stomp: a body of %d bytes is over MaxMessage, %d", len(m.Body), most)
	}
	for _, h := range m.Headers {
		if jmsbroker.ReservedHeader(h.Name) {
			return fmt.Errorf("stomp: the header %q belongs to the protocol", h.Name)
		}
	}
	if c.publisher.kind == jmsbroker.Artemis {
		return nil
	}
	if len(m.Headers) > headerCount-10 {
		return fmt.Errorf("stomp: %d headers; the broker reads at most %d", len(m.Headers), headerCount-10)
	}
	for _, h := range m.Headers {
		if err := line(h.Name, h.Value); err != nil {
			return err
		}
	}
	if err := line(frame.ContentType, m.ContentType); err != nil {
		return err
	}
	return line(frame.Destination, address(c.publisher.kind, m.Destination, m.Topic))
}

// line says why a header is too long for the broker to read, or returns nil.
func line(name, value string) error {
	length := len(name) + 1 + len(value)
	if length > headerLine/2 {
		length += strings.Count(value, ":") + strings.Count(value, `\`) // escaped
	}
	if length > headerLine {
		return fmt.Errorf("stomp: the header %q takes %d bytes; the broker reads at most %d", name, length, headerLine)
	}
	return nil
}

// delivery turns a MESSAGE into what Receive returns.
func (r *receiver) delivery(f *frame.Frame) broker.Delivery {
	d := broker.Delivery{Message: broker.Message{
		Destination: r.subscription.Destination, Topic: r.subscription.Topic,
		ContentType: f.Header.Get(frame.ContentType), Body: f.Body,
	}}
	d.Headers = make([]broker.Header, 0, f.Header.Len())
	for i := range f.Header.Len() {
		name, value := f.Header.GetAt(i)
		switch {
		case name == "businessMark":
			d.Key = value
		case name == "redelivered":
			d.Redelivered = value == "true"
		case name == contentTypeProperty && d.ContentType == "":
			d.ContentType = value // the message came in by AMQP
		case name == "JMS_AMQP_NATIVE" && value == "true":
			if body, err := jmsbroker.NativeBody(f.Body); err == nil {
				d.Body = body
			}
		}
		if !jmsbroker.ReservedHeader(name) {
			d.Headers = append(d.Headers, broker.Header{Name: name, Value: value})
		}
	}
	if _, counted := f.Header.Contains(frame.ContentLength); !counted {
		d.Body = jmsbroker.FromModifiedUTF8(d.Body)
	}
	d.Token = &token{receiver: r, ack: f.Header.Get(frame.Ack)}
	return d
}
