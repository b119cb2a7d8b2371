// Package wire turns rows of the outbox into messages on the wire, these into the
// messages that handlers receive, and receipts into their JSON form and back.
//
// The files: message.go, receipt.go, hello.go; name.go, for names in another case; and kept.go,
// for messages that a consumer keeps.
package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/store"
)

// The names of Waybill's own headers. They are part of the protocol: docs/protocol.md
// says what each means.
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
	Kind         = "waybill" // what a message is that is not a sender's: ReceiptKind or HelloKind
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
	m := broker.Message{Destination: r.Destination, Topic: r.Topic, Key: r.Key, Headers: waybillHeaders(r, attempt, o), Body: r.Body}
	if err := addSenders(&m, r.Headers); err != nil {
		return broker.Message{}, err
	}
	return m, nil
}

// waybillHeaders are Waybill's own headers for a row. The values that are made here share
// one string, so that a message costs one allocation for them.
func waybillHeaders(r *store.Row, attempt int, o Origin) []broker.Header {
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
	headers := append(make([]broker.Header, 0, 9),
		broker.Header{Name: MessageID, Value: all[:idEnd]},
		broker.Header{Name: TimeStamp, Value: all[idEnd:stampEnd]},
		broker.Header{Name: Sequence, Value: all[stampEnd:sequenceEnd]},
		broker.Header{Name: Producer, Value: o.Producer},
		broker.Header{Name: Attempt, Value: all[sequenceEnd:attemptEnd]})
	if r.Key != "" {
		headers = append(headers, broker.Header{Name: BusinessMark, Value: r.Key})
	}
	if r.Failures > 0 {
		headers = append(headers, broker.Header{Name: Failures, Value: all[attemptEnd:]})
	}
	if o.ReceiptTo != "" {
		headers = append(headers, broker.Header{Name: ReceiptTo, Value: o.ReceiptTo})
	}
	if o.Floor != "" {
		headers = append(headers, broker.Header{Name: Floor, Value: o.Floor})
	}
	return headers
}

// maxObject bounds the JSON text of headers: a byte of a value takes six at most.
const maxObject = 8 * waybill.MaxHeaderBytes

// addSenders adds the sender's own headers, a JSON object of strings or nothing.
func addSenders(m *broker.Message, object string) error {
	if object == "" {
		return nil
	}
	if len(object) > maxObject {
		return fmt.Errorf("headers take %d bytes of JSON, the limit for their names and values is %d", len(object), waybill.MaxHeaderBytes)
	}
	var own map[string]string
	if err := json.Unmarshal([]byte(object), &own); err != nil {
		return fmt.Errorf("headers are no JSON object of strings: %w", err)
	}
	if err := waybill.CheckHeaders(own); err != nil {
		return err
	}
	for name, value := range own {
		if name == ContentType {
			m.ContentType = value
			continue
		}
		m.Headers = append(m.Headers, broker.Header{Name: name, Value: value})
	}
	return nil
}

// Arrival is a received message, and what its headers tell the inbox alone.
type Arrival struct {
	Message   waybill.Message
	ReceiptTo string     // empty where the sender wants no receipts
	Floor     waybill.ID // zero where unknown
	Stated    bool       // there is a header messageId, usable or not

	problem error // what is wrong with one that has no usable id, besides that
}

// Named gives a message an id that has no usable one, and returns what else is wrong with it.
func (a *Arrival) Named(id waybill.ID) error {
	a.Message.ID = id
	return a.problem
}

// The bounds of what a message brings: more than a sender may use, since brokers and others
// on the way add headers, and foreign programs have rules of their own.
const (
	maxArrived      = 10 * waybill.MaxHeaders
	maxArrivedBytes = 4 * waybill.MaxHeaderBytes
)

// ErrNoID says that a message carries no usable identity, so that no guard can
// tell it from its copies.
var ErrNoID = errors.New("the message has no header messageId with a UUIDv7, and no identity of the broker's own that could stand for it")

// Decode reads a message that has arrived. One whose headers are beyond the bounds fails,
// and none of the sender's are kept. A name of Waybill's own may have come in another case; see
// name.go. Where it fails the Arrival holds what
// could be read: where that is an ID and a ReceiptTo, a receipt is still possible. One without
// a usable id is ErrNoID; see Named.
func Decode(m *broker.Message) (Arrival, error) {
	d := decoder{a: Arrival{Message: waybill.Message{Destination: m.Destination, Topic: m.Topic, Body: m.Body}}}
	bytes := 0
	for _, h := range m.Headers {
		bytes += len(h.Name) + len(h.Value)
	}
	if d.isBounded = len(m.Headers) <= maxArrived && bytes <= maxArrivedBytes; !d.isBounded {
		d.report(fmt.Errorf("the message has %d headers of %d bytes, the limits are %d and %d", len(m.Headers), bytes, maxArrived, maxArrivedBytes))
	}
	var others []recased
	for _, h := range m.Headers {
		if d.own(h) {
			continue
		}
		if own := otherCase(h.Name); own >= 0 {
			others = append(others, recased{own, h})
			continue
		}
		d.senders(h.Name, h.Value)
	}
	d.recasedHeaders(m, others)
	if m.ContentType != "" {
		d.senders(ContentType, m.ContentType)
	}
	if d.a.Message.ID.IsZero() {
		d.a.problem = d.problem
		return d.a, ErrNoID
	}
	return d.a, d.problem
}

// decoder reads one message's headers.
type decoder struct {
	a         Arrival
	problem   error // the first one
	isBounded bool
}

// own reads a header of Waybill's own; false says that it is none, in this case of its letters.
func (d *decoder) own(h broker.Header) bool {
	m := &d.a.Message
	switch h.Name {
	case MessageID:
		d.a.Stated = true
		if id, err := waybill.ParseID(h.Value); err == nil && id.IsV7() {
			m.ID = id
		}
	case BusinessMark:
		m.Key = h.Value
		d.check(h, waybill.CheckKey(h.Value))
	case TimeStamp:
		m.TimeStamp = d.number(h, 64)
	case Sequence:
		m.Sequence = d.number(h, 64)
	case Attempt:
		m.Attempt = int(d.number(h, 32))
	case Failures:
		m.Failures = int(d.number(h, 32))
	case Producer:
		m.Producer = h.Value
		d.check(h, waybill.CheckReceiptQueue(waybill.ReceiptPrefix+h.Value)) // as long as version 1 had it
	case ReceiptTo:
		d.a.ReceiptTo = h.Value
	case Floor:
		if floor, err := waybill.ParseID(h.Value); err == nil && floor.IsV7() {
			d.a.Floor = floor
		}
	case Kind:
	default:
		return false
	}
	return true
}

// senders keeps a header of the sender's own. Protocols whose headers are bytes may bring one
// that is no text: it is kept in hexadecimal.
func (d *decoder) senders(name, value string) {
	if !d.isBounded {
		return
	}
	if !utf8.ValidString(value) {
		value = fmt.Sprintf("0x%x", value)
	}
	if d.a.Message.Headers == nil {
		d.a.Message.Headers = make(map[string]string, 4)
	}
	d.a.Message.Headers[name] = value
}

// number reads a decimal number that is not negative.
func (d *decoder) number(h broker.Header, bits int) int64 {
	n, err := strconv.ParseInt(h.Value, 10, bits)
	if err != nil || n < 0 {
		d.report(fmt.Errorf("the header %s is %.40q and not a decimal number", h.Name, h.Value))
	}
	return max(n, 0)
}

// check reports what is wrong with a header's value.
func (d *decoder) check(h broker.Header, err error) {
	if err != nil {
		d.report(fmt.Errorf("the header %s %w", h.Name, err))
	}
}

func (d *decoder) report(err error) {
	if d.problem == nil {
		d.problem = err
	}
}
