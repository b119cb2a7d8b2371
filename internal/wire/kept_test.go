package wire

import (
	"errors"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

func TestTheIDOfAMessageWithoutOneIsItsIdentitys(t *testing.T) {
	at := time.UnixMilli(1700000000123)
	one := broker.Identity{Place: "orders", Part: 1, Number: 7, Name: "ID:1", Time: at.Add(456 * time.Microsecond)}
	id := NativeID(one, "orders", false)
	if !id.IsV7() || !id.Time().Equal(at) {
		t.Errorf("got %s of %v, want a UUIDv7 of %v", id, id.Time(), at)
	}
	if again := NativeID(one, "orders", false); again != id {
		t.Errorf("got %s and %s, want one id of one identity", id, again)
	}
	seen := map[waybill.ID]string{id: "the first"}
	for name, other := range map[string]waybill.ID{
		"another place":           NativeID(broker.Identity{Place: "prices", Part: 1, Number: 7, Name: "ID:1", Time: one.Time}, "orders", false),
		"another part":            NativeID(broker.Identity{Place: "orders", Part: 2, Number: 7, Name: "ID:1", Time: one.Time}, "orders", false),
		"another number":          NativeID(broker.Identity{Place: "orders", Part: 1, Number: 8, Name: "ID:1", Time: one.Time}, "orders", false),
		"another name":            NativeID(broker.Identity{Place: "orders", Part: 1, Number: 7, Name: "ID:2", Time: one.Time}, "orders", false),
		"the number used anew":    NativeID(broker.Identity{Place: "orders", Part: 1, Number: 7, Name: "ID:1", Time: one.Time.Add(1)}, "orders", false),
		"another destination":     NativeID(one, "copies", false),
		"a topic of the one name": NativeID(one, "orders", true),
	} {
		if was, ok := seen[other]; ok || !other.IsV7() {
			t.Errorf("%s: got %s, as %s has, want another one", name, other, was)
		}
		seen[other] = name
	}
	for name, i := range map[string]broker.Identity{
		"nothing": {}, "no time": {Place: "orders", Number: 7}, "a time alone": {Time: at}, "a time before 1970": {Name: "ID:1", Time: time.UnixMilli(-5)},
	} {
		if id := NativeID(i, "orders", false); !id.IsZero() {
			t.Errorf("%s: got %s, want no id", name, id)
		}
	}
}

func TestOnlyAMessageThatNamesNoIDGetsOne(t *testing.T) {
	other := waybill.NewID()
	for name, c := range map[string]struct {
		headers []broker.Header
		stated  bool
	}{
		"none":         {nil, false},
		"no UUID":      {[]broker.Header{{Name: MessageID, Value: "7"}}, true},
		"no UUIDv7":    {[]broker.Header{{Name: MessageID, Value: "8f14e45f-ceea-467f-9575-6f5a4f5a4f5a"}}, true},
		"a receiptTo":  {[]broker.Header{{Name: ReceiptTo, Value: "ack.shop"}}, false},
		"others alone": {[]broker.Header{{Name: "x", Value: "y"}}, false},
	} {
		a, err := Decode(&broker.Message{Headers: c.headers})
		if !errors.Is(err, ErrNoID) || a.Stated != c.stated {
			t.Errorf("%s: got stated %v, error %v, want %v and that there is no id", name, a.Stated, err, c.stated)
		}
		if err := a.Named(other); err != nil || a.Message.ID != other {
			t.Errorf("%s: got %v, error %v, want the id that was given", name, a.Message.ID, err)
		}
	}
	a, _ := Decode(&broker.Message{Headers: []broker.Header{{Name: TimeStamp, Value: "seven"}}})
	if err := a.Named(other); err == nil || !strings.Contains(err.Error(), "seven") {
		t.Errorf("got error %v of a wrong time stamp, want one that says so", err)
	}
}

func TestKeptHeadersComeBackAsTheyWere(t *testing.T) {
	m := broker.Message{ContentType: "text/x", Headers: []broker.Header{
		{Name: "a", Value: "1"}, {Name: "a", Value: "2"}, {Name: "ü \"\\", Value: "\x00\n<>&😀"}, {Name: "raw", Value: "\xff\xfe"}, {Name: "", Value: ""},
		{Name: "brace", Value: `{"base64":"x"}`},
	}}
	text := EncodeHeaders(&m)
	if strings.ContainsRune(text, 0) {
		t.Errorf("got %q, want no NUL in it", text)
	}
	got, err := DecodeHeaders(text)
	if err != nil {
		t.Fatal(err)
	}
	want := append(m.Headers[:len(m.Headers):len(m.Headers)], broker.Header{Name: ContentType, Value: "text/x"})
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("header %d: got %q, want %q", i, got[i], want[i])
		}
	}
	for _, bad := range []string{"", "[]", `{"a":1}`, `{"a":"b"`, `{} {}`, `{"a":{"base64":7}}`} {
		if _, err := DecodeHeaders(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestADeliverysNameFitsItsColumn(t *testing.T) {
	id := waybill.NewID()
	if name := DeliveryName(broker.Identity{}, id); name != id.String() {
		t.Errorf("without an identity: got %q, want %s", name, id)
	}
	for _, long := range []string{strings.Repeat("x", 300), strings.Repeat("😀", 100)} {
		a, b := DeliveryName(broker.Identity{Name: long + "1"}, id), DeliveryName(broker.Identity{Name: long + "2"}, id)
		if len(a) > deliveryBytes || a == b {
			t.Errorf("got %q and %q, want two short ones", a, b)
		}
	}
}
