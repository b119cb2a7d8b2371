package recent_test

import (
	"maps"
	"testing"

	"github.com/waybill-go/waybill/internal/recent"
)

func TestAMapKeepsWhatWasUsedLatelyAndNoMore(t *testing.T) {
	m := recent.Map[int, string]{Most: 10}
	m.Set(-1, "used")
	for i := range 1000 {
		m.Set(i, "once")
		if got, ok := m.Get(-1); !ok || got != "used" {
			t.Fatalf("after %d others: got %q, %v of an entry that is used all the time", i+1, got, ok)
		}
		if m.Len() > 20 {
			t.Fatalf("got %d entries, want 20 at most", m.Len())
		}
	}
	for i := 991; i < 1000; i++ {
		if !m.Has(i) {
			t.Errorf("entry %d of the latest is gone", i)
		}
	}
	if m.Has(0) {
		t.Error("the first one is still there")
	}
	if all := maps.Collect(m.All()); len(all) != m.Len() || all[999] != "once" {
		t.Errorf("got %d entries, want %d", len(all), m.Len())
	}
	m.Delete(-1)
	if _, ok := m.Get(-1); ok {
		t.Error("a deleted entry is still there")
	}
}
