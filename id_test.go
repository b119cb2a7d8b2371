package waybill_test

import (
	"encoding/json"
	"fmt"
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
	if got := id.Time(); !got.Equal(at) {
		t.Errorf("got the time %v, want %v", got, at)
	}
	for _, c := range []struct {
		what      string
		low, high waybill.ID
	}{
		{"the lowest ID of a millisecond and one of it", waybill.LowestID(at), id},
		{"an ID and the lowest one of the next millisecond", id, waybill.LowestID(at.Add(time.Millisecond))},
		{"two IDs of one millisecond", id, waybill.NewIDAt(at.Add(500 * time.Microsecond))},
	} {
		t.Run(c.what, func(t *testing.T) {
			if c.low.Compare(c.high) >= 0 || !c.low.IsV7() {
				t.Errorf("got %s, want a UUIDv7 below %s", c.low, c.high)
			}
		})
	}
}

func TestAnIDSurvivesItsTextForms(t *testing.T) {
	id := waybill.NewID()
	if parsed, err := waybill.ParseID(strings.ToUpper(id.String())); err != nil || parsed != id {
		t.Errorf("got %s, %v from upper case, want %s", parsed, err, id)
	}
	text, err := json.Marshal(map[string]waybill.ID{"id": id})
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]waybill.ID
	if err := json.Unmarshal(text, &back); err != nil || back["id"] != id {
		t.Errorf("got %s, %v from the JSON %s, want %s", back["id"], err, text, id)
	}
}

func TestAnIDIsReadFromWhateverAColumnHolds(t *testing.T) {
	id := waybill.NewID()
	for _, c := range []struct {
		value any
		want  waybill.ID
		fails bool
	}{
		{value: id.String(), want: id},
		{value: []byte(id.String()), want: id},
		{value: id[:], want: id},
		{value: [16]byte(id), want: id},
		{value: nil, want: waybill.ID{}},
		{value: 7, fails: true},
		{value: "", fails: true},
	} {
		t.Run(fmt.Sprintf("%T %.20q", c.value, fmt.Sprint(c.value)), func(t *testing.T) {
			var got waybill.ID
			if err := got.Scan(c.value); got != c.want || (err != nil) != c.fails {
				t.Errorf("got %s, %v; want %s, an error: %t", got, err, c.want, c.fails)
			}
		})
	}
}

func TestWhatIsNoUUIDIsNotParsed(t *testing.T) {
	id := waybill.NewID().String()
	for _, text := range []string{"", "x", id + "0", strings.ReplaceAll(id, "-", "_"), strings.Repeat("g", 8) + id[8:]} {
		t.Run(text, func(t *testing.T) {
			if got, err := waybill.ParseID(text); err == nil {
				t.Errorf("got %s from %q, want an error", got, text)
			}
		})
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
