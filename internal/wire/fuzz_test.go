package wire

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/store"
)

// What is taken for a receipt makes sense, and is the same receipt when it is sent on.
func FuzzDecodeReceipts(f *testing.F) {
	for _, seed := range []string{
		`{"consumer":"c","receipts":[{"id":"0192f3a0-0000-7000-8000-000000000000","outcome":"retry","after_ms":1e300,"error":"x"}]}`,
		`{"consumer":"c","receipts":[{"id":"0192f3a0-0000-7000-8000-000000000000","outcome":"done"},{"id":"x","outcome":"done"}]}`,
		`{"receipts":[{"id":"0192f3a0-0000-7000-8000-000000000000","outcome":"rejected","error":"\ud800 \u0000 ü","after_ms":-0.5}]}`,
		`{"receipts":[{"id":"0192f3a0-0000-7000-8000-000000000000","outcome":"perhaps"}]}`,
		`{"receipts":[{"id":7}]}`, `{"receipts":[null]}`, `{"receipts":null}`, `null`, `[]`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m := broker.Message{Headers: []broker.Header{{Name: Kind, Value: ReceiptKind}}, Body: body}
		consumer, receipts, bad, err := DecodeReceipts(&m)
		if (bad > 0) != (err != nil) {
			t.Errorf("got %d bad and the reason %v, want both or none", bad, err)
		}
		for _, r := range receipts {
			if r.Outcome != waybill.Done && r.Outcome != waybill.Retry && r.Outcome != waybill.Rejected {
				t.Errorf("got the outcome %q, want done, retry or rejected", r.Outcome)
			}
			if r.After < 0 || r.After > maxAfter {
				t.Errorf("got a delay of %v, want 0 to %v", r.After, maxAfter)
			}
			checkError(t, r.Error)
		}
		again := EncodeReceipts("ack.p", consumer, receipts)
		consumer2, receipts2, bad, err := DecodeReceipts(&again)
		if consumer2 != consumer || len(receipts) > 0 && !reflect.DeepEqual(receipts2, receipts) || bad != 0 || err != nil {
			t.Errorf("got  %q %+v, %d bad, %v\nwant %q %+v", consumer2, receipts2, bad, err, consumer, receipts)
		}
	})
}

// Whatever a handler's error says, its receipt arrives.
func FuzzEncodeReceipts(f *testing.F) {
	for _, seed := range []string{"", "no such order", "\"\\\x00\xff\u2028", strings.Repeat("\xffa", maxError/2), "x" + strings.Repeat("ü", maxError/2)} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, consumer, reason string) {
		r := waybill.Receipt{ID: waybill.NewID(), Outcome: waybill.Retry, After: maxAfter, Error: reason}
		m := EncodeReceipts("ack.p", consumer, []waybill.Receipt{r})
		if !json.Valid(m.Body) || !utf8.Valid(m.Body) {
			t.Fatalf("got the body %q, want JSON", m.Body)
		}
		consumer2, receipts, bad, err := DecodeReceipts(&m)
		if err != nil || bad != 0 || len(receipts) != 1 {
			t.Fatalf("got %+v, %d bad, %v, want one receipt", receipts, bad, err)
		}
		if utf8.ValidString(consumer) && consumer2 != consumer {
			t.Errorf("got the consumer %q, want %q", consumer2, consumer)
		}
		if got := receipts[0]; got.ID != r.ID || got.Outcome != r.Outcome || got.After != r.After {
			t.Errorf("got %+v, want %+v", got, r)
		}
		checkError(t, receipts[0].Error)
		if utf8.ValidString(reason) && len(reason) <= maxError && receipts[0].Error != reason {
			t.Errorf("got the error %q, want %q", receipts[0].Error, reason)
		}
	})
}

func checkError(t *testing.T, text string) {
	t.Helper()
	if !utf8.ValidString(text) || len(text) > maxError {
		t.Errorf("got an error of %d bytes, %q, want valid UTF-8 of at most %d", len(text), text, maxError)
	}
}

// Headers that are taken make a message that can be kept and sent on unchanged.
func FuzzDecode(f *testing.F) {
	f.Add("timeStamp", "7", "businessMark", "order 7", "text/plain")
	f.Add("sequence", "-1", "attempt", "99999999999999999999", "")
	f.Add("producer", "a b", "failures", "+1", "")
	f.Add("floor", "0192f3a0-0000-7000-8000-000000000000", "receiptTo", "ack.x", "")
	f.Add("messageId", "x", "traceparent", "00-0af7-01", "")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, contentType string) {
		id := waybill.NewID()
		a, err := Decode(&broker.Message{Destination: "orders", ContentType: contentType, Body: []byte("body"), Headers: []broker.Header{
			{Name: MessageID, Value: id.String()}, {Name: name1, Value: value1}, {Name: name2, Value: value2},
		}})
		m := &a.Message
		if err == nil && !m.ID.IsV7() {
			t.Errorf("got the ID %s and no error, want a UUIDv7", m.ID)
		}
		if m.TimeStamp < 0 || m.Sequence < 0 || m.Attempt < 0 || m.Failures < 0 {
			t.Errorf("got %+v, want no number below 0", m)
		}
		if err != nil {
			return
		}
		if problem := waybill.CheckKey(m.Key); problem != nil {
			t.Errorf("got the key %q, which %v", m.Key, problem)
		}
		for name, value := range m.Headers {
			if waybill.CheckHeader(name, value) != nil {
				return // a foreign program's; we would not send it
			}
		}
		headers, _ := json.Marshal(m.Headers)
		row := store.Row{
			MessageID: m.ID, Destination: m.Destination, Key: m.Key, Sequence: m.Sequence, TimeStamp: m.TimeStamp,
			Headers: string(headers), Body: m.Body, Failures: m.Failures,
		}
		origin := Origin{Producer: m.Producer, ReceiptTo: a.ReceiptTo}
		if !a.Floor.IsZero() {
			origin.Floor = a.Floor.String()
		}
		sent, err := Encode(&row, m.Attempt, origin)
		if err != nil {
			t.Fatalf("got %v, want %+v sent on", err, m)
		}
		again, err := Decode(&sent)
		if m.Producer == "" {
			err = nil // a relay always has a name
		}
		if len(m.Headers) == 0 {
			m.Headers = again.Message.Headers
		}
		if err != nil || !reflect.DeepEqual(again, a) {
			t.Errorf("got  %+v, %v\nwant %+v", again, err, a)
		}
	})
}

// Programs write rows by themselves. A row that is sent carries what its columns say
// and cannot pass for another message; any other is refused.
func FuzzEncodeRow(f *testing.F) {
	for _, seed := range []string{
		"", `{}`, `null`, `{"a":"b","content-type":"text/plain"}`, `{"messageId":"x"}`, `{"MESSAGEID":"x"}`,
		`{"a":1}`, `{"a":"\n"}`, `{"a":"\ud800"}`, `{"a":"1","a":"2"}`, `["a"]`, `{"a":null}`, `{"Content-Type":"a"}`,
	} {
		f.Add("orders", "order 7", seed)
	}
	f.Add("ack.p", "", "")
	f.Add("a b", "\x00", "")
	f.Fuzz(func(t *testing.T, destination, key, headers string) {
		row := store.Row{MessageID: waybill.NewID(), Destination: destination, Key: key, Headers: headers, TimeStamp: 5, Body: []byte("body")}
		m, err := Encode(&row, 1, Origin{Producer: "p", ReceiptTo: "ack.p"})
		if err != nil {
			return
		}
		if err := waybill.CheckDestination(m.Destination); err != nil {
			t.Errorf("got the destination %q, which %v", m.Destination, err)
		}
		var own map[string]string
		if headers != "" {
			if err := json.Unmarshal([]byte(headers), &own); err != nil {
				t.Fatalf("got no error, want one: the headers %q are none: %v", headers, err)
			}
		}
		if len(own) == 0 {
			own = nil
		}
		count := map[string]int{}
		for _, h := range m.Headers {
			if count[h.Name]++; count[h.Name] > 1 {
				t.Errorf("got two headers %s, want one", h.Name)
			}
			if _, mine := own[h.Name]; mine {
				if err := waybill.CheckHeader(h.Name, h.Value); err != nil {
					t.Error(err)
				}
			}
		}
		if m.ContentType == "" {
			delete(own, ContentType) // an empty one is none
		}
		if len(own) == 0 {
			own = nil
		}
		a, err := Decode(&m)
		want := Arrival{ReceiptTo: "ack.p", Stated: true, Message: waybill.Message{
			ID: row.MessageID, Destination: destination, Key: key, TimeStamp: 5, Producer: "p", Attempt: 1, Headers: own, Body: row.Body,
		}}
		if err != nil || !reflect.DeepEqual(a, want) {
			t.Errorf("got  %+v, %v\nwant %+v", a, err, want)
		}
	})
}
