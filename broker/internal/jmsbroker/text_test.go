package jmsbroker

import (
	"bytes"
	"strings"
	"testing"

	"github.com/Azure/go-amqp"
)

func TestTheBodyIsTakenOutOfAnEncodedMessage(t *testing.T) {
	text := "text/plain"
	header := &amqp.MessageHeader{Durable: true, Priority: 9}
	for name, c := range map[string]struct {
		message amqp.Message
		want    string
		wrong   bool
	}{
		"data":         {message: amqp.Message{Data: [][]byte{[]byte("body")}}, want: "body"},
		"several":      {message: amqp.Message{Data: [][]byte{[]byte("a"), {}, []byte("b")}}, want: "ab"},
		"large":        {message: amqp.Message{Header: header, Data: [][]byte{bytes.Repeat([]byte{0}, 70_000)}}, want: strings.Repeat("\x00", 70_000)},
		"none":         {message: amqp.Message{Header: header}},
		"text":         {message: amqp.Message{Value: "täxt"}, want: "täxt"},
		"binary value": {message: amqp.Message{Value: []byte{0, 1}}, want: "\x00\x01"},
		"null":         {message: amqp.Message{Value: amqp.Null{}}},
		"a list":       {message: amqp.Message{Value: []any{int32(1)}}, wrong: true},
		"a sequence":   {message: amqp.Message{Sequence: [][]any{{"x"}}}, wrong: true},
		"every section": {want: "body", message: amqp.Message{
			Header: header, DeliveryAnnotations: amqp.Annotations{"a": int64(1)}, Annotations: amqp.Annotations{"x-opt-b": "c", "n": nil, "d": 1.5},
			Properties:            &amqp.MessageProperties{ContentType: &text, MessageID: "id", CorrelationID: amqp.UUID{1}, UserID: []byte("u")},
			ApplicationProperties: map[string]any{"s": strings.Repeat("v", 300), "b": true, "i": int8(1), "u": uint64(1) << 40, "list": "x"},
			Footer:                amqp.Annotations{"f": []byte{1}}, Data: [][]byte{[]byte("body")},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			encoded, err := c.message.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			body, err := NativeBody(encoded)
			if (err != nil) != c.wrong || string(body) != c.want {
				t.Errorf("got %.40q, %v; want %.40q", body, err, c.want)
			}
			for cut := range min(len(encoded), 300) {
				_, _ = NativeBody(encoded[:cut]) // must not panic
			}
		})
	}
}

func FuzzNativeBody(f *testing.F) {
	f.Add([]byte("\x00Sp\xd0\x00\x00\x00\x05\x00\x00\x00\x01A\x00Su\xa0\x04body"))
	f.Fuzz(func(t *testing.T, message []byte) { _, _ = NativeBody(message) })
}

func TestModifiedUTF8BecomesUTF8(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"plain":                      "plain",
		"ümläut 漢字 🚚":                "ümläut 漢字 🚚",
		"\xed\xa0\xbd\xed\xba\x9a":   "🚚",
		"a\xc0\x80b":                 "a\x00b",
		"\xed\xa0\xbd":               "\xed\xa0\xbd", // half of a pair
		"\xed\xba\x9a\xed\xa0\xbd":   "\xed\xba\x9a\xed\xa0\xbd",
		"\xff\xed\xa0\xbd\xed\xba":   "\xff\xed\xa0\xbd\xed\xba",
		"x\xed\xa0\xbd\xed\xba\x9ay": "x🚚y",
	} {
		t.Run(want, func(t *testing.T) {
			if got := FromModifiedUTF8([]byte(in)); string(got) != want {
				t.Errorf("%q: got %q, want %q", in, got, want)
			}
		})
	}
}
