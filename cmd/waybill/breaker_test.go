package main

import (
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/relay"
)

func TestSteeringFlagsLeaveAllElseOfADestinationAsItIs(t *testing.T) {
	f := relayFlags{
		transient: []string{"orders"}, accepted: []string{"mails"}, consumers: []string{"prices=shop,audit"},
		perSecond: []string{"orders=5", "*=100", "topic:prices=0.5"}, breakers: []string{"mails=50%/2m", "*=20"}, breakerFor: time.Minute,
	}
	var ro relay.Options
	if err := f.setDestinations(&ro); err != nil {
		t.Fatal(err)
	}
	inARow, share := waybill.Breaker{InARow: 20, For: time.Minute}, waybill.Breaker{Rate: 0.5, Window: 2 * time.Minute, For: time.Minute}
	for _, c := range []struct {
		name      string
		d         relay.Destination
		perSecond float64
		breaker   waybill.Breaker
	}{
		{"all others", ro.Default, 100, inARow}, {"orders", ro.Destinations["orders"], 5, inARow},
		{"mails", ro.Destinations["mails"], 100, share}, {"the topic prices", ro.Topics["prices"], 0.5, inARow},
	} {
		if c.d.PerSecond != c.perSecond || c.d.Breaker != c.breaker {
			t.Errorf("%s: got %v a second and the breaker %+v, want %v and %+v", c.name, c.d.PerSecond, c.d.Breaker, c.perSecond, c.breaker)
		}
	}
	if ro.Destinations["orders"].Transport != waybill.Transient || ro.Destinations["mails"].Confirm != waybill.Accepted || len(ro.Topics["prices"].Consumers) != 2 {
		t.Errorf("got %+v, want what the other flags say, too", ro)
	}
}
