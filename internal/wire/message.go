// Package wire turns rows of the outbox into messages on the wire and back, and
// receipts into their JSON form and back.
package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/store"
)

// The names of Waybill's own headers. They are part of the protocol.
const (
	MessageID    = "messageId"
	BusinessMark = "businessMark"
	TimeStamp    = "timeStamp"
	Sequence     = "sequence"
	Producer     = "producer"
	ReceiptTo    = "receiptTo"
	Attempt      = "attempt"
	Failures     = "failures"
	Floor        = "floor"
	Kind         = "waybill"
)

// ContentType is the sender's header that travels as the protocol's content type.
const ContentType = "content-type"

// Origin is what a relay adds to each message it sends.
type Origin struct {
	Producer  string
	ReceiptTo string // empty: no receipts wanted
	Floor     string // empty: unknown
}

// Encode makes the message that travels from a row. An error says why the row,
// which may come from a program that inserts rows by itself, can never be sent.
func Encode(r *store.Row, attempt int, o Origin) (broker.Message, error) {
	if err := waybill.CheckDestination(r.Destination); err != nil {
		return broker.Message{}, fmt.Errorf("destination %w", err)
	}
	if err := waybill.CheckKey(r.Key); err != nil {
		return broker.Message{}, fmt.Errorf("business_mark %w", err)
	}
	if !r.MessageID.IsV7() {
		return broker.Message{}, fmt.Errorf("message_id %s is no UUIDv7; leave it out and a trigger fills it", r.MessageID)
	}
	m := broker.Message{Destination: r.Destination, Topic: r.Topic, Key: r.Key, Body: r.Body}
	m.Headers = make([]broker.Header, 0, 9)

	// All values share one string: a message costs one allocation for them.
	var buf [128]byte
	text, _ := r.MessageID.AppendText(buf[:0])
	idEnd := len(text)
	text = strconv.AppendInt(text, r.TimeStamp, 10)
	stampEnd := len(text)
	text = strconv.AppendInt(text, r.Sequence, 10)
	sequenceEnd := len(text)
	text = strconv.AppendInt(text, int64(attempt), 10)
	attemptEnd := len(text)
	text = strconv.AppendInt(text, int64(r.Failures), 10)
	all := string(text)
	m.Headers = append(m.Headers,
		broker.Header{Name: MessageID, Value: all[:idEnd]},
		broker.Header{Name: TimeStamp, Value: all[idEnd:stampEnd]},
		broker.Header{Name: Sequence, Value: all[stampEnd:sequenceEnd]},
		broker.Header{Name: Producer, Value: o.Producer},
		broker.Header{Name: Attempt, Value: all[sequenceEnd:attemptEnd]})
	if r.Key != "" {
		m.Headers = append(m.Headers, broker.Header{Name: BusinessMark, Value: r.Key})
	}
	if r.Failures > 0 {
		m.Headers = append(m.Headers, broker.Header{Name: Failures, Value: all[attemptEnd:]})
	}
	if o.ReceiptTo != "" {
		m.Headers = append(m.Headers, broker.Header{Name: ReceiptTo, Value: o.ReceiptTo})
	}
	if o.Floor != "" {
		m.Headers = append(m.Headers, broker.Header{Name: Floor, Value: o.Floor})
	}
	if r.Headers == "" {
		return m, nil
	}
	var own map[string]string
	if err := json.Unmarshal([]byte(r.Headers), &own); err != nil {
		return broker.Message{}, fmt.Errorf("headers are no JSON object of strings: %w", err)
	}
	for name, value := range own {
		if err := waybill.CheckHeader(name, value); err != nil {
			return broker.Message{}, err
		}
		if name == ContentType {
			m.ContentType = value
			continue
		}
		m.Headers = append(m.Headers, broker.Header{Name: name, Value: value})
	}
	return m, nil
}

// Arrival is a received message with what is the inbox's own business.
type Arrival struct {
	Message   waybill.Message
	ReceiptTo string     // empty where the sender wants no receipts
	Floor     waybill.ID // zero where unknown
}

// ErrNoID says that a message carries no usable identity, so that no guard can
// tell it from its copies.
var ErrNoID = errors.New("the message has no header messageId with a UUIDv7")

// Decode reads a message that has arrived. Where it fails the Arrival holds what
// could be read, so that a receipt may still be possible: it is when the Message
// has an ID.
func Decode(d *broker.Message) (Arrival, error) {
	a := Arrival{Message: waybill.Message{Destination: d.Destination, Topic: d.Topic, Body: d.Body}}
	m := &a.Message
	var problem error
	number := func(h broker.Header, bits int) int64 {
		n, err := strconv.ParseInt(h.Value, 10, bits)
		if (err != nil || n < 0) && problem == nil {
			problem = fmt.Errorf("the header %s is %.40q and not a decimal number", h.Name, h.Value)
		}
		return max(n, 0)
	}
	for _, h := range d.Headers {
		switch h.Name {
		case MessageID:
			id, err := waybill.ParseID(h.Value)
			if err == nil && id.IsV7() {
				m.ID = id
			}
		case BusinessMark:
			m.Key = h.Value
			if err := waybill.CheckKey(h.Value); err != nil && problem == nil {
				problem = fmt.Errorf("the header %s %w", h.Name, err)
			}
		case TimeStamp:
			m.TimeStamp = number(h, 64)
		case Sequence:
			m.Sequence = number(h, 64)
		case Attempt:
			m.Attempt = int(number(h, 32))
		case Failures:
			m.Failures = int(number(h, 32))
		case Producer:
			m.Producer = h.Value
			if err := waybill.CheckProducer(h.Value); err != nil && problem == nil {
				problem = fmt.Errorf("the header %s %w", h.Name, err)
			}
		case ReceiptTo:
			a.ReceiptTo = h.Value
		case Floor:
			if floor, err := waybill.ParseID(h.Value); err == nil && floor.IsV7() {
				a.Floor = floor
			}
		case Kind:
		default:
			if m.Headers == nil {
				m.Headers = make(map[string]string, 4)
			}
			m.Headers[h.Name] = h.Value
		}
	}
	if d.ContentType != "" {
		if m.Headers == nil {
			m.Headers = make(map[string]string, 1)
		}
		m.Headers[ContentType] = d.ContentType
	}
	if m.ID.IsZero() {
		return a, ErrNoID
	}
	return a, problem
}
