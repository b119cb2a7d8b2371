// Package amqpmessage reads messages of AMQP 1.0 for the two adapters that meet them: amqp1,
// which receives them (Read), and stomp, which ActiveMQ Classic hands such a message encoded,
// as the body of a frame (Unmarshal). It is one place, so that a message is the same whichever
// adapter receives it.
package amqpmessage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/amqpvalue"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

// Read returns a message as Receive does, without a token and the destination. What cannot
// be read of its body is the delivery's Problem.
func Read(in *amqp.Message) broker.Delivery {
	var d broker.Delivery
	if in.Header != nil {
		d.Redelivered = in.Header.DeliveryCount > 0
	}
	d.Headers = make([]broker.Header, 0, len(in.ApplicationProperties)+3)
	contentType := ""
	for name, value := range in.ApplicationProperties {
		if name == "content-type" {
			contentType = text(value) // it came by STOMP
		}
		if !jmsbroker.ReservedHeader(name) {
			d.Headers = append(d.Headers, broker.Header{Name: name, Value: text(value)})
		}
	}
	if p := in.Properties; p != nil {
		if p.ContentType != nil {
			d.ContentType = *p.ContentType
		}
		if p.Subject != nil {
			d.Headers = append(d.Headers, broker.Header{Name: jmsbroker.TypeHeader, Value: *p.Subject})
		}
		if p.CorrelationID != nil {
			d.Headers = append(d.Headers, broker.Header{Name: jmsbroker.CorrelationHeader, Value: text(p.CorrelationID)})
		}
		if p.ReplyTo != nil {
			d.Headers = append(d.Headers, broker.Header{Name: jmsbroker.ReplyHeader, Value: *p.ReplyTo})
		}
	}
	if contentType != "" {
		d.ContentType = contentType
	}
	jmsbroker.Restore(&d.Message)
	var isJSON bool
	if d.Body, isJSON, d.Problem = body(in); isJSON && d.ContentType == "" {
		d.ContentType = "application/json"
	}
	if d.Problem == nil && isObject(in, &d) {
		d.Problem = errObject
	}
	return d
}

// Unmarshal reads an encoded message as Read does; hasID says that its sender gave it an id.
// An error says that it cannot be decoded.
func Unmarshal(encoded []byte) (d broker.Delivery, hasID bool, err error) {
	var in amqp.Message
	if err := in.UnmarshalBinary(encoded); err != nil {
		return broker.Delivery{}, false, fmt.Errorf("the encoded AMQP message cannot be read: %w", err)
	}
	return Read(&in), in.Properties != nil && in.Properties.MessageID != nil, nil
}

// kindAnnotation is what JMS clients and both brokers say of a message's kind; objectKind is
// that of an ObjectMessage.
const (
	kindAnnotation = "x-opt-jms-msg-type"
	objectKind     = "1"
)

// objectType is the content type of an ObjectMessage. Classic says nothing else of one that came
// by OpenWire.
const objectType = "application/x-java-serialized-object"

// isObject reports whether a message is an ObjectMessage of JMS. A relay's own message is none,
// whatever content type its sender gave it.
func isObject(in *amqp.Message, d *broker.Delivery) bool {
	if _, isOurs := d.Header("attempt"); isOurs {
		return false
	}
	kind, ok := in.Annotations[kindAnnotation]
	return ok && fmt.Sprint(kind) == objectKind || d.ContentType == objectType
}

// errObject is the problem of an ObjectMessage of JMS.
var errObject = errors.New("the body is a serialized Java object (JMS's ObjectMessage), which only Java can read: send text or bytes")

// body returns the bytes of a message's body. Producers other than Waybill may use other
// sections: JMS sends text as a value, and a MapMessage or StreamMessage as a map or list,
// which becomes JSON.
func body(in *amqp.Message) (data []byte, isJSON bool, problem error) {
	switch {
	case len(in.Data) == 1:
		return in.Data[0], false, nil
	case len(in.Data) > 1:
		return bytes.Join(in.Data, nil), false, nil
	case len(in.Sequence) > 0:
		var all []any
		for _, section := range in.Sequence {
			all = append(all, section...)
		}
		return structured(all)
	}
	switch value := in.Value.(type) {
	case nil, amqp.Null:
		return []byte{}, false, nil
	case []byte:
		return value, false, nil
	case amqp.UUID, time.Time:
		return []byte(text(value)), false, nil
	}
	switch reflect.TypeOf(in.Value).Kind() {
	case reflect.Map, reflect.Slice, reflect.Array:
		return structured(in.Value)
	case reflect.Struct, reflect.Pointer:
		problem = fmt.Errorf("the body is an AMQP value of the type %T, which cannot be read", in.Value)
	}
	return []byte(text(in.Value)), false, problem
}

// structured returns a list or map as JSON: bytes within it are base64, times RFC 3339.
func structured(value any) (data []byte, isJSON bool, problem error) {
	plain, err := plain(value)
	if err == nil {
		data, err = json.Marshal(plain)
	}
	if err != nil {
		return []byte(fmt.Sprint(value)), false, fmt.Errorf("the body is an AMQP map or list that JSON cannot hold: %w", err)
	}
	return data, true, nil
}

// plain turns a value into one that JSON has.
func plain(value any) (any, error) {
	switch value := value.(type) {
	case nil, amqp.Null:
		return nil, nil
	case []byte:
		return value, nil // base64, always: text and bytes are told apart by their types
	case float32:
		return value, finite(float64(value))
	case float64:
		return value, finite(value)
	case amqp.UUID, time.Time:
		return text(value), nil
	}
	v := reflect.ValueOf(value)
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		out := make([]any, v.Len())
		for i := range out {
			var err error
			if out[i], err = plain(v.Index(i).Interface()); err != nil {
				return nil, err
			}
		}
		return out, nil
	case reflect.Map:
		out := make(map[string]any, v.Len())
		for _, k := range v.MapKeys() {
			name := text(k.Interface())
			if _, twice := out[name]; twice {
				return nil, fmt.Errorf("two of its keys are %.40q", name)
			}
			var err error
			if out[name], err = plain(v.MapIndex(k).Interface()); err != nil {
				return nil, err
			}
		}
		return out, nil
	case reflect.Bool, reflect.String, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return value, nil
	}
	return nil, fmt.Errorf("it holds a value of the type %T", value)
}

// finite says that JSON has no such number, or returns nil.
func finite(f float64) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("it holds the number %v", f)
	}
	return nil
}

// text returns a property's value as text.
func text(value any) string {
	text, ok := amqpvalue.Text(value)
	if !ok {
		text = strings.TrimSpace(text)
	}
	return text
}
