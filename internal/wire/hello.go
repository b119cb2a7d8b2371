package wire

import (
	"encoding/json"
	"fmt"

	"github.com/waybill-go/waybill/broker"
)

// HelloKind is the value of the header "waybill" on a message by which a relay tells
// whoever receives from its receipt queue who it is.
const HelloKind = "hello.v1"

// Hello is what a relay says of itself. Times are in µs since the Unix epoch, by the clock
// of its outbox's database.
type Hello struct {
	Holder string `json:"holder"` // its name in the lease
	Began  int64  `json:"began"`  // when it began to lead
	Now    int64  `json:"now"`    // when it said so
}

// EncodeHello makes the message that carries a hello.
func EncodeHello(receiptQueue string, h Hello) broker.Message {
	body, err := json.Marshal(h)
	if err != nil {
		panic(err) // what this type holds can always be marshaled
	}
	return broker.Message{
		Destination: receiptQueue,
		Headers:     []broker.Header{{Name: Kind, Value: HelloKind}},
		ContentType: "application/json",
		Body:        body,
	}
}

// DecodeHello reads a message that carries a hello.
func DecodeHello(m *broker.Message) (Hello, error) {
	var h Hello
	if err := json.Unmarshal(m.Body, &h); err != nil {
		return Hello{}, fmt.Errorf("the body is no hello: %w", err)
	}
	return h, nil
}
