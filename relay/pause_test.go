package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// insertTo inserts n rows to a destination.
func (s *steppedTerm) insertTo(destination string, n int) {
	s.t.Helper()
	s.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO qmessage (destination, message_content) SELECT ?, 'x' FROM n`, n, destination)
}

// pauses has the term read pauses.
func (s *steppedTerm) pauses(destinations ...string) {
	s.t.Helper()
	var all []store.Pause
	for _, d := range destinations {
		all = append(all, store.Pause{Destination: d, Since: time.UnixMicro(1)})
	}
	s.setPauses(s.t.Context(), all)
}

// settles lets the pump look so often, and returns the rows
// that were sent; each is receipted at once.
func (s *steppedTerm) settles(most int) (rows []int64) {
	s.t.Helper()
	for range most {
		s.steps()
		sent := s.publishes()
		rows = append(rows, sent...)
		for _, row := range sent {
			s.exec(`DELETE FROM qmessage WHERE id = ?`, row)
		}
		for id := range maps.Clone(s.inflights) {
			if s.inflights[id].state == waiting {
				s.forget(id)
			}
		}
	}
	return rows
}

func TestAPausedLaneGivesBackWhatItHasAndGoesOnFromThere(t *testing.T) {
	s := newSteppedTerm(t, 0, Options{Window: 100, Batch: 10})
	s.insertTo("orders", 60)
	s.steps()
	s.steps() // two batches are queued
	l := s.lanes[laneKey{destination: "orders"}]
	if len(l.queue) == 0 {
		t.Fatal("got nothing queued, want some")
	}
	first := l.take() // a batch is under way
	s.pauses("orders")
	if len(l.queue) > 0 || l.bytes != 0 || s.bytes != l.publishing || !l.hasBacklog() || len(l.window) != len(first) {
		t.Errorf("got %d queued, %d bytes of %d and %d in the window, want the batch under way alone", len(l.queue), l.bytes, s.bytes, len(l.window))
	}
	results := make([]broker.Result, len(first))
	for i := range results {
		results[i].Fate = broker.Refused
		results[i].Err = errors.New("full")
	}
	l.noteFates(first, results, s.connection)
	for range 10 {
		s.steps()
		if rows := s.publishes(); len(rows) > 0 {
			t.Fatalf("sent rows %v while it is paused, want none", rows)
		}
	}
	s.pauses()
	rows := s.settles(30)
	if len(rows) != 60 || !slices.IsSorted(rows) {
		t.Errorf("sent rows %v, want all 60 in order", rows)
	}
}

// A paused destination with many rows costs others a bounded number of statements.
func TestABacklogThatIsPausedHoldsUpNoOther(t *testing.T) {
	const many = 20_000
	s := newSteppedTerm(t, 0, Options{})
	s.pauses("orders")
	s.insertTo("orders", many)
	s.insertTo("prices", 100)
	steps := 0
	for sent := 0; sent < 100; steps++ {
		if steps > 2*many/(pastBatches*500)+20 {
			t.Fatalf("got %d of 100 messages sent after %d looks, want all", sent, steps)
		}
		s.steps()
		sent += len(s.publishes())
	}
	s.steps()
	l := s.lanes[laneKey{destination: "orders"}]
	if len(l.window) > 0 || !l.hasBacklog() || l.isIdle() {
		t.Errorf("got %d messages in the paused window, want all in the table", len(l.window))
	}
	// What comes now is found at once, and nothing is read of what waits.
	s.insertTo("prices", 10)
	s.steps()
	if n := len(s.publishes()); n != 10 {
		t.Errorf("got %d messages sent, want 10", n)
	}
	if busy, err := s.pump.scanBacklog(t.Context()); busy || err != nil {
		t.Errorf("got a look for what waits: %v, error %v, want none", busy, err)
	}
}

// unreadable is a dialect whose pauses cannot be read from some time on.
type unreadable struct {
	store.Dialect
	now *atomic.Bool
}

func (d unreadable) Pauses(n store.Names, side store.Side, consumer string) store.Statement {
	if d.now.Load() {
		return store.Statement{SQL: `SELECT nothing`}
	}
	return d.Dialect.Pauses(n, side, consumer)
}

func TestWhatIsPausedStaysSoWhileItCannotBeRead(t *testing.T) {
	s := newSteppedTerm(t, 0, Options{})
	fails := new(atomic.Bool)
	queue, err := store.NewQueue(s.db, unreadable{sqlite.Dialect(), fails}, "")
	if err != nil {
		t.Fatal(err)
	}
	s.r.queue = queue
	if err := queue.Pause(t.Context(), store.Pause{Destination: "orders"}, 0); err != nil {
		t.Fatal(err)
	}
	s.beginPauses(t.Context())
	fails.Store(true)
	if _, err := s.readPauses(t.Context()); err == nil {
		t.Fatal("got no error of pauses that cannot be read, want one")
	}
	s.insertTo("orders", 5)
	s.insertTo("prices", 5)
	s.steps()
	if n := len(s.publishes()); n != 5 {
		t.Errorf("got %d messages sent, want those of the other destination", n)
	}
	// A later term of the same relay knows it, too.
	next := newTerm(s.r, "identity", 0, 1)
	next.beginPauses(t.Context())
	if !next.isPaused(laneKey{destination: "orders"}) {
		t.Error("got orders not paused in the next term, want what was read last")
	}
}

func TestABreakerStopsItsLaneBeforeItIsWritten(t *testing.T) {
	s := newSteppedTerm(t, 0, Options{Destinations: map[string]Destination{"orders": {Breaker: waybill.Breaker{InARow: 3, For: time.Hour}}}})
	s.insertTo("orders", 30)
	s.steps()
	s.publishes()
	l := s.lanes[laneKey{destination: "orders"}]
	var receipts []consumerReceipt
	for _, f := range l.window {
		if len(receipts) < 3 {
			receipts = append(receipts, consumerReceipt{waybill.Receipt{ID: f.id, Outcome: waybill.Rejected, Error: fmt.Sprint("no order ", len(receipts))}, "shipping"})
		}
	}
	s.classify(t.Context(), receipts[:2])
	if l.paused {
		t.Fatal("got the lane paused after two rejections, want it after three")
	}
	s.classify(t.Context(), receipts[2:])
	s.insertTo("orders", 10)
	s.steps()
	if rows := s.publishes(); !l.paused || len(rows) > 0 {
		t.Errorf("sent rows %v after three rejections, want none", rows)
	}
	if _, err := s.writeTrips(context.Background()); err != nil {
		t.Fatal(err)
	}
	all, err := s.r.queue.Pauses(t.Context())
	if err != nil || len(all) != 1 || all[0].By != waybill.BreakerName || all[0].Reason != "3 rejections in a row, the last one: shipping: no order 2" || all[0].Until.Sub(all[0].Since) != time.Hour {
		t.Errorf("got the pauses %+v, error %v, want the breaker's for an hour", all, err)
	}
	if _, err := s.readPauses(t.Context()); err != nil || !l.paused {
		t.Errorf("got the lane going on once the pause is written, error %v", err)
	}
	if _, err := s.r.queue.Resume(t.Context(), "orders", false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.readPauses(t.Context()); err != nil || l.paused {
		t.Errorf("got the lane paused once it is resumed, error %v", err)
	}
	s.steps()
	if rows := s.publishes(); len(rows) != 10 {
		t.Errorf("sent rows %v once it is resumed, want the 10 that waited", rows)
	}
}

func TestAPaceAllowsATenthOfASecondAtOnce(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		perSecond   float64
		atOnce, in1 int // in a second after that
	}{{0, 1000, 1000}, {100, 10, 100}, {5, 1, 5}, {0.5, 1, 0}} {
		p := newPace(c.perSecond, now)
		n := p.allows(1000, now)
		p.spend(n)
		sent := 0
		for ms := range 1000 {
			more := p.allows(1000, now.Add(time.Duration(ms+1)*time.Millisecond))
			p.spend(more)
			sent += more
		}
		if c.perSecond == 0 {
			sent /= 1000
		}
		if n != c.atOnce || sent != c.in1 {
			t.Errorf("%v a second: got %d at once and %d in the second after, want %d and %d", c.perSecond, n, sent, c.atOnce, c.in1)
		}
	}
}
