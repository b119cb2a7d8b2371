package wire

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
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
	for _, reason := range []string{"x" + strings.Repeat("ü", maxError), strings.Repeat("\xffa", maxError), strings.Repeat("🚚", maxError)} {
		m := EncodeReceipts("ack.shop", "c", []waybill.Receipt{{ID: waybill.NewID(), Outcome: waybill.Retry, Error: reason}})
		_, got, _, err := DecodeReceipts(&m)
		if err != nil || len(got) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		if n := len(got[0].Error); n > maxError || n < maxError-utf8.UTFMax || !strings.HasPrefix(strings.ToValidUTF8(reason, "\uFFFD"), got[0].Error) {
			t.Errorf("%.10q is cut to %d bytes, the last %q", reason, n, got[0].Error[n-10:])
		}
	}
}
