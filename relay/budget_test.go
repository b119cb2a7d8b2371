package relay

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/wire"
)

// insertInto writes n rows of so many bytes to each of some destinations, in turn.
func (s *steppedTerm) insertInto(destinations, n, size int) {
	s.t.Helper()
	s.exec(`WITH RECURSIVE i(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM i WHERE n + 1 < ?1 * ?2)
INSERT INTO qmessage (destination, message_content) SELECT 'away.' || (n % ?1), zeroblob(?3) FROM i`, destinations, n, size)
}

// publish has each lane publish one batch, which the broker takes unless it refuses what the
// lane sends, and returns how many messages it took.
func (s *steppedTerm) publish(refuses func(destination string) bool) (taken int) {
	for _, l := range s.order {
		batch := l.take()
		if len(batch) == 0 {
			continue
		}
		results := make([]broker.Result, len(batch))
		for i := range results {
			results[i].Fate = broker.Confirmed
			if refuses != nil && refuses(l.destination) {
				results[i].Fate, results[i].Err = broker.Refused, fmt.Errorf("full")
			}
		}
		taken += l.noteFates(batch, results, s.connection).taken
	}
	return taken
}

// confirms has the consumer of a destination confirm what it has been sent.
func (s *steppedTerm) confirms(destination string) (confirmed int) {
	return s.confirmsUpTo(destination, math.MaxInt)
}

// confirmsUpTo has it confirm so many messages at most.
func (s *steppedTerm) confirmsUpTo(destination string, most int) (confirmed int) {
	l := s.lanes[laneKey{destination, false}]
	if l == nil {
		return 0
	}
	var ids []waybill.ID
	for id, f := range l.window {
		if f.state == waiting && len(ids) < most {
			ids = append(ids, id)
		}
	}
	s.say("shop", waybill.Done, ids...)
	return len(ids)
}

func TestABacklogWhoseRoomAnotherOneHasTakenStaysInTheTable(t *testing.T) {
	const destinations, each = 6, 60
	inBubble(t, Options{Window: 8, InFlight: 12}, func(t *testing.T, s *steppedTerm) {
		s.insertInto(destinations, each, 1)
		sent, rounds := 0, 0
		for ; sent < destinations*each; rounds++ {
			if rounds > 20*each {
				t.Fatalf("after %d rounds %d of %d messages are sent, want all", rounds, sent, destinations*each)
			}
			s.steps()
			sent += s.publish(nil)
			// All is confirmed of some destinations, and one message of some others.
			for i := range destinations {
				switch destination := fmt.Sprint("away.", i); (i + rounds) % 3 {
				case 0:
					s.confirms(destination)
				case 1:
					s.confirmsUpTo(destination, 1)
				}
			}
			s.wait(0)
		}
		for _, l := range s.order {
			if len(l.window) > 8 {
				t.Errorf("got %d messages in a window of 8", len(l.window))
			}
		}
	})
}

func TestConsumersThatAreAwayDoNotTakeTheMessagesInFlightFromTheOthers(t *testing.T) {
	for _, away := range []int{1, 3, 150} {
		t.Run(fmt.Sprint(away), func(t *testing.T) {
			const inFlight = 100
			inBubble(t, Options{Window: 50, InFlight: inFlight}, func(t *testing.T, s *steppedTerm) {
				s.insertInto(away, 1+1000/away, 1)
				for range 50 {
					s.steps()
					s.publish(nil)
				}
				if got := len(s.inflights); got > inFlight+away {
					t.Errorf("got %d messages in flight, want %d, and one for each destination that has none, at most", got, inFlight)
				}
				s.insert(100, 1)
				confirmed := 0
				for rounds := 0; confirmed < 100; rounds++ {
					if rounds > 200 {
						t.Fatalf("after %d rounds %d of 100 messages of the destination that is not away are confirmed", rounds, confirmed)
					}
					s.steps()
					s.publish(nil)
					confirmed += s.confirms("orders")
				}
			})
		})
	}
}

func TestNamedConsumersThatAreAwayAreBoundedTogether(t *testing.T) {
	o := Options{InFlight: 100, Window: 40, FirstResend: time.Second, Default: Destination{Consumers: []string{"shop", "audit", "print"}}}
	inBubble(t, o, func(t *testing.T, s *steppedTerm) {
		s.insertInto(3, 100, 1)
		for range 100 {
			s.steps()
			s.publish(nil)
			for d := range 3 {
				s.confirms(fmt.Sprintf("away.%d", d))
			}
			time.Sleep(time.Second) // the bubble's time
		}
		if got := len(s.inflights) + len(s.parked); got > 100+len(s.order) {
			t.Errorf("got %d in flight, want 100 and one for each of %d lanes at most", got, len(s.order))
		}
		if len(s.parked) == 0 {
			t.Error("nothing was parked")
		}
	})
}

func TestLargeMessagesOfManyDestinationsStayWithinTheBytes(t *testing.T) {
	const size, page, total = 32 << 10, 256 << 10, 1 << 20
	for _, c := range []struct {
		name    string
		refuses func(string) bool
	}{
		{"all are taken", nil},
		{"some are refused", func(destination string) bool { return destination != "orders" && destination != "away.7" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, Options{InFlightBytes: total, BatchBytes: page}, func(t *testing.T, s *steppedTerm) {
				s.insertInto(100, 5, size)
				s.insert(20, size)
				most, confirmed := 0, 0
				for rounds := 0; confirmed < 25; rounds++ {
					if rounds > 1000 {
						t.Fatalf("after %d rounds %d of 25 are confirmed", rounds, confirmed)
					}
					s.steps()
					held := 0
					for _, l := range s.order {
						for i := range l.queue {
							held += l.queue[i].size()
						}
					}
					if held != s.bytes {
						t.Fatalf("%d bytes are queued, and %d are counted", held, s.bytes)
					}
					most = max(most, held)
					s.publish(c.refuses)
					confirmed += s.confirms("orders") + s.confirms("away.7")
					time.Sleep(10 * time.Millisecond) // the bubble's time
				}
				if most > total+page+2*size || most < total/4 {
					t.Errorf("held %d bytes, want up to %d and what is read at once", most, total)
				}
			})
		})
	}
}

func TestDestinationsThatAreMadeUpForSingleMessagesAreBounded(t *testing.T) {
	inBubble(t, Options{Window: 10}, func(t *testing.T, s *steppedTerm) {
		const maxLanes, destinations = 1000, 1500
		s.maxLanes = maxLanes
		s.insertInto(destinations, 1, 1)
		sent := 0
		for range destinations/500 + 5 {
			s.steps()
			sent += s.publish(nil)
		}
		if len(s.order) > maxLanes || sent != maxLanes {
			t.Fatalf("got %d lanes and %d messages sent, want %d", len(s.order), sent, maxLanes)
		}
		for i := range 600 {
			s.confirms(fmt.Sprintf("away.%d", i))
		}
		for began := time.Now(); sent < destinations && time.Since(began) < 2*time.Minute; time.Sleep(time.Second) { // the bubble's time
			s.steps()
			s.publish(nil)
			sent = int(s.r.Stats().Published - s.r.Stats().Copies)
		}
		if len(s.order) > maxLanes || sent != destinations {
			t.Errorf("got %d lanes and %d messages sent once others are done, want all %d sent", len(s.order), sent, destinations)
		}
	})
}

func TestAMisspeltConsumersNameIsOneLineAndNotOneAReceipt(t *testing.T) {
	inBubble(t, named(1000), func(t *testing.T, s *steppedTerm) {
		var logged bytes.Buffer
		s.log = slog.New(slog.NewTextHandler(&logged, nil))
		s.insert(500, 1)
		s.steps()
		s.publishes()
		for _, id := range s.messages() {
			s.say("shoop", waybill.Done, id)
		}
		if got := strings.Count(logged.String(), "shoop"); got != 1 || s.r.Stats().Unknown != 500 {
			t.Errorf("got %d lines and %d receipts counted, want 1 and 500:\n%.1000s", got, s.r.Stats().Unknown, logged.String())
		}
		time.Sleep(time.Minute) // the bubble's time
		id := s.messages()[0]
		for i := range 300 {
			s.say(fmt.Sprintf("stranger %d", i), waybill.Done, id)
		}
		if got := strings.Count(logged.String(), "\n"); got > 80 {
			t.Errorf("got %d lines over names that a stranger made up", got)
		}
		logged.Reset()
		long := wire.EncodeReceipts("ack.x", strings.Repeat("x", 1<<20), []waybill.Receipt{{ID: id, Outcome: waybill.Done}})
		before := s.r.Stats().Malformed
		s.handle(t.Context(), []broker.Delivery{{Message: long}})
		if logged.Len() > 1000 || s.r.Stats().Malformed != before+1 {
			t.Errorf("got %d bytes logged over a name of 1 MiB", logged.Len())
		}
	})
}

func TestReceiptsOfStrangersAreNotRememberedWithoutBound(t *testing.T) {
	s := newSteppedTerm(t, 1000, Options{})
	id := waybill.NewID()
	for range 100 {
		s.noteOvertaken(consumerReceipt{waybill.Receipt{ID: id}, "shop"})
	}
	if got := len(s.overtaken[id]); got != 1 {
		t.Errorf("%d names are kept for one message, want 1", got)
	}
	for range maxOvertaken + 1000 {
		s.noteOvertaken(consumerReceipt{waybill.Receipt{ID: waybill.NewID()}, "shop"})
	}
	if got := len(s.overtaken); got > maxOvertaken {
		t.Errorf("%d messages are kept, want %d at most", got, maxOvertaken)
	}
}

// A database that becomes read-only while the relay runs is one line, and others at growing
// intervals.
func TestADatabaseThatTakesNoWritesAnyMoreIsNotALineATry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteppedTerm(t, 0, Options{})
		var logged bytes.Buffer
		s.log = slog.New(slog.NewTextHandler(&logged, nil))
		s.insert(1, 1)
		s.steps()
		s.publishes()
		id := s.messages()[0]
		s.exec(`CREATE TRIGGER closed BEFORE DELETE ON qmessage BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END`)
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.remove(t.Context(), []waybill.ID{id})
		}()
		time.Sleep(time.Hour)
		s.exec(`DROP TRIGGER closed`)
		<-done
		if got := strings.Count(logged.String(), "readonly"); got < 2 || got > 6 {
			t.Errorf("got %d lines in an hour, want the first and a few more:\n%.2000s", got, logged.String())
		}
	})
}
