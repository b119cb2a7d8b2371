package relay

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// What no sweep is needed for: the sweeps of these tests come after an hour.

// meanwhile is SQLite with pages of so many rows, where something happens before a scan of
// a destination's backlog.
type meanwhile struct {
	store.Dialect
	page    int
	happens func(scan int)
	scans   *int
}

func (d meanwhile) Capabilities() store.Capabilities {
	c := d.Dialect.Capabilities()
	c.MaxBatch = d.page
	return c
}

func (d meanwhile) ScanDestination(n store.Names, destination string, topic bool, after, upTo int64, limit int) store.Statement {
	*d.scans++
	d.happens(*d.scans)
	return d.Dialect.ScanDestination(n, destination, topic, after, upTo, limit)
}

// meanwhile has something happen before each of the scans to come.
func (s *steppedTerm) meanwhile(page int, happens func(scan int)) {
	s.t.Helper()
	q, err := store.NewQueue(s.db, meanwhile{sqlite.Dialect(), page, happens, new(int)}, "")
	if err != nil {
		s.t.Fatal(err)
	}
	s.r.queue = q
}

// ages makes the ids of the messages in these rows so much older.
func (s *steppedTerm) ages(first, last int64, by time.Duration) {
	s.t.Helper()
	then := waybill.NewIDAt(time.UnixMicro(s.pump.databaseNow()).Add(-by)).String()[:13]
	s.exec(`UPDATE qmessage SET message_id = ? || substr(message_id, 14) WHERE id BETWEEN ? AND ?`, then, first, last)
}

// backlogged returns a term whose cursor is behind 60 rows, of which "orders" has sent 10
// and queued 10 more.
func backlogged(t *testing.T) (s *steppedTerm, sent []int64) {
	t.Helper()
	s = newSteppedTerm(t, 0, Options{Window: 100, Batch: 10, Sweep: time.Hour})
	s.insertTo("orders", 60)
	s.ages(1, 60, time.Minute)
	for s.cursor < 60 {
		if _, err := s.pump.scanAhead(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range s.lanes[laneKey{destination: "orders"}].take() {
		sent = append(sent, x.f.row)
		s.exec(`DELETE FROM qmessage WHERE id = ?`, x.f.row)
		x.f.state = waiting
		s.forget(x.f.id)
	}
	s.pump.nextSweep = time.Now().Add(time.Hour)
	return s, sent
}

func TestAPauseDuringAScanLeavesNothingToTheSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sent := backlogged(t)
		s.meanwhile(1000, func(scan int) {
			if scan == 1 {
				s.pauses("orders") // what was queued goes back to the table
			}
		})
		if _, err := s.pump.scanBacklog(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.pauses()
		sent = append(sent, s.settles(40)...)
		if len(sent) != 60 || !slices.IsSorted(sent) {
			t.Errorf("rows %v were sent, want all 60 in order", sent)
		}
	})
}

func TestALateCommitDuringAScanIsLeftToTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteppedTerm(t, 0, Options{Window: 100, Batch: 10, Sweep: time.Hour})
		s.insertTo("orders", 60)
		s.exec(`DELETE FROM qmessage WHERE id = 23`)
		for s.cursor < 60 {
			if _, err := s.pump.scanAhead(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		s.pump.nextSweep = time.Now().Add(time.Hour)
		var sent []int64
		for _, x := range s.lanes[laneKey{destination: "orders"}].take() {
			sent = append(sent, x.f.row)
			s.exec(`DELETE FROM qmessage WHERE id = ?`, x.f.row)
			x.f.state = waiting
			s.forget(x.f.id)
		}
		seen := false
		s.meanwhile(5, func(scan int) {
			if scan != 2 { // the first page, with what lies before row 23, has been read
				return
			}
			s.commits("orders", 23, 1)
			s.ages(23, 23, 10*time.Second)
			time.Sleep(time.Second)
			var err error
			if seen, err = s.pump.lookInGaps(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
		if _, err := s.pump.scanBacklog(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !seen {
			t.Fatal("nobody has looked into the gap during the scan")
		}
		if sent = append(sent, s.settles(40)...); !slices.Contains(sent, 23) || len(sent) != 60 {
			t.Errorf("rows %v were sent, want all 60", sent)
		}
	})
}

func TestNoMessageWaitsForASweepWhereIdsGoBackWhileNobodyLooks(t *testing.T) {
	for _, still := range []time.Duration{time.Second, 3 * time.Second, time.Minute, newestReach - time.Second} {
		t.Run(still.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := settled(t, Options{})
				s.exec(`DELETE FROM sqlite_sequence`)
				s.commits("orders", 0, 3)
				time.Sleep(still) // the broker is away, or the database
				if took := s.finds(3, 2*time.Hour); took > time.Second {
					t.Errorf("they were sent after %v, want at once", took)
				}
			})
		})
	}
}

func TestALookThatFailedIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := settled(t, Options{})
		s.exec(`DELETE FROM sqlite_sequence`)
		s.commits("orders", 0, 3)
		ended, end := context.WithCancel(t.Context())
		end()
		failed := 0
		for range 10 {
			time.Sleep(time.Second)
			if _, err := s.pump.scanNewest(ended); err != nil {
				failed++
			}
		}
		if failed == 0 {
			t.Fatal("all looks were good, want some without a database")
		}
		if took := s.finds(3, 2*time.Hour); took > time.Second {
			t.Errorf("they were sent after %v, want at once", took)
		}
	})
}

func TestLooksKeepUpWithMessagesThatStay(t *testing.T) {
	var n newest
	now := time.Now()
	for range 3 {
		if rest, cost := n.rest(now, 20*time.Millisecond, newestEvery, true), 20*time.Millisecond; rest > newestSoon+alertShare*cost {
			t.Errorf("%v to the next page, want %v", rest, newestSoon+alertShare*cost)
		}
	}
}

func TestOneSlowLookAtALongGapPutsOffTheNextByNothing(t *testing.T) {
	var g gaps
	for i, look := range []struct{ took, cost time.Duration }{
		{10 * time.Second, 0}, {time.Millisecond, time.Millisecond}, {10 * time.Second, time.Millisecond}, {time.Second, time.Second},
	} {
		if cost := g.cost(look.took); cost != look.cost {
			t.Errorf("look %d: got the cost %v, want %v", i, cost, look.cost)
		}
	}
}

func TestWhatBecameDueWhileNobodyLedIsSentAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteppedTerm(t, 0, Options{})
		due := s.pump.databaseNow() - time.Minute.Microseconds()
		for range 50 {
			s.exec(`INSERT INTO qmessage (message_id, destination, message_content, not_before) VALUES (?, 'orders', x'00', ?)`, waybill.NewIDAt(time.UnixMicro(due)).String(), due)
		}
		s.cursor = 50
		next := s.successor()
		next.heldUntil = due - time.Minute.Microseconds()
		next.pump.dueSince(next.heldUntil)
		next.steps()
		if sent := next.publishes(); len(sent) == 0 {
			t.Error("nothing is sent at once")
		}
	})
}

func TestWhatIsParkedDuringAScanOfItsStragglerIsLeftToTheNextOne(t *testing.T) {
	inBubble(t, named(4), func(t *testing.T, s *steppedTerm) {
		s.r.o.Sweep = time.Hour
		s.insert(10, 1)
		for range 12 {
			s.passes(100 * time.Millisecond)
			s.say("shop", waybill.Done, s.messages()...)
		}
		s.passes(2 * time.Second)
		if len(s.stragglers) != 1 {
			t.Fatalf("%d stragglers, want that of audit", len(s.stragglers))
		}
		s.insert(2, 1)
		for range 3 {
			s.steps()
			s.publishes()
		}
		ids := s.messages()
		s.say("shop", waybill.Done, ids[10:]...)
		time.Sleep(1500 * time.Millisecond)       // of the bubble: until they are to be parked
		s.say("audit", waybill.Done, ids[:10]...) // and there is room
		said, consumers, parked := s.park()
		if len(parked) != 2 {
			t.Fatalf("%d messages are parked, want 2", len(parked))
		}
		if _, err := s.pump.scanBacklog(t.Context()); err != nil { // which sees no answers
			t.Fatal(err)
		}
		s.noteThen(t.Context(), said, consumers, func(ids []waybill.ID) { s.leaveParked(ids, parked) })
		s.pump.nextSweep = time.Now().Add(time.Hour)
		sent := s.passes(2 * time.Minute)
		for _, row := range []int64{11, 12} {
			if !slices.Contains(sent, row) {
				t.Errorf("rows %v were sent again, want %d among them", sent, row)
			}
		}
		s.say("audit", waybill.Done, ids[10:]...)
		s.passes(time.Second)
		s.wantNumber("rows", 0, countRows)
	})
}

// Where more rows are locked than are remembered, their messages are as if nobody had answered.
func TestWhatIsGivenUpOfLockedRowsIsSentOrParkedAgain(t *testing.T) {
	settles := func(f *inflight) { f.state = settling }
	t.Run("of a straggler", func(t *testing.T) {
		inBubble(t, named(4), func(t *testing.T, s *steppedTerm) {
			s.insert(1, 1)
			s.passes(100 * time.Millisecond)
			s.say("shop", waybill.Done, s.messages()...)
			s.passes(10 * time.Second)
			if len(s.parked) != 1 {
				t.Fatalf("%d messages are parked, want 1", len(s.parked))
			}
			for _, f := range s.parked {
				settles(f)
			}
			s.pump.nextSweep = time.Now().Add(24 * time.Hour)
			s.waitAgain(s.messages())
			if sent := s.passes(time.Minute); len(sent) == 0 {
				t.Error("it is not sent again")
			}
		})
	})
	t.Run("that all have confirmed", func(t *testing.T) {
		inBubble(t, named(4), func(t *testing.T, s *steppedTerm) {
			s.insert(1, 1)
			s.passes(100 * time.Millisecond)
			s.pump.nextSweep = time.Now().Add(24 * time.Hour)
			for _, f := range s.inflights {
				f.lane.notesAnswer(f)
				for i := range f.lane.o.Consumers {
					f.confirm(i)
				}
				settles(f)
			}
			s.waitAgain(s.messages())
			s.passes(20 * time.Second)
			s.wantNumber("rows", 0, countRows)
		})
	})
}

// The connection to the broker ends, and with it what was to be written because of its receipts.
func TestAReceiptThatIsNotWrittenWhenTheConnectionEndsLeavesItsMessageInTheWindow(t *testing.T) {
	patient := func(o Options) Options { // the message is too old for the looks at the newest ones
		o.MinResend, o.FirstResend = 20*time.Second, 20*time.Second
		return o
	}
	for _, c := range []struct {
		name   string
		o      Options
		before func(s *steppedTerm) // the last receipt
		last   string               // the consumer that sends it
	}{
		{"of the only consumer", patient(Options{}), func(*steppedTerm) {}, "shop"},
		{"of the last of several", patient(named(4)), func(s *steppedTerm) { s.say("shop", waybill.Done, s.messages()...) }, "audit"},
		{"of the last, another one having rejected", patient(named(4)), func(s *steppedTerm) { s.say("shop", waybill.Rejected, s.messages()...) }, "audit"},
		{"of a straggler", named(4), func(s *steppedTerm) {
			s.say("shop", waybill.Done, s.messages()...)
			s.passes(10 * time.Second)
			if len(s.parked) != 1 {
				s.t.Fatalf("%d messages are parked, want 1", len(s.parked))
			}
		}, "audit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, c.o, func(t *testing.T, s *steppedTerm) {
				s.insert(1, 1)
				s.passes(5 * time.Second)
				c.before(s)
				s.pump.nextSweep = time.Now().Add(24 * time.Hour)
				use, drop := context.WithCancel(t.Context())
				drop()
				s.says(use, c.last, waybill.Done, s.messages()...)
				if sent := s.passes(time.Minute); len(sent) == 0 && s.number(countPending) > 0 {
					t.Fatal("it is not sent again")
				}
				s.say(c.last, waybill.Done, s.messages()...)
				s.passes(time.Second)
				s.wantNumber("rows that wait", 0, countPending)
			})
		})
	}
}
