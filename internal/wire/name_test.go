package wire

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

func TestNamesInAnotherCaseAreOursWhereTheyCanBeNothingElse(t *testing.T) {
	id, other := waybill.NewID(), waybill.NewID()
	type read struct {
		id                  waybill.ID
		stated              bool
		key, receiptTo      string
		timeStamp, sequence int64
		producer            string
		headers             map[string]string
	}
	for _, c := range []struct {
		name    string
		headers map[string]string
		want    read
	}{
		{
			"as HTTP writes them",
			map[string]string{"Messageid": id.String(), "Businessmark": "k", "Receiptto": "ack.p", "Timestamp": "7", "Sequence": "3", "Producer": "p", "Attempt": "0", "Tenant": "a"},
			read{id: id, stated: true, key: "k", receiptTo: "ack.p", timeStamp: 7, sequence: 3, producer: "p", headers: map[string]string{"Tenant": "a"}},
		},
		{
			"in upper and in lower case",
			map[string]string{"MESSAGEID": id.String(), "businessmark": "k", "TIMESTAMP": "7"},
			read{id: id, stated: true, key: "k", timeStamp: 7},
		},
		{
			"the exact name goes before others",
			map[string]string{MessageID: id.String(), "MESSAGEID": other.String(), BusinessMark: "k", "BusinessMark": "x"},
			read{id: id, stated: true, key: "k", headers: map[string]string{"MESSAGEID": other.String(), "BusinessMark": "x"}},
		},
		{
			"also one that is not usable",
			map[string]string{MessageID: "4711", "MESSAGEID": other.String()},
			read{stated: true, headers: map[string]string{"MESSAGEID": other.String()}},
		},
		{
			"words that others use are theirs where the id's name is as it should be",
			map[string]string{MessageID: id.String(), "Timestamp": "yesterday", "Producer": "a b", "Sequence": "first", "businessmark": "k"},
			read{id: id, stated: true, key: "k", headers: map[string]string{"Timestamp": "yesterday", "Producer": "a b", "Sequence": "first"}},
		},
		{
			"and where there is none",
			map[string]string{"timestamp": "1790000000000", "SEQUENCE": "x", "BusinessMark": "k"},
			read{key: "k", headers: map[string]string{"timestamp": "1790000000000", "SEQUENCE": "x"}},
		},
		{
			"an id of somebody else's is none of ours",
			map[string]string{"MessageId": "order-1", "Timestamp": "noon"},
			read{headers: map[string]string{"MessageId": "order-1", "Timestamp": "noon"}},
		},
		{
			"of several the first usable one counts, in whatever order they come",
			map[string]string{"MESSAGEID": "4711", "MessageId": id.String(), "Messageid": other.String(), "BUSINESSMARK": "a", "Businessmark": "b"},
			read{id: id, stated: true, key: "a", headers: map[string]string{"MESSAGEID": "4711", "Messageid": other.String(), "Businessmark": "b"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			names := slices.Sorted(maps.Keys(c.headers))
			for range names { // each comes first once
				names = append(names[1:], names[0])
				var all []broker.Header
				for _, name := range names {
					all = append(all, broker.Header{Name: name, Value: c.headers[name]})
				}
				a, err := Decode(&broker.Message{Destination: "orders", Headers: all})
				if (err == nil) != !c.want.id.IsZero() {
					t.Errorf("got the error %v with the id %v", err, c.want.id)
				}
				m := a.Message
				got := read{m.ID, a.Stated, m.Key, a.ReceiptTo, m.TimeStamp, m.Sequence, m.Producer, m.Headers}
				if !reflect.DeepEqual(got, c.want) {
					t.Errorf("%q: got %+v, want %+v", names, got, c.want)
				}
			}
		})
	}
}

func TestAReceiptIsKnownInAnyCase(t *testing.T) {
	for _, name := range []string{"waybill", "Waybill", "WAYBILL"} {
		m := EncodeReceipts("ack.shop", "c", []waybill.Receipt{{ID: waybill.NewID(), Outcome: waybill.Done}})
		m.Headers[0].Name = name
		if _, receipts, bad, err := DecodeReceipts(&m); len(receipts) != 1 || bad != 0 || err != nil {
			t.Errorf("%s: got %d receipts, %d bad, %v; want one", name, len(receipts), bad, err)
		}
	}
	if kind, ok := KindOf(&broker.Message{Headers: []broker.Header{{Name: "WAYBILL", Value: "x"}, {Name: Kind, Value: HelloKind}}}); kind != HelloKind || !ok {
		t.Errorf("got %q, %v; want that of the exact name", kind, ok)
	}
}
