package amqpmessage

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
)

// Producers other than Waybill use sections and types of their own.
func TestForeignBodiesAndPropertiesArriveAsBytesAndText(t *testing.T) {
	contentType, order, answers := "text/plain", "order", "queue://answers"
	json := "application/json"
	for name, c := range map[string]struct {
		in          amqp.Message
		body        string
		contentType string
		headers     map[string]string
	}{
		"several data sections": {in: amqp.Message{Data: [][]byte{[]byte("a"), []byte("b")}}, body: "ab"},
		"nothing at all":        {in: amqp.Message{}},
		"a JMS text message":    {in: amqp.Message{Value: "text", Properties: &amqp.MessageProperties{ContentType: &contentType}}, body: "text", contentType: contentType},
		"binary as a value":     {in: amqp.Message{Value: []byte{0, 1}}, body: "\x00\x01"},
		"null":                  {in: amqp.Message{Value: amqp.Null{}}},
		"a number":              {in: amqp.Message{Value: int64(-7)}, body: "-7"},
		"a time":                {in: amqp.Message{Value: time.UnixMilli(1).UTC()}, body: "1970-01-01T00:00:00.001Z"},
		"a map":                 {in: amqp.Message{Value: map[string]any{"n": int32(1), "l": []any{"x", true, nil}}}, body: `{"l":["x",true,null],"n":1}`, contentType: json},
		"a map with odd keys":   {in: amqp.Message{Value: map[any]any{int32(1): "b"}}, body: `{"1":"b"}`, contentType: json},
		"bytes in a map":        {in: amqp.Message{Value: map[string]any{"text": []byte("ab"), "raw": []byte{0xab}}}, body: `{"raw":"qw==","text":"YWI="}`, contentType: json},
		"a time in a list":      {in: amqp.Message{Value: []any{time.UnixMilli(1).UTC(), amqp.UUID{1}}}, body: `["1970-01-01T00:00:00.001Z","01000000-0000-0000-0000-000000000000"]`, contentType: json},
		"an array":              {in: amqp.Message{Value: map[string]any{"a": []int32{1, 2}}}, body: `{"a":[1,2]}`, contentType: json},
		"a list":                {in: amqp.Message{Value: []any{int8(1), "two", 3.5}}, body: `[1,"two",3.5]`, contentType: json},
		"a list with its type":  {in: amqp.Message{Value: []any{}, Properties: &amqp.MessageProperties{ContentType: &contentType}}, body: `[]`, contentType: contentType},
		"sequences":             {in: amqp.Message{Sequence: [][]any{{"a"}, {uint16(2)}}}, body: `["a",2]`, contentType: json},
		"the fields of JMS": {
			in:      amqp.Message{Value: "text", Properties: &amqp.MessageProperties{Subject: &order, CorrelationID: uint64(7), ReplyTo: &answers, MessageID: "ID:1"}},
			body:    "text",
			headers: map[string]string{"JMSType": order, "JMSCorrelationID": "7", "JMSReplyTo": answers},
		},
		"properties": {
			in: amqp.Message{ApplicationProperties: map[string]any{
				"b": true, "i": int32(-1), "u": uint64(1) << 63, "f": 1.5, "n": nil, "bin": []byte("x"), "raw": []byte{0xff, 0x00},
				"t": time.UnixMilli(1).UTC(), "s": amqp.Symbol("symbol"), "businessMark": int32(7),
				"receipt": "taken", "JMS_AMQP_NATIVE": true, "JMSXDeliveryCount": int32(2), "NATIVE_MESSAGE_ID": "ID:1", "__HDR_ARRIVAL": "0",
			}},
			headers: map[string]string{
				"b": "true", "i": "-1", "u": "9223372036854775808", "f": "1.5", "n": "", "bin": "x", "raw": "\xff\x00",
				"t": "1970-01-01T00:00:00.001Z", "s": "symbol", "businessMark": "7",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := Read(&c.in)
			if d.Problem != nil || string(d.Body) != c.body || d.ContentType != c.contentType {
				t.Errorf("the body is %q of the type %q, the problem %v; want %q of %q and none", d.Body, d.ContentType, d.Problem, c.body, c.contentType)
			}
			if len(d.Headers) != len(c.headers) {
				t.Errorf("headers %v, want %v", d.Headers, c.headers)
			}
			for name, want := range c.headers {
				if value, ok := d.Header(name); !ok || value != want {
					t.Errorf("header %s is %q (%v), want %q", name, value, ok, want)
				}
			}
			if want := c.headers["businessMark"]; d.Key != want {
				t.Errorf("Key is %q, want %q", d.Key, want)
			}
		})
	}
}

func TestABodyThatCannotBeReadIsAProblem(t *testing.T) {
	objectType := "application/x-java-serialized-object"
	serialized := []byte("\xac\xed\x00\x05")
	for name, c := range map[string]struct {
		in   amqp.Message
		want string
	}{
		"a Java object by its annotation":   {amqp.Message{Annotations: amqp.Annotations{"x-opt-jms-msg-type": int8(1)}, Data: [][]byte{serialized}}, "Java"},
		"a Java object by its content type": {amqp.Message{Properties: &amqp.MessageProperties{ContentType: &objectType}, Data: [][]byte{serialized}}, "Java"},
		"a number that JSON has not":        {amqp.Message{Value: map[string]any{"f": math.NaN()}}, "NaN"},
		"a small one that JSON has not":     {amqp.Message{Value: []any{float32(math.Inf(1))}}, "Inf"},
		"two keys that become one":          {amqp.Message{Value: map[any]any{int32(1): "a", "1": "b"}}, "two of its keys"},
		"an unknown type":                   {amqp.Message{Value: struct{ A int }{1}}, "struct"},
		"an unknown type in a list":         {amqp.Message{Value: []any{struct{ A int }{1}}}, "struct"},
	} {
		t.Run(name, func(t *testing.T) {
			d := Read(&c.in)
			if d.Problem == nil || !strings.Contains(d.Problem.Error(), c.want) {
				t.Errorf("the problem is %v; want one with %q", d.Problem, c.want)
			}
			if len(d.Body) == 0 {
				t.Error("the body is empty, want what there is of it")
			}
		})
	}
}

// A sender may give its message any content type.
func TestWhatARelayHasSentIsNoJavaObject(t *testing.T) {
	objectType := "application/x-java-serialized-object"
	d := Read(&amqp.Message{
		Properties:            &amqp.MessageProperties{ContentType: &objectType},
		ApplicationProperties: map[string]any{"attempt": "0"},
		Data:                  [][]byte{[]byte("\xac\xed\x00\x05")},
	})
	if d.Problem != nil || string(d.Body) != "\xac\xed\x00\x05" {
		t.Errorf("got the body %q, the problem %v; want it as it was sent", d.Body, d.Problem)
	}
}

func TestAnEncodedMessageIsReadLikeAnyOther(t *testing.T) {
	for name, c := range map[string]struct {
		in    amqp.Message
		hasID bool
	}{
		"with an id":    {amqp.Message{Properties: &amqp.MessageProperties{MessageID: uint64(7)}, Value: map[string]any{"a": "b"}}, true},
		"without an id": {amqp.Message{Value: map[string]any{"a": "b"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			encoded, err := c.in.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			d, hasID, err := Unmarshal(encoded)
			if err != nil || hasID != c.hasID || string(d.Body) != `{"a":"b"}` {
				t.Errorf("got the body %q, an id %v, %v; want the map, %v", d.Body, hasID, err, c.hasID)
			}
			for cut := range encoded {
				_, _, _ = Unmarshal(encoded[:cut]) // must not panic
			}
		})
	}
	if _, _, err := Unmarshal([]byte("no message")); err == nil {
		t.Error("got no error for what is no message, want one")
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte("\x00Sp\xd0\x00\x00\x00\x05\x00\x00\x00\x01A\x00Su\xa0\x04body"))
	f.Add([]byte("\x00Sw\xc1\x05\x02\xa1\x01nT\x05"))
	f.Fuzz(func(t *testing.T, encoded []byte) {
		d, _, err := Unmarshal(encoded)
		if err != nil {
			return
		}
		if _, ok := d.Header("receipt"); ok {
			t.Error("got a header that belongs to the brokers")
		}
		if value, _ := d.Header("businessMark"); value != d.Key {
			t.Errorf("got the key %q, want %q", d.Key, value)
		}
	})
}
