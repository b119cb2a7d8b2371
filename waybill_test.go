package waybill_test

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
)

func TestIDsOfOneProcessIncrease(t *testing.T) {
	var all [4][]waybill.ID
	var makers sync.WaitGroup
	for i := range all {
		makers.Go(func() {
			for range 10_000 {
				all[i] = append(all[i], waybill.NewID())
			}
		})
	}
	makers.Wait()
	seen := map[waybill.ID]bool{}
	for _, ids := range all {
		if !slices.IsSortedFunc(ids, waybill.ID.Compare) {
			t.Error("the IDs of one goroutine are not in order")
		}
		for _, id := range ids {
			if seen[id] {
				t.Fatalf("%s was minted twice", id)
			}
			if seen[id] = true; !id.IsV7() {
				t.Fatalf("%s is no UUIDv7", id)
			}
		}
	}
}

func TestAnIDTellsItsTimeAndComparesByIt(t *testing.T) {
	at := time.Date(2024, 2, 29, 12, 30, 0, 123e6, time.UTC)
	id := waybill.NewIDAt(at)
	if !id.Time().Equal(at) {
		t.Errorf("%v, want %v", id.Time(), at)
	}
	if lowest := waybill.LowestID(at); lowest.Compare(id) > 0 || !lowest.IsV7() || waybill.LowestID(at.Add(time.Millisecond)).Compare(id) <= 0 {
		t.Errorf("the lowest ID %s of %v does not bound %s", lowest, at, id)
	}
	if waybill.NewIDAt(at.Add(time.Microsecond*500)).Compare(waybill.LowestID(at)) < 0 {
		t.Error("microseconds are out of order")
	}
}

func TestAnIDSurvivesItsTextForms(t *testing.T) {
	id := waybill.NewID()
	parsed, err := waybill.ParseID(strings.ToUpper(id.String()))
	if err != nil || parsed != id {
		t.Errorf("%s became %s: %v", id, parsed, err)
	}
	text, err := json.Marshal(map[string]waybill.ID{"id": id})
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]waybill.ID
	if err := json.Unmarshal(text, &back); err != nil || back["id"] != id {
		t.Errorf("%s: %v", text, err)
	}
	for _, value := range []any{id.String(), []byte(id.String()), id[:], [16]byte(id)} {
		var scanned waybill.ID
		if err := scanned.Scan(value); err != nil || scanned != id {
			t.Errorf("from a %T: %s, %v", value, scanned, err)
		}
	}
	var scanned waybill.ID
	if err := scanned.Scan(nil); err != nil || !scanned.IsZero() {
		t.Errorf("from NULL: %s, %v", scanned, err)
	}
	if err := scanned.Scan(7); err == nil {
		t.Error("an ID was read from a number")
	}
	for _, bad := range []string{"", "x", id.String() + "0", strings.ReplaceAll(id.String(), "-", "_"), strings.Repeat("g", 8) + id.String()[8:]} {
		if _, err := waybill.ParseID(bad); err == nil {
			t.Errorf("%q was taken for an ID", bad)
		}
	}
}

// A text is an ID where it is one in every column that may hold it, and is the same.
func FuzzParseID(f *testing.F) {
	for _, seed := range []string{
		waybill.NewID().String(), "00000000-0000-0000-0000-000000000000", "FFFFFFFF-ffff-7fff-8FFF-ffffffffffff",
		"{01890a5d-ac96-774b-bcce-b302099a8057}", "01890a5dac96774bbcceb302099a8057", "sixteen bytes it", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := waybill.ParseID(s)
		if err == nil && !strings.EqualFold(id.String(), s) {
			t.Errorf("%q became %s", s, id)
		}
		if again, err := waybill.ParseID(id.String()); err != nil || again != id {
			t.Errorf("%s became %s, %v", id, again, err)
		}
		var column waybill.ID
		if scanErr := column.Scan(s); (scanErr == nil) != (err == nil) || column != id {
			t.Errorf("%q: parsed %s, %v, and scanned %s, %v", s, id, err, column, scanErr)
		}
		if scanErr := column.Scan([]byte(s)); (scanErr == nil) != (err == nil || len(s) == 16) {
			t.Errorf("%q: parsed with %v and scanned as bytes with %v", s, err, scanErr)
		}
	})
}

func TestNamesAreCheckedByTheirRules(t *testing.T) {
	long, tooLong := strings.Repeat("ü", 255), strings.Repeat("ü", 256)
	for _, good := range []string{"orders", "a.b/c:d-e_f", "Größe", "ackorders", "ac", long} {
		if err := waybill.CheckDestination(good); err != nil {
			t.Errorf("%.20q: %v", good, err)
		}
	}
	for _, bad := range []string{"", tooLong, "a b", "a\tb", "a*", "a>", "a,b", "a?b", "a#", "50%", "ack.x", "ACK.x", "\xff", "a\u00a0b"} {
		if err := waybill.CheckDestination(bad); err == nil {
			t.Errorf("%.20q was taken", bad)
		}
	}
	if err := waybill.CheckProducer(long); err == nil {
		t.Error("a producer's name leaves no room for the receipt queue's prefix")
	}
	for _, good := range []string{"", "order 7", " x ", "a:b\\c", long} {
		if err := waybill.CheckKey(good); err != nil {
			t.Errorf("key %.20q: %v", good, err)
		}
	}
}
