package relay

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
)

// brokenObserver breaks whatever it hears.
type brokenObserver struct {
	end   func()
	heard []string
}

func (o *brokenObserver) Published(context.Context, Publication) {
	o.heard = append(o.heard, "published")
	o.end()
}

func (o *brokenObserver) Answered(context.Context, []Answer) {
	o.heard = append(o.heard, "answered")
	o.end()
}

func TestAnObserverThatBreaksCostsWhatItHearsAlone(t *testing.T) {
	for _, c := range []struct {
		name, logged string
		end          func()
	}{
		{"panics", "Options.Observer has panicked", func() { panic("no exporter") }},
		{"ends its goroutine", "Options.Observer has not returned", runtime.Goexit},
	} {
		t.Run(c.name, func(t *testing.T) { testBrokenObserver(t, brokenObserver{end: c.end}, c.logged) })
	}
}

func testBrokenObserver(t *testing.T, observer brokenObserver, logged string) {
	synctest.Test(t, func(t *testing.T) {
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
		if got := strings.Count(log.String(), logged); got != 1 || !strings.Contains(log.String(), "Published") {
			t.Errorf("logged it %d times, want once, with where it was:\n%s", got, log.String())
		}
	})
}
