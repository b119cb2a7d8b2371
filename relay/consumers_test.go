package relay

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
)

// named is how a topic's messages are handled that shop and audit have to confirm.
func named(window int) Options {
	return Options{
		Destinations: map[string]Destination{"orders": {Consumers: []string{"shop", "audit"}, Window: window}},
		MinResend:    time.Second, FirstResend: time.Second, MaxResend: time.Minute,
	}
}

// say handles a receipt message of a consumer for some rows, and what is slow about it.
func (s *steppedTerm) say(consumer string, outcome waybill.Outcome, ids ...waybill.ID) {
	s.t.Helper()
	s.says(s.t.Context(), consumer, outcome, ids...)
	for {
		c, ok := s.slowReceipts.take()
		if !ok {
			return
		}
		s.settleOne(s.t.Context(), c)
	}
}

// says handles a receipt message over a connection that lasts as long as ctx.
func (s *steppedTerm) says(ctx context.Context, consumer string, outcome waybill.Outcome, ids ...waybill.ID) {
	s.t.Helper()
	var receipts []waybill.Receipt
	for _, id := range ids {
		receipts = append(receipts, waybill.Receipt{ID: id, Outcome: outcome, Error: "says " + consumer})
	}
	m := wire.EncodeReceipts(waybill.ReceiptQueue("waybill", s.identity), consumer, receipts)
	s.handle(ctx, []broker.Delivery{{Message: m}})
}

// messages returns the message ids of all rows, in order.
func (s *steppedTerm) messages() (ids []waybill.ID) {
	s.t.Helper()
	rows, err := s.r.queue.Scan(s.t.Context(), 0, 100_000, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range rows {
		ids = append(ids, r.MessageID)
	}
	return ids
}

func (s *steppedTerm) number(query string, args ...any) (n int) {
	s.t.Helper()
	if err := s.db.QueryRow(query, args...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *steppedTerm) wantNumber(what string, want int, query string, args ...any) {
	s.t.Helper()
	if got := s.number(query, args...); got != want {
		s.t.Errorf("%s: got %d, want %d", what, got, want)
	}
}

const (
	countRows    = `SELECT count(*) FROM qmessage`
	countPending = `SELECT count(*) FROM qmessage WHERE status = 0`
	countAnswers = `SELECT count(*) FROM qconfirmed`
)

// passes lets time go by while the relay works and the broker takes everything, and
// returns the rows that were sent.
func (s *steppedTerm) passes(d time.Duration) (rows []int64) {
	s.t.Helper()
	idle := 0
	for began := time.Now(); time.Since(began) < d; idle = s.wait(idle) {
		s.steps()
		sent := s.publishes()
		if len(sent) > 0 {
			idle = 0
		}
		rows = append(rows, sent...)
	}
	return rows
}

// successor is the next term over the same table.
func (s *steppedTerm) successor() *steppedTerm {
	s.t.Helper()
	clock, err := s.r.queue.Clock(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	next := &steppedTerm{term: newTerm(s.r, s.identity, s.safeCursor(), clock), t: s.t, db: s.db}
	next.loops = next.pump.loops()
	next.start = func(*lane) {}
	next.clock.run(true)
	return next
}

// inBubble runs a test with a clock that goes on when everything waits.
func inBubble(t *testing.T, o Options, test func(t *testing.T, s *steppedTerm)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		s := newSteppedTerm(t, 0, o)
		test(t, s)
	})
}

func TestNothingIsWrittenWhereAllNamedConsumersConfirmInTime(t *testing.T) {
	inBubble(t, named(100), func(t *testing.T, s *steppedTerm) {
		s.insert(40, 1)
		s.steps()
		s.publishes()
		ids := s.messages()
		s.exec(`CREATE TRIGGER written BEFORE INSERT ON qconfirmed BEGIN SELECT RAISE(ABORT, 'written'); END`)
		s.say("audit", waybill.Done, ids[:30]...)
		s.passes(500 * time.Millisecond)
		s.say("shop", waybill.Done, ids...)
		s.say("audit", waybill.Done, ids[30:]...)
		s.wantNumber("rows", 0, countRows)
	})
}

func TestAConsumerThatIsDownHoldsUpNobodyElse(t *testing.T) {
	inBubble(t, named(10), func(t *testing.T, s *steppedTerm) {
		s.insert(100, 1)
		ids := s.messages()
		var sent []int64
		for range 30 {
			s.steps()
			rows := s.publishes()
			sent = append(sent, rows...)
			for _, row := range rows {
				s.say("shop", waybill.Done, ids[row-1])
			}
			s.wait(0)
		}
		slices.Sort(sent)
		if sent = slices.Compact(sent); len(sent) != 100 {
			t.Fatalf("sent %d of 100 messages, want all: shop confirms at once", len(sent))
		}
		s.passes(2 * time.Second)
		s.wantNumber("answers", 100, countAnswers)
		if n := len(s.inflights); n != 0 {
			t.Errorf("%d messages are in the destination's window, want none", n)
		}
		if n := len(s.parked); n != 10 {
			t.Errorf("%d messages are in the straggler's window, want its 10", n)
		}
		for _, l := range s.stragglers {
			if _, _, limit := s.pump.reach(l); limit > 0 || !l.hasBacklog() {
				t.Errorf("a full window has room for %d messages and a backlog %v; want room for none, and a backlog", limit, l.hasBacklog())
			}
		}
		s.r.setTerm(s.term)
		d := s.r.Stats().Destinations
		if len(d) != 1 || len(d[0].Lagging) != 1 || d[0].Lagging[0].Consumer != "audit" || d[0].Lagging[0].Waiting != 10 || !d[0].Lagging[0].Backlog || d[0].Lagging[0].Since.IsZero() || d[0].Lagging[0].Lag < 2*time.Second {
			t.Errorf("got the stats %+v, want audit lagging by 2 s or more, with 10 messages and more", d)
		}
		copies := s.passes(10 * time.Minute)
		if len(copies) == 0 || len(copies) > 25 {
			t.Errorf("sent %d copies in 10 min of audit's silence, want a probe now and then", len(copies))
		}

		// It comes back, and works through its own queue.
		copies = nil
		for i := range 20 {
			s.say("audit", waybill.Done, ids[5*i:5*i+5]...)
			copies = append(copies, s.passes(100*time.Millisecond)...)
		}
		if len(copies) > 10 { // those that were probes look lost
			t.Errorf("sent %d copies to a consumer that works through its queue, want 10 at most", len(copies))
		}
		s.wantNumber("rows", 0, countRows)
		s.wantNumber("answers", 0, countAnswers)
		s.passes(time.Second)
		if len(s.parked) != 0 || len(s.inflights) != 0 {
			t.Errorf("%d messages are parked and %d in the window, want none", len(s.parked), len(s.inflights))
		}
	})
}

// refills lets audit confirm, and shop confirm again, whatever copy is sent.
func (s *steppedTerm) refills(limit time.Duration) (took time.Duration, copies int) {
	s.t.Helper()
	byRow := map[int64]waybill.ID{}
	for _, id := range s.messages() {
		byRow[int64(s.number(`SELECT id FROM qmessage WHERE message_id = ?`, id.String()))] = id
	}
	began, idle := time.Now(), 0
	for s.number(countRows) > 0 {
		if time.Since(began) > limit {
			s.t.Fatalf("%d rows are left after %v, want none", s.number(countRows), limit)
		}
		s.steps()
		rows := s.publishes()
		copies += len(rows)
		for _, row := range rows {
			s.say("shop", waybill.Done, byRow[row])
			s.say("audit", waybill.Done, byRow[row])
			idle = 0
		}
		idle = s.wait(idle)
	}
	return time.Since(began), copies
}

func TestWhatTheBrokerHasLostOfAConsumersIsSentAgainAtItsPace(t *testing.T) {
	for _, change := range []bool{false, true} {
		t.Run(fmt.Sprintf("change of relay %v", change), func(t *testing.T) {
			inBubble(t, named(50), func(t *testing.T, s *steppedTerm) {
				s.insert(300, 1)
				ids := s.messages()
				for range 60 {
					s.steps()
					for _, row := range s.publishes() {
						s.say("shop", waybill.Done, ids[row-1])
					}
					s.wait(0)
				}
				s.passes(5 * time.Second)
				s.wantNumber("rows", 300, countRows)
				s.wantNumber("answers", 300, countAnswers)
				if change {
					s = s.successor()
					if rows := s.passes(500 * time.Millisecond); len(rows) > 0 {
						t.Errorf("the successor sent rows %v at once, want none", rows)
					}
				}
				took, copies := s.refills(5 * time.Minute)
				if copies > 400 {
					t.Errorf("sent %d copies of 300 lost messages, want 400 at most", copies)
				}
				if took > 3*time.Minute {
					t.Errorf("it took %v, want 3m at most", took)
				}
				s.wantNumber("answers", 0, countAnswers)
			})
		})
	}
}

func TestAMessageThatOneRejectsStaysForTheOthers(t *testing.T) {
	for _, c := range []struct {
		name       string
		late       bool // the others answer when it is parked
		change     bool // of relay, in between
		audit      waybill.Outcome
		wantStatus int
		wantError  string
	}{
		{"and goes on to a person when they have confirmed", false, false, waybill.Done, 2, "shop: says shop"},
		{"also when they are late", true, false, waybill.Done, 2, "shop: says shop"},
		{"also over a change of relay", true, true, waybill.Done, 2, "shop: says shop"},
		{"with all reasons", true, false, waybill.Rejected, 2, "audit: says audit; shop: says shop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, named(50), func(t *testing.T, s *steppedTerm) {
				s.insert(1, 1)
				s.steps()
				s.publishes()
				id := s.messages()[0]
				s.say("shop", waybill.Rejected, id)
				s.wantNumber("pending rows", 1, countRows+` WHERE status = 0`)
				s.wantNumber("rejections", 1, countAnswers+` WHERE outcome = 2 AND consumer = 'shop' AND last_error = 'says shop'`)
				if c.late {
					if copies := s.passes(5 * time.Second); len(copies) == 0 {
						t.Error("sent no copy to the other one, want some")
					}
					if len(s.parked) != 1 {
						t.Errorf("%d messages are parked, want the one", len(s.parked))
					}
				}
				if c.change {
					s = s.successor()
					s.passes(time.Second)
				}
				s.say("audit", c.audit, id)
				s.wantNumber("rejected rows", 1, countRows+` WHERE status = ? AND last_error = ?`, c.wantStatus, c.wantError)
				if len(s.parked)+len(s.inflights) != 0 {
					t.Errorf("%d messages are parked and %d in the window, want none", len(s.parked), len(s.inflights))
				}
			})
		})
	}
}

func TestResendAsksThoseAgainWhoHaveRejected(t *testing.T) {
	inBubble(t, named(50), func(t *testing.T, s *steppedTerm) {
		s.insert(1, 1)
		s.steps()
		s.publishes()
		id := s.messages()[0]
		s.say("shop", waybill.Rejected, id)
		s.say("audit", waybill.Done, id)
		if _, found, err := s.r.queue.Resend(t.Context(), id, false); err != nil || !found {
			t.Fatal(found, err)
		}
		if rows := s.passes(500 * time.Millisecond); len(rows) != 1 {
			t.Errorf("sent rows %v, want the one, once", rows)
		}
		s.say("shop", waybill.Done, id)
		s.wantNumber("rows", 0, countRows)
		s.wantNumber("answers", 0, countAnswers)
	})
}

func TestAConsumerThatAsksForAnotherCopyKeepsTheOthersConfirmations(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late %v", late), func(t *testing.T) {
			inBubble(t, named(50), func(t *testing.T, s *steppedTerm) {
				s.insert(1, 1)
				s.steps()
				s.publishes()
				id := s.messages()[0]
				s.say("shop", waybill.Done, id)
				if late {
					s.passes(3 * time.Second)
				}
				s.say("audit", waybill.Retry, id)
				s.wantNumber("postponed rows", 1, countRows+` WHERE not_before > 0 AND failures = 1 AND last_error LIKE 'audit: %'`)
				s.exec(`UPDATE qmessage SET not_before = 1`) // its time comes
				s.pump.nextDue, s.pump.due = time.Time{}, store.Place{}
				s.steps()
				if rows := s.publishes(); len(rows) != 1 {
					t.Fatalf("sent rows %v, want the one", rows)
				}
				s.say("shop", waybill.Retry, id) // of a copy that is not for it
				s.wantNumber("postponed rows", 0, countRows+` WHERE not_before > 1`)
				s.say("audit", waybill.Done, id)
				s.wantNumber("rows", 0, countRows)
				s.wantNumber("answers", 0, countAnswers)
			})
		})
	}
}

func TestConsumersThatAreNamedNoMoreDoNotCountAndNewOnesDo(t *testing.T) {
	for _, c := range []struct {
		name      string
		consumers []string
		said      string // who confirms afterwards
		want      int    // rows left
	}{
		{"audit is not named any more", []string{"shop"}, "", 0},
		{"shop is not named any more", []string{"audit"}, "audit", 0},
		{"shop is not named any more, and a new one is", []string{"audit", "mail"}, "audit", 1},
		{"a new one is named", []string{"shop", "audit", "mail"}, "audit", 1},
		{"none is named any more", nil, "anyone", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, named(50), func(t *testing.T, s *steppedTerm) {
				s.insert(1, 1)
				s.steps()
				s.publishes()
				id := s.messages()[0]
				s.say("shop", waybill.Done, id)
				s.passes(3 * time.Second) // it is parked
				s.r.o.Destinations["orders"] = Destination{Consumers: c.consumers}
				s = s.successor()
				s.passes(time.Second)
				if c.said != "" {
					s.say(c.said, waybill.Done, id)
				}
				s.wantNumber("rows", c.want, countRows)
				if c.want > 0 {
					s.say("mail", waybill.Done, id)
					s.wantNumber("rows", 0, countRows)
				}
			})
		})
	}
}

func TestAnswersOnRowsThatAreGoneAreDeleted(t *testing.T) {
	inBubble(t, named(50), func(t *testing.T, s *steppedTerm) {
		s.insert(3, 1)
		s.steps()
		s.publishes()
		s.say("shop", waybill.Done, s.messages()...)
		s.passes(3 * time.Second)
		s.wantNumber("answers", 3, countAnswers)
		s.exec(`DELETE FROM qmessage WHERE id <> 2`)
		s.passes(2 * time.Minute)
		s.wantNumber("answers", 1, countAnswers)
	})
}

func TestOneMessageThatAConsumerNeverAnswersCostsTheOthersNothing(t *testing.T) {
	inBubble(t, named(50), func(t *testing.T, s *steppedTerm) {
		s.insert(1, 1)
		s.steps()
		s.publishes()
		s.say("shop", waybill.Done, s.messages()...)
		s.passes(3 * time.Second)
		s.wantNumber("answers", 1, countAnswers)
		s.exec(`CREATE TRIGGER written BEFORE INSERT ON qconfirmed BEGIN SELECT RAISE(ABORT, 'written'); END`)
		for range 20 {
			s.insert(5, 1)
			s.steps()
			s.publishes()
			later := s.messages()[1:]
			s.say("shop", waybill.Done, later...)
			s.passes(200 * time.Millisecond) // audit is slower, and in time
			s.say("audit", waybill.Done, later...)
			s.wantNumber("rows", 1, countRows)
		}
	})
}

func TestAParkedMessageIsOneCopyForAllWhoLackIt(t *testing.T) {
	o := named(50)
	o.Destinations["orders"] = Destination{Consumers: []string{"shop", "audit", "mail"}}
	inBubble(t, o, func(t *testing.T, s *steppedTerm) {
		s.insert(1, 1)
		s.steps()
		s.publishes()
		id := s.messages()[0]
		s.say("shop", waybill.Done, id)
		copies := s.passes(4 * time.Second)
		if len(s.parked) != 2 {
			t.Fatalf("%d messages are parked, want one for each of two consumers", len(s.parked))
		}
		if len(copies) == 0 || len(copies) > 2 {
			t.Errorf("sent %d copies in 4 s, want one or two", len(copies))
		}
		s.say("mail", waybill.Done, id)
		if len(s.parked) != 1 {
			t.Errorf("%d messages are parked, want one for audit", len(s.parked))
		}
		s.say("audit", waybill.Done, id)
		s.wantNumber("rows", 0, countRows)
		s.wantNumber("answers", 0, countAnswers)
	})
}

func TestASuccessorWaitsForTheOthersWhereOneConsumerAnswersWhileItReads(t *testing.T) {
	for _, c := range []struct {
		name  string
		known bool // shop's confirmation is in the table when the rows are read
	}{{"again", true}, {"for the first time", false}} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, named(50), func(t *testing.T, s *steppedTerm) {
				s.insert(5, 1)
				s.steps()
				s.publishes()
				ids := s.messages()
				if c.known {
					s.say("shop", waybill.Done, ids...)
					s.passes(3 * time.Second)
				}
				s = s.successor()
				rows, err := s.r.queue.Sweep(t.Context(), 0, 5, 100)
				if err != nil {
					t.Fatal(err)
				}
				s.say("shop", waybill.Done, ids...)
				if c.known {
					err = s.pump.adopt(t.Context(), rows)
				} else {
					for i := range rows { // as if the answers were not there yet when they were read
						s.adopt(&rows[i])
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				if len(s.parked) != 5 || len(s.inflights) != 0 {
					t.Errorf("%d messages are parked and %d in the window, want all 5 parked for audit", len(s.parked), len(s.inflights))
				}
				s.say("audit", waybill.Done, ids...)
				s.wantNumber("rows", 0, countRows)
				s.wantNumber("answers", 0, countAnswers)
			})
		})
	}
}
