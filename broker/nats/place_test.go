package nats

import (
	"fmt"
	"testing"

	"github.com/waybill-go/waybill/internal/recent"
)

func TestPlacesOfDestinationsThatAreMadeUpAreForgotten(t *testing.T) {
	c := &conn{b: &Broker{}, places: recent.Map[destination, *place]{Most: maxPlaces}}
	used := c.place("orders", false)
	for i := range 5 * maxPlaces {
		c.place(fmt.Sprintf("reply.%d", i), false)
		if c.place("orders", false) != used {
			t.Fatal("the place of a destination that is in use was forgotten")
		}
	}
	if got := c.places.Len(); got > 2*maxPlaces {
		t.Errorf("got %d places, want %d at most", got, 2*maxPlaces)
	}
	c.forget(used)
	if c.place("orders", false) == used {
		t.Error("a place that was to be forgotten is still known")
	}
}
