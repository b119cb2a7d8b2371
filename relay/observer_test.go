package relay

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
)

// brokenObserver panics whatever it hears.
type brokenObserver struct{ heard []string }

func (o *brokenObserver) Published(context.Context, Publication) {
	o.heard = append(o.heard, "published")
	panic("no exporter")
}

func (o *brokenObserver) Answered(context.Context, []Answer) {
	o.heard = append(o.heard, "answered")
	panic("no exporter")
}

func TestAnObserverThatPanicsCostsWhatItHearsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var observer brokenObserver
		s := newSteppedTerm(t, 0, Options{Observer: &observer})
		var log strings.Builder
		s.r.log = slog.New(slog.NewTextHandler(&log, nil))
		s.insert(2, 1)
		s.steps()
		b := memory.New(nil)
		conn, err := b.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(t.Context()) }()
		lane := s.order[0]
		lane.send(t.Context(), conn, lane.take())
		if got := b.Depth(lane.destination); got != 2 {
			t.Errorf("%d messages were published, want both", got)
		}
		s.say("shipping", waybill.Done, s.messages()...)
		if got := s.messages(); len(got) != 0 {
			t.Errorf("%d rows are left, want none after their receipts", len(got))
		}
		if got := strings.Join(observer.heard, " "); got != "published answered" {
			t.Errorf("it has heard %q, want of both", got)
		}
		if got := strings.Count(log.String(), "Options.Observer has panicked"); got != 1 || !strings.Contains(log.String(), "Published") {
			t.Errorf("logged it %d times, want once, with where it was:\n%s", got, log.String())
		}
	})
}
