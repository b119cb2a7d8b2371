package storetest

import (
	"errors"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

var pauseCases = []testCase{
	{name: "a pause says who, when, why and until when, and ends when it is resumed", run: func(s *suite) {
		s.wantPauses(s.queuePauses())
		before := s.clock()
		s.must(s.queue.Pause(s.Context(), store.Pause{Destination: "orders", By: "ann@example", Reason: "the carrier's API is down: it's \"503\" é", Consumer: "ignored"}, 0))
		s.must(s.queue.Pause(s.Context(), store.Pause{Destination: "orders", Topic: true}, time.Hour))
		s.must(s.queue.Pause(s.Context(), store.Pause{Destination: "Orders", Until: time.UnixMicro(before).Add(24 * time.Hour)}, 0))
		all := s.queuePauses()
		s.wantPauses(all, "Orders", "orders", "topic orders")
		if len(all) != 3 {
			return
		}
		p := all[1]
		if p.By != "ann@example" || p.Reason != "the carrier's API is down: it's \"503\" é" || p.Consumer != "" || !p.Until.IsZero() ||
			p.Since.UnixMicro() < before-1000 || p.Since.UnixMicro() > s.clock()+1000 {
			s.Errorf("got %+v, want who has paused it, why, since now and until it is resumed", p)
		}
		if got := all[2].Until.Sub(all[2].Since); got != time.Hour {
			s.Errorf("got a pause of %v, want an hour", got)
		}
		if got := all[0].Until.UnixMicro(); got != before+24*time.Hour.Microseconds() {
			s.Errorf("got a pause until %d, want what was given", got)
		}
		s.wantResumed(true, "orders", false)
		s.wantResumed(false, "orders", false)
		s.wantResumed(false, "other", false)
		s.wantPauses(s.queuePauses(), "Orders", "topic orders")
	}},
	{name: "a pause takes the place of an older one, unless it is to keep it", run: func(s *suite) {
		s.must(s.queue.Pause(s.Context(), store.Pause{Destination: "o", By: "first"}, time.Hour))
		s.must(s.queue.PauseUnlessPaused(s.Context(), store.Pause{Destination: "o", By: "second", Reason: "x"}, 0))
		if p := s.queuePauses(); len(p) != 1 || p[0].By != "first" || p[0].Reason != "" || p[0].Until.IsZero() {
			s.Errorf("got %+v, want the first one kept", p)
		}
		s.must(s.queue.Pause(s.Context(), store.Pause{Destination: "o", By: "third"}, 0))
		if p := s.queuePauses(); len(p) != 1 || p[0].By != "third" || !p[0].Until.IsZero() {
			s.Errorf("got %+v, want the third one", p)
		}
		s.must(s.queue.PauseUnlessPaused(s.Context(), store.Pause{Destination: "p", By: "fourth"}, 0))
		s.wantPauses(s.queuePauses(), "o", "p")
	}},
	{name: "a pause whose time is over is none, by the database's clock", run: func(s *suite) {
		over := time.UnixMicro(s.clock()).Add(-time.Second)
		s.must(s.queue.Pause(s.Context(), store.Pause{Destination: "o", Until: over}, 0))
		s.wantPauses(s.queuePauses())
		s.wantResumed(false, "o", false)
		s.must(s.queue.PauseUnlessPaused(s.Context(), store.Pause{Destination: "o", By: "next"}, time.Minute))
		if p := s.queuePauses(); len(p) != 1 || p[0].By != "next" {
			s.Errorf("got %+v, want the one that is not over", p)
		}
		keeper := s.keeperOf("")
		s.must(keeper.Pause(s.Context(), store.Pause{Destination: "o", Until: over}, 0))
		s.wantPauses(s.keeperPauses(""))
	}},
	{name: "a consumer's pause is its own, and one of all consumers is everybody's", run: func(s *suite) {
		all := s.keeperOf("")
		s.must(all.Pause(s.Context(), store.Pause{Destination: "o", By: "ann"}, 0))
		s.must(all.Pause(s.Context(), store.Pause{Destination: "o", Consumer: "billing"}, 0))
		s.must(all.Pause(s.Context(), store.Pause{Destination: "p", Topic: true, Consumer: "billing"}, 0))
		s.must(s.ledger.PauseUnlessPaused(s.Context(), store.Pause{Destination: "q", Consumer: "ignored"}, 0))
		s.wantPauses(s.keeperPauses(""), "o", "o of billing", "topic p of billing", "q of "+consumer)
		s.wantPauses(s.keeperPauses("billing"), "o", "o of billing", "topic p of billing")
		own, err := s.ledger.Pauses(s.Context())
		s.must(err)
		s.wantPauses(own, "o", "q of "+consumer)
		s.wantPauses(s.queuePauses())
		for _, c := range []struct {
			consumer, destination string
			topic, want           bool
		}{{"shipping", "o", false, false}, {"billing", "p", false, false}, {"billing", "p", true, true}, {"", "o", false, true}, {"billing", "o", false, false}} {
			resumed, err := all.Resume(s.Context(), c.consumer, c.destination, c.topic)
			s.must(err)
			if resumed != c.want {
				s.Errorf("resume %+v: got %v", c, resumed)
			}
		}
		s.wantPauses(s.keeperPauses(""), "q of "+consumer)
	}},
	{name: "what can be no pause is refused, and what is too long is cut", run: func(s *suite) {
		for _, p := range []store.Pause{{}, {Destination: "ack.shop"}, {Destination: strings.Repeat("x", 300)}} {
			if err := s.queue.Pause(s.Context(), p, 0); err == nil {
				s.Errorf("%+v: got no error, want one", p)
			}
		}
		if err := s.queue.Pause(s.Context(), store.Pause{Destination: "o"}, -time.Second); err == nil {
			s.Error("a length below 0: got no error, want one")
		}
		if err := s.keeperOf("").Pause(s.Context(), store.Pause{Destination: "o", Consumer: strings.Repeat("x", 300)}, 0); err == nil {
			s.Error("a consumer that can be none: got no error, want one")
		}
		s.must(s.queue.Pause(s.Context(), store.Pause{Destination: "o", By: strings.Repeat("🚚", 300), Reason: "\x00\xff" + strings.Repeat("é", 2000)}, 0))
		if p := s.queuePauses(); len(p) != 1 || len(p[0].By) > 255 || p[0].By == "" || len(p[0].Reason) > 1000 || len(p[0].Reason) < 900 {
			s.Errorf("got %+v, want texts that were cut", p)
		}
	}},
	{name: "plain SQL can pause with a destination alone", run: func(s *suite) {
		s.must(s.exec(s.db, `INSERT INTO {qpause} (destination) VALUES ('o')`))
		s.must(s.exec(s.db, `INSERT INTO {n_pause} (dest_name) VALUES ('p')`))
		s.wantPauses(s.queuePauses(), "o")
		s.wantPauses(s.keeperPauses("billing"), "p")
	}},
	{name: "tables without a place for pauses have none, and migrations add it", run: func(s *suite) {
		s.must(s.exec(s.db, `DROP TABLE {qpause}`))
		s.must(s.exec(s.db, `DROP TABLE {n_pause}`))
		s.must(s.queue.CheckSchema(s.Context()))
		s.wantPauses(s.queuePauses())
		s.wantPauses(s.keeperPauses(""))
		if err := s.queue.Pause(s.Context(), store.Pause{Destination: "o"}, 0); !errors.Is(err, waybill.ErrSchema) || !strings.Contains(err.Error(), "waybill init --side producer") {
			s.Errorf("got error %v, want one that says what to run", err)
		}
		s.must(store.EnsureTables(s.Context(), s.engine, s.dialect, "", store.Producer))
		s.must(s.queue.Pause(s.Context(), store.Pause{Destination: "o"}, 0))
		s.migrate("")
		s.wantPauses(s.queuePauses(), "o")
		s.must(s.keeperOf("").Pause(s.Context(), store.Pause{Destination: "o"}, 0))
	}},
	{name: "tables of version 1 have no pauses", empty: true, run: func(s *suite) {
		s.fromVersion1()
		s.must(s.queue.CheckSchema(s.Context()))
		s.wantPauses(s.queuePauses())
		if err := s.queue.Pause(s.Context(), store.Pause{Destination: "o"}, 0); !errors.Is(err, waybill.ErrSchema) {
			s.Errorf("got error %v, want a SchemaError", err)
		}
		if _, err := s.queue.Resume(s.Context(), "o", false); !errors.Is(err, waybill.ErrSchema) {
			s.Errorf("got error %v, want a SchemaError", err)
		}
	}},
}

func (s *suite) queuePauses() []store.Pause {
	s.Helper()
	all, err := s.queue.Pauses(s.Context())
	s.must(err)
	return all
}

func (s *suite) keeperPauses(consumer string) []store.Pause {
	s.Helper()
	all, err := s.keeperOf(consumer).Pauses(s.Context())
	s.must(err)
	return all
}

// wantPauses compares pauses with what they are of, in order.
func (s *suite) wantPauses(all []store.Pause, want ...string) {
	s.Helper()
	got := field(all, func(p store.Pause) string {
		name := p.Destination
		if p.Topic {
			name = "topic " + name
		}
		if p.Consumer != "" {
			name += " of " + p.Consumer
		}
		return name
	})
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		s.Errorf("got paused: %q, want %q", got, want)
	}
}

// wantResumed resumes a destination of the producer's side.
func (s *suite) wantResumed(want bool, destination string, topic bool) {
	s.Helper()
	got, err := s.queue.Resume(s.Context(), destination, topic)
	s.must(err)
	if got != want {
		s.Errorf("resume %s: got %v, want %v", destination, got, want)
	}
}
