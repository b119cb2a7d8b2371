package wire

import (
	"reflect"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/store"
)

func TestAMessageSurvivesTheWire(t *testing.T) {
	floor := waybill.NewID()
	row := store.Row{
		ID: 7, MessageID: waybill.NewID(), Destination: "orders", Key: "order 7", Sequence: 3, TimeStamp: 1_700_000_000_000_000,
		Headers: `{"content-type":"text/plain","traceparent":"00-a-b-c"}`, Body: []byte("body"), Failures: 2,
	}
	m, err := Encode(&row, 5, Origin{Producer: "shop", ReceiptTo: "ack.shop", Floor: floor.String()})
	if err != nil {
		t.Fatal(err)
	}
	a, err := Decode(&m)
	if err != nil {
		t.Fatal(err)
	}
	want := Arrival{ReceiptTo: "ack.shop", Floor: floor, Message: waybill.Message{
		ID: row.MessageID, Destination: "orders", Key: "order 7", Sequence: 3, TimeStamp: row.TimeStamp, Producer: "shop", Attempt: 5, Failures: 2,
		Headers: map[string]string{"content-type": "text/plain", "traceparent": "00-a-b-c"}, Body: []byte("body"),
	}}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("got  %+v\nwant %+v", a, want)
	}
}

func TestReceiptsSurviveTheWire(t *testing.T) {
	all := []waybill.Receipt{
		{ID: waybill.NewID(), Outcome: waybill.Done},
		{ID: waybill.NewID(), Outcome: waybill.Retry, After: 1500 * time.Millisecond, Error: "carrier \"API\": 503\n\x00"},
		{ID: waybill.NewID(), Outcome: waybill.Rejected, Error: "ünknown"},
	}
	m := EncodeReceipts("ack.shop", `ship"ping`, all)
	consumer, got, bad, err := DecodeReceipts(&m)
	if err != nil || bad != 0 || consumer != `ship"ping` || !reflect.DeepEqual(got, all) {
		t.Errorf("%q %+v %d %v", consumer, got, bad, err)
	}
	if m.Destination != "ack.shop" || m.ContentType != "application/json" {
		t.Errorf("%+v", m)
	}
}

func TestALongErrorIsCutAtACharacter(t *testing.T) {
	m := EncodeReceipts("ack.shop", "c", []waybill.Receipt{{ID: waybill.NewID(), Outcome: waybill.Retry, Error: "x" + strings.Repeat("ü", maxError)}})
	_, got, _, err := DecodeReceipts(&m)
	if err != nil || len(got) != 1 || len(got[0].Error) > maxError+3 {
		t.Errorf("%d bytes, %v", len(got[0].Error), err)
	}
}

func FuzzDecodeReceipts(f *testing.F) {
	f.Add([]byte(`{"consumer":"c","receipts":[{"id":"0192f3a0-0000-7000-8000-000000000000","outcome":"retry","after_ms":1e300,"error":"x"}]}`))
	f.Add([]byte(`{"receipts":[{"id":7}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m := broker.Message{Headers: []broker.Header{{Name: Kind, Value: ReceiptKind}}, Body: body}
		_, receipts, bad, err := DecodeReceipts(&m)
		if (bad > 0) != (err != nil) {
			t.Errorf("%d bad and %v", bad, err)
		}
		for _, r := range receipts {
			if r.After < 0 || r.After > maxAfter {
				t.Errorf("a delay of %v", r.After)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add("messageId", "0192f3a0-0000-7000-8000-000000000000", "timeStamp", "7")
	f.Add("sequence", "-1", "attempt", "99999999999999999999")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		m := broker.Message{Destination: "orders", Headers: []broker.Header{{Name: name1, Value: value1}, {Name: name2, Value: value2}}}
		a, err := Decode(&m)
		if err == nil && !a.Message.ID.IsV7() {
			t.Errorf("no error and the ID %s", a.Message.ID)
		}
		if a.Message.TimeStamp < 0 || a.Message.Sequence < 0 || a.Message.Attempt < 0 || a.Message.Failures < 0 {
			t.Errorf("%+v", a.Message)
		}
	})
}
