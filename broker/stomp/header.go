package stomp

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/amqpmessage"
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
	companions := companions(m)
	if n := len(m.Headers) + len(companions); n > headerCount-10 {
		return fmt.Errorf("stomp: %d headers; the broker reads at most %d", n, headerCount-10)
	}
	for _, h := range m.Headers {
		if err := line(h.Name, h.Value); err != nil {
			return err
		}
	}
	for _, h := range companions {
		if err := line(h.Name, h.Value); err != nil {
			return err
		}
	}
	if err := line(frame.ContentType, m.ContentType); err != nil {
		return err
	}
	return line(frame.Destination, jmsbroker.STOMPAddress(c.publisher.kind, m.Destination, m.Topic))
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

// companions are the headers that travel beside those that Classic may change.
func companions(m *broker.Message) (all []broker.Header) {
	for i := range m.Headers {
		if h, needed := jmsbroker.Escape(m.Headers[i].Name, m.Headers[i].Value); needed {
			all = append(all, h)
		}
	}
	if h, needed := jmsbroker.Escape(frame.ContentType, m.ContentType); needed {
		all = append(all, h)
	}
	return all
}

// delivery turns a MESSAGE into what Receive returns. err says that it cannot be settled.
func (r *receiver) delivery(f *frame.Frame) (d broker.Delivery, err error) {
	hasForeignID := cameByAMQP(f) && !isClassicID(f.Header.Get(frame.MessageId))
	if f.Header.Get("JMS_AMQP_NATIVE") == "true" {
		// ActiveMQ Classic, by default, keeps what came by AMQP as it came, and hands the whole
		// encoded message over as the body.
		native, hasID, problem := amqpmessage.Unmarshal(f.Body)
		if d = native; problem != nil {
			d = plain(f)
			d.Problem = fmt.Errorf("stomp: %w", problem)
		} else {
			hasForeignID = hasID
		}
	} else {
		d = plain(f)
		d.Problem = bodyProblem(f, r.socket.kind)
	}
	d.Destination, d.Topic = r.subscription.Destination, r.subscription.Topic
	d.Redelivered = f.Header.Get("redelivered") == "true"
	d.Token = &token{receiver: r, ack: f.Header.Get(frame.Ack), id: f.Header.Get(frame.MessageId), time: f.Header.Get("timestamp")}
	if hasForeignID && r.socket.kind != jmsbroker.Artemis {
		err = fmt.Errorf("stomp: ActiveMQ Classic takes no acknowledgement over STOMP of a message that AMQP gave an id, as of %.80q: %w",
			f.Header.Get(frame.MessageId), jmsbroker.ErrElsewhere)
	}
	return d, err
}

// plain reads a MESSAGE whose headers and body are STOMP's.
func plain(f *frame.Frame) broker.Delivery {
	d := broker.Delivery{Message: broker.Message{ContentType: f.Header.Get(frame.ContentType), Body: f.Body}}
	d.Headers = make([]broker.Header, 0, f.Header.Len())
	for i := range f.Header.Len() {
		name, value := f.Header.GetAt(i)
		switch name {
		case contentTypeProperty:
			if d.ContentType == "" {
				d.ContentType = value // the message came in by AMQP
			}
		case "type":
			name = jmsbroker.TypeHeader
		case "correlation-id":
			name = jmsbroker.CorrelationHeader
		case "reply-to":
			name = jmsbroker.ReplyHeader
		}
		if !jmsbroker.ReservedHeader(name) {
			d.Headers = append(d.Headers, broker.Header{Name: name, Value: value})
		}
	}
	jmsbroker.Restore(&d.Message)
	if _, counted := f.Header.Contains(frame.ContentLength); !counted {
		d.Body = jmsbroker.FromModifiedUTF8(d.Body)
	}
	return d
}

// cameByAMQP reports whether a message came by AMQP with properties, among which its id is.
func cameByAMQP(f *frame.Frame) bool { return f.Header.Get("JMS_AMQP_PROPERTIES") == "true" }

// classicID is the form of the ids that ActiveMQ Classic gives: host, port, time and number
// of a connection, session, producer and message.
var classicID = regexp.MustCompile(`^ID:.*-[0-9]+-[0-9]+-[0-9]+:[0-9]+:-?[0-9]+:[0-9]+:[0-9]+$`)

// isClassicID reports whether a message's id is the broker's own. Classic finds the message of
// an ACK by the id that it shows, which for one that came by AMQP with an id is that one: it
// cannot read it, and ends the connection, or it knows no such message.
func isClassicID(id string) bool { return classicID.MatchString(id) }

// The kinds of messages and of bodies that Artemis tells of those that came by AMQP.
const (
	kindHeader     = "JMS_AMQP_MA_x-opt-jms-msg-type"
	encodingHeader = "JMS_AMQP_ORIGINAL_ENCODING"
)

// bodyProblem says why a body that is not Waybill's may be another one than it seems, or
// returns nil. A MapMessage, StreamMessage or ObjectMessage of JMS has no form in STOMP: Classic
// shows it without a body, and Artemis shows a map's beginning as text. Neither tells it from a
// message that has no body. What Waybill sends, and any BytesMessage, is counted, and in
// Artemis the length of such a body comes before the message's id.
func bodyProblem(f *frame.Frame, kind jmsbroker.Kind) error {
	_, counted := f.Header.Contains(frame.ContentLength)
	isEmpty := !counted && len(f.Body) == 0
	if kind != jmsbroker.Artemis {
		if isEmpty {
			return errHidden
		}
		return nil
	}
	switch f.Header.Get(kindHeader) {
	case "1", "2", "4": // ObjectMessage, MapMessage, StreamMessage
		return errHidden
	}
	switch f.Header.Get(encodingHeader) {
	case "3", "7", "8": // a sequence, a map, a list
		return errHidden
	case "":
		if isEmpty || isText(f) && f.Body[0] == 0 {
			return errHidden
		}
	}
	return nil
}

// errHidden is the problem of a message whose body STOMP does not show.
var errHidden = fmt.Errorf("stomp: the message has no body that STOMP shows: it is a MapMessage, StreamMessage or ObjectMessage of JMS, or a message without a body, which the broker does not tell apart over STOMP: %w", jmsbroker.ErrElsewhere)

// isText reports whether Artemis shows a body as text: it counts it last.
func isText(f *frame.Frame) bool {
	for i := range f.Header.Len() {
		switch name, _ := f.Header.GetAt(i); name {
		case frame.MessageId:
			return len(f.Body) > 0
		case frame.ContentLength:
			return false
		}
	}
	return false
}

// Identity is the broker's id of a message, and the time at which it, or a JMS client, took
// it. Artemis numbers its messages, and begins anew on an empty disk; in front of the number
// stands the one of the subscription. What Classic shows of messages that came by AMQP may be
// what their producers like, and is none. See broker.Identified.
func (t *token) Identity() broker.Identity {
	kind, i := t.receiver.socket.kind, broker.Identity{Name: t.id}
	if _, number, found := strings.Cut(i.Name, ","); found && kind == jmsbroker.Artemis {
		i.Name = number
	}
	if kind != jmsbroker.Artemis && !isClassicID(i.Name) {
		return broker.Identity{}
	}
	if ms, err := strconv.ParseInt(t.time, 10, 64); err == nil && ms > 0 {
		i.Time = time.UnixMilli(ms)
	}
	return i
}
