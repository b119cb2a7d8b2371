package figure

import (
	"fmt"
	"testing"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/relay"
)

func TestNamesMetFirstKeepTheirLabels(t *testing.T) {
	n := newNames(2)
	for _, c := range []struct{ name, want string }{
		{"a", "a"}, {"b", "b"}, {"c", Others}, {"a", "a"}, {"d", Others}, {"b", "b"}, {"c", Others},
	} {
		if got := n.label(c.name); got != c.want {
			t.Errorf("label(%q) = %q, want %q", c.name, got, c.want)
		}
	}
	if got := newNames(0).label("\xff"); !utf8.ValidString(got) {
		t.Errorf("label = %q, which Prometheus refuses", got)
	}
	if waybill.CheckDestination(Others) == nil || waybill.CheckConsumer(Others) == nil {
		t.Errorf("a destination or a consumer may be called %q", Others)
	}
}

// Numbers are added, and of what cannot be added the greatest is told.
func TestWhatIsBeyondTheBoundIsOneFigure(t *testing.T) {
	n := newNames(1)
	var c collected
	for i, d := range []relay.DestinationStats{
		{Unconfirmed: 1, Timeout: 1e9}, {Unconfirmed: 2, Timeout: 3e9, Silent: true}, {Unconfirmed: 4, Timeout: 2e9, Paused: true},
	} {
		addEach(&c, destinationFamilies, &d, n.label(fmt.Sprint("d", i)), kind(false))
	}
	got := map[string]float64{}
	for _, f := range c.all {
		got[f.Prometheus()+" "+f.At[0]] = f.Value
	}
	if want := 2 * len(destinationFamilies); len(got) != want || len(c.all) != want {
		t.Errorf("%d figures of %d names, want %d", len(c.all), len(got), want)
	}
	for name, want := range map[string]float64{
		"waybill_destination_unconfirmed d0": 1, "waybill_destination_unconfirmed all others": 6,
		"waybill_destination_timeout_seconds d0": 1, "waybill_destination_timeout_seconds all others": 3,
		"waybill_destination_silent d0": 0, "waybill_destination_silent all others": 1,
		"waybill_destination_paused d0": 0, "waybill_destination_paused all others": 1,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (there: %t), want %v", name, v, ok, want)
		}
	}
}

func TestTenThousandDestinationsOfARelayAreFewFigures(t *testing.T) {
	const many = 10_000
	n := newNames(0)
	for range 2 { // the second look finds the same names
		var c collected
		for i := range many {
			addEach(&c, destinationFamilies, &relay.DestinationStats{Unconfirmed: 1}, n.label(fmt.Sprint("tenant-", i)), kind(false))
		}
		unconfirmed := 0.0
		for _, f := range c.all {
			if f.Prometheus() == "waybill_destination_unconfirmed" {
				unconfirmed += f.Value
			}
		}
		if want := (DefaultNames + 1) * len(destinationFamilies); len(c.all) != want || unconfirmed != many {
			t.Errorf("%d figures with %v unconfirmed messages, want %d with %d", len(c.all), unconfirmed, want, many)
		}
	}
}
