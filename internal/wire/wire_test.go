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
		t.Errorf("got  %q %+v, %d bad, %v\nwant %q %+v", consumer, got, bad, err, `ship"ping`, all)
	}
	if m.Destination != "ack.shop" || m.ContentType != "application/json" {
		t.Errorf("got a message to %q of type %q, want one to ack.shop of type application/json", m.Destination, m.ContentType)
	}
}

func TestALongErrorIsCutAtACharacter(t *testing.T) {
	for _, c := range []struct{ name, reason string }{
		{"of two bytes", "x" + strings.Repeat("ü", maxError)},
		{"that is not valid", strings.Repeat("\xffa", maxError)},
		{"of four bytes", strings.Repeat("🚚", maxError)},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := EncodeReceipts("ack.shop", "c", []waybill.Receipt{{ID: waybill.NewID(), Outcome: waybill.Retry, Error: c.reason}})
			_, receipts, _, err := DecodeReceipts(&m)
			if err != nil || len(receipts) != 1 {
				t.Fatalf("got %+v, %v, want one receipt", receipts, err)
			}
			got := receipts[0].Error
			if n := len(got); n > maxError || n < maxError-utf8.UTFMax {
				t.Errorf("got %d bytes, want %d, or up to %d less", n, maxError, utf8.UTFMax)
			}
			if want := strings.ToValidUTF8(c.reason, "\uFFFD"); !strings.HasPrefix(want, got) {
				t.Errorf("got an error that ends with %q, want the beginning of %.10q…", got[len(got)-10:], want)
			}
		})
	}
}
