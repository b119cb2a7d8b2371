package admin

import (
	"fmt"
	"slices"
	"testing"

	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/store"
)

func TestTheBusiestDestinationsAreRemembered(t *testing.T) {
	var x flows
	counts := map[laneName][kinds]int64{}
	note := func() {
		now := make(map[laneName][kinds]int64, len(counts))
		for lane, n := range counts {
			now[lane] = n
		}
		x.note(now, 2)
	}
	at := func(i int) laneName { return laneName{name: fmt.Sprintf("d%04d", i)} }
	for i := range 1000 {
		counts[at(i)] = [kinds]int64{1000}
	}
	note() // nobody knows how long that took
	if len(x.of) != 0 {
		t.Fatalf("got the rates of %d destinations, want none yet", len(x.of))
	}
	for i := range 1000 {
		counts[at(i)] = [kinds]int64{1000 + int64(i)*2, int64(i)}
	}
	note()
	for i := range 1000 {
		f, want := x.of[at(i)], i >= 1000-flowsMost
		if (f != nil) != want {
			t.Fatalf("of %d: got %v, want the busiest %d", i, f, flowsMost)
		}
		if f != nil && (f[0][0] != float64(i) || f[1][0] != float64(i)/2 || f[2][0] != 0) {
			t.Errorf("of %d: got %v, want %d and half of that a second", i, f, i)
		}
	}
	counts[at(0)] = [kinds]int64{1000 + 3200} // 1,600 a second: busier than some, and all others stand still
	counts[at(1)] = [kinds]int64{1004}        // not busier
	note()
	if x.of[at(0)] == nil || x.of[at(1)] != nil || x.of[at(1000-flowsMost)] != nil || len(x.of) != flowsMost {
		t.Errorf("got %v, %v and %v of %d, want the newcomer in the place of the least busy", x.of[at(0)], x.of[at(1)], x.of[at(1000-flowsMost)], len(x.of))
	}
	counts[at(999)] = [kinds]int64{10} // it counts anew
	delete(counts, at(998))
	note()
	if f := x.of[at(999)]; f[0][2] != 5 {
		t.Errorf("counted anew: got %v, want 5 a second", f[0])
	}
	if f := x.of[at(998)]; !slices.Equal(f[0], []float64{998, 0, 0}) {
		t.Errorf("gone: got %v, want that nothing moves", f[0])
	}
	for range flowSamples {
		note()
	}
	if len(x.of) != 0 {
		t.Errorf("got the rates of %d destinations at which nothing moves, want none", len(x.of))
	}
}

func TestTheRatesOfSeveralInboxesAreOne(t *testing.T) {
	var x flows
	inboxes := []inbox.Stats{
		{Destinations: []inbox.DestinationStats{{Destination: "orders", Handled: 1}, {Destination: "orders", Topic: true}}},
		{Destinations: []inbox.DestinationStats{{Destination: "orders", Handled: 2, Duplicates: 3}}},
	}
	x.note(takenOf(inboxes), 2)
	inboxes[0].Destinations[0].Handled += 4
	inboxes[1].Destinations[0].Handled += 4
	inboxes[1].Destinations[0].Retried++
	inboxes[1].Destinations[0].Rejected++
	x.note(takenOf(inboxes), 2)
	rates := ratesNow(store.Consumer, x.copied())
	want := []destinationRate{
		{store.Consumer, "orders", false, "handled", 4}, {store.Consumer, "orders", false, "duplicates", 0},
		{store.Consumer, "orders", false, "superseded", 0}, {store.Consumer, "orders", false, "failed", 1},
	}
	if !slices.Equal(rates, want) {
		t.Errorf("got %v, want %v", rates, want)
	}
	v := view{Language: "en"}
	if got := v.flowText(store.Consumer, x.of[laneName{"orders", false}]); got != "4.0 handled · 1.0 failing" {
		t.Errorf("got %q", got)
	}
	if got := v.flowText(store.Consumer, nil); got != "–" {
		t.Errorf("got %q of what is not known", got)
	}
}
