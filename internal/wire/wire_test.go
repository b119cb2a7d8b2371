package wire

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

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
	want := Arrival{ReceiptTo: "ack.shop", Floor: floor, Stated: true, Message: waybill.Message{
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

// A stranger's message of receipts is refused at once: a million receipts are not read.
func TestAMessageOfTooManyOrTooLargeReceiptsIsRefusedAndNotReadWhole(t *testing.T) {
	one := `{"id":"` + waybill.NewID().String() + `","outcome":"retry"}`
	for _, c := range []struct{ name, body, want string }{
		{"as many as there may be", `{"consumer":"c","receipts":[` + strings.Repeat(one+",", maxArrivedReceipts-1) + one + `]}`, ""},
		{"one more", `{"consumer":"c","receipts":[` + strings.Repeat(one+",", maxArrivedReceipts) + one + `]}`, "more than 10000"},
		{"of which the rest is no JSON", `{"consumer":"c","receipts":[` + strings.Repeat(one+",", maxArrivedReceipts) + one + `,\`, "more than 10000"},
		{"in several lists", `{"receipts":[` + one + `],` + strings.Repeat(`"receipts":[`+one+`],`, maxArrivedReceipts) + `"consumer":"c"}`, "more than 10000"},
		{"too large, and no JSON", strings.Repeat("x", maxArrivedReceiptBytes+1), "16777217 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := broker.Message{Headers: []broker.Header{{Name: Kind, Value: ReceiptKind}}, Body: []byte(c.body)}
			_, receipts, bad, err := DecodeReceipts(&m)
			if c.want == "" {
				if err != nil || bad != 0 || len(receipts) != maxArrivedReceipts {
					t.Errorf("got %d receipts, %d bad, %v; want all", len(receipts), bad, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || bad != 1 || receipts != nil {
				t.Errorf("got %d receipts, %d bad, %v; want none and %q", len(receipts), bad, err, c.want)
			}
		})
	}
}

func TestReceiptsThatDoNotFitAreLeftForTheNextMessage(t *testing.T) {
	var all []waybill.Receipt
	for i := range 3000 {
		all = append(all, waybill.Receipt{ID: waybill.NewID(), Outcome: waybill.Retry, Error: strings.Repeat("<\x00ü", i%300)})
	}
	for _, limit := range []int{1, 5000, 100_000, MaxReceiptBytes, 1 << 30} {
		rest, most := all, 0
		for len(rest) > 0 {
			m, n := PackReceipts("ack.shop", "c", rest, limit)
			_, got, bad, err := DecodeReceipts(&m)
			if err != nil || bad != 0 || n < 1 || !reflect.DeepEqual(got, rest[:n]) {
				t.Fatalf("at %d bytes: %d receipts of %d, %d bad, %v; want the first ones", limit, len(got), n, bad, err)
			}
			if len(m.Body) > limit && n > 1 || n > MaxReceipts {
				t.Fatalf("%d receipts are %d bytes, the limits are %d and %d", n, len(m.Body), MaxReceipts, limit)
			}
			rest, most = rest[n:], max(most, n)
		}
		if (most == 1) != (limit == 1) {
			t.Errorf("at %d bytes a message carries up to %d receipts", limit, most)
		}
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

// headers returns n headers with so many bytes in all.
func headers(n, bytes int) (all []broker.Header) {
	for i := range n {
		name := fmt.Sprintf("h%05d", i)
		all = append(all, broker.Header{Name: name, Value: strings.Repeat("v", max(bytes/n-len(name), 0))})
	}
	return all
}

func TestARowWhoseHeadersAreTooManyOrTooLargeIsRefused(t *testing.T) {
	object := func(all []broker.Header) string {
		m := map[string]string{}
		for _, h := range all {
			m[h.Name] = h.Value
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, c := range []struct{ name, headers, want string }{
		{"as many as there may be", object(headers(100, 60_000)), ""},
		{"escaped, and as large as they may be", `{"a":"` + strings.Repeat(`\u00e9`, 30_000) + `"}`, ""},
		{"too many", object(headers(10_000, 60_000)), "10000 headers"},
		{"too large", object(headers(10, 100_000)), "100000 bytes"},
		{"far too large", object(headers(10, 10<<20)), "bytes of JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Encode(&store.Row{MessageID: waybill.NewID(), Destination: "orders", Headers: c.headers}, 0, Origin{})
			if (c.want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), c.want) || len(err.Error()) > 500) {
				t.Errorf("got error %v, want %q", err, c.want)
			}
		})
	}
}

func TestAMessageThatArrivesWithTooManyOrTooLargeHeadersKeepsNoneOfThem(t *testing.T) {
	id := waybill.NewID()
	for _, c := range []struct {
		name   string
		extra  []broker.Header
		isKept bool
	}{
		{"many", headers(900, 200_000), true},
		{"too many", headers(10_000, 1000), false},
		{"too large", headers(20, 10<<20), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := broker.Message{Destination: "orders", Headers: append([]broker.Header{{Name: MessageID, Value: id.String()}, {Name: ReceiptTo, Value: "ack.shop"}}, c.extra...)}
			a, err := Decode(&m)
			if a.Message.ID != id || a.ReceiptTo != "ack.shop" {
				t.Errorf("got %v and %q, want the id and the queue for a receipt", a.Message.ID, a.ReceiptTo)
			}
			if c.isKept != (err == nil) || c.isKept != (len(a.Message.Headers) == len(c.extra)) || !c.isKept && a.Message.Headers != nil {
				t.Errorf("got %d headers and error %v, want them kept: %v", len(a.Message.Headers), err, c.isKept)
			}
		})
	}
}
