package jsonl

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
)

// received is the line of a message that was handled. Its names are part of the
// protocol.
type received struct {
	MessageID   waybill.ID        `json:"message_id"`
	Destination string            `json:"destination"`
	Key         string            `json:"key"`
	TimeStamp   int64             `json:"time_stamp"`
	Sequence    int64             `json:"sequence"`
	Attempt     int               `json:"attempt"`
	Headers     map[string]string `json:"headers"`
	Body        *string           `json:"body,omitempty"`
	BodyBase64  []byte            `json:"body_base64,omitempty"`
}

// Encode is the line of a message that was received, with its end. A body that is
// no UTF-8 stands in "body_base64" in place of "body".
func Encode(m *waybill.Message) ([]byte, error) {
	r := received{
		MessageID: m.ID, Destination: m.Destination, Key: m.Key, TimeStamp: m.TimeStamp,
		Sequence: m.Sequence, Attempt: m.Attempt, Headers: m.Headers,
	}
	if r.Headers == nil {
		r.Headers = map[string]string{}
	}
	if utf8.Valid(m.Body) {
		body := string(m.Body)
		r.Body = &body
	} else {
		r.BodyBase64 = m.Body
	}
	return Marshal(r)
}

// Marshal is a value as one line of JSON, with its end. What a person reads, such as
// '<', stays as it is.
func Marshal(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
