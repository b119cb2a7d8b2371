package survey_test

import (
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/store"
)

func TestWhatIsPausedSaysByWhomAndUntilWhen(t *testing.T) {
	since, until := time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC), time.Date(2026, 3, 1, 7, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		pause survey.Pause
		want  string
	}{
		{survey.Pause{Side: store.Producer, By: "ann", Reason: "the carrier is down", Until: &until}, "Nothing is sent: paused by ann since 2026-03-01 06:00 UTC, until 2026-03-01 07:00 UTC: the carrier is down"},
		{survey.Pause{Side: store.Producer}, "Nothing is sent: paused by somebody since 2026-03-01 06:00 UTC, until it is resumed."},
		{survey.Pause{Side: store.Consumer, By: "ann"}, "No consumer takes anything: paused by ann since 2026-03-01 06:00 UTC, until it is resumed."},
		{survey.Pause{Side: store.Consumer, Consumer: "shipping", By: "breaker", Reason: "5 in a row"}, "shipping takes nothing: paused by breaker since 2026-03-01 06:00 UTC, until it is resumed: 5 in a row"},
	} {
		c.pause.Since = since
		if got := c.pause.Text().String(); got != c.want {
			t.Errorf("got %q\nwant %q", got, c.want)
		}
	}
}

func TestADestinationThatIsPausedSaysSo(t *testing.T) {
	f := newFixture(t)
	f.send(waybill.Message{Destination: "orders"}, waybill.Message{Destination: "mails"})
	for _, p := range []survey.Pause{
		{Side: store.Producer, Destination: "mails", By: "ann"}, {Side: store.Producer, Destination: "prices", Topic: true, By: "bob"},
		{Side: store.Consumer, Destination: "elsewhere"}, {Side: store.Consumer, Destination: "orders", Consumer: "shipping", By: "eve"},
	} {
		f.must(f.reader.Pause(t.Context(), &p, time.Hour))
	}
	all, err := f.reader.Pauses(t.Context(), survey.Sides{Producer: true, Consumer: true})
	f.must(err)
	o, err := f.reader.Outbox(t.Context(), nil, time.Second)
	f.must(err)
	o.Paused(all)
	got := map[string]survey.Destination{}
	for _, d := range o.Destinations {
		got[d.Destination] = d
	}
	if len(all) != 4 || len(got) != 3 || got["orders"].State != survey.Trouble {
		t.Fatalf("got %+v of the pauses %+v, want orders, of which one consumer group is paused, mails and prices", o.Destinations, all)
	}
	for name, who := range map[string]string{"mails": "ann", "prices": "bob"} {
		if d := got[name]; d.State != survey.Paused || !strings.Contains(d.Why.String(), "paused by "+who) || d.Topic != (name == "prices") {
			t.Errorf("got %s as %+v, want it paused by %s", name, d, who)
		}
	}
	if found, err := f.reader.Resume(t.Context(), &all[0]); err != nil || !found {
		t.Errorf("resume: got %v, %v, want it found", found, err)
	}
	if all, err = f.reader.Pauses(t.Context(), survey.Sides{Producer: true}); err != nil || len(all) != 1 {
		t.Errorf("got %+v, %v, want one left at the producer's side", all, err)
	}
}
