package storetest

import (
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// Two sources whose retentions differ, and how.
const (
	daySource  = "shop.7q3mk2xw9d4hznsb6t5vfc8a"
	weekSource = "week."
	day        = 24 * time.Hour
)

var dayAndWeek = store.Retention{Confirmed: day, Foreign: 7 * day}

var passCases = []testCase{
	{name: "a pass reads nothing between two producers' horizons", run: func(s *suite) {
		now := time.Now()
		s.knowDayAndWeek(now)
		s.recordEach(now.Add(-25*time.Hour), weekSource, 100, -time.Hour)
		ledger, counting := s.process()
		var deleted int64
		for pass := range 5 {
			if pass == 4 {
				ledger, counting = s.process() // which finds the horizons, and no more
			}
			counting.windows = 0
			at := now.Add(time.Duration(pass) * time.Minute)
			s.recordEach(at.Add(-day-30*time.Second), daySource, 1, 0)
			n, err := ledger.PruneBy(s.Context(), at, dayAndWeek, 3)
			s.must(err)
			deleted += n
			// The first two passes that there ever were begin at the lowest id. Of the others
			// each has a range for a producer, and a new process's reaches below the lowest one.
			if want := 2; pass >= 2 && counting.windows > want {
				s.Errorf("pass %d: got %d windows of records read, want %d at most", pass, counting.windows, want)
			}
		}
		if left := s.left(s.names.Once, weekSource); deleted != 5 || left != 100 {
			s.Errorf("got %d records deleted and %d left of the producer with a week, want the day's 5, and all 100", deleted, left)
		}
	}},
	{name: "sources that nobody knew make no pass a whole one, and what is old of them goes bit by bit", run: func(s *suite) {
		now := time.Now()
		s.knowDayAndWeek(now)
		s.recordEach(now.Add(-25*time.Hour), weekSource, 100, -time.Hour)
		ledger, counting := s.process()
		s.pass(ledger, now, 1, 0)
		s.pass(ledger, now, 1, 0)
		s.recordEach(now.Add(-26*time.Hour-time.Minute), "stranger 0.0000000000000000", 3, -20*time.Hour)
		var deleted int64
		for pass := range 12 {
			if pass < 5 {
				s.must(ledger.SaveFloor(s.Context(), fmt.Sprintf("stranger %d.0000000000000000", pass), waybill.LowestID(now)))
			}
			counting.windows = 0
			n, err := ledger.PruneBy(s.Context(), now.Add(time.Duration(pass)*time.Second), dayAndWeek, 1)
			s.must(err)
			deleted += n
			if want := 30; counting.windows > want {
				s.Errorf("pass %d: got %d windows of a record read, want %d at most", pass, counting.windows, want)
			}
		}
		if deleted != 3 {
			s.Errorf("got %d records deleted, want the stranger's 3", deleted)
		}
		if want := 2; counting.windows > want {
			s.Errorf("got %d windows read when all was looked through, want %d at most", counting.windows, want)
		}
	}},
	{name: "a pass that fails is made up for by its process's next one", run: func(s *suite) {
		now := time.Now()
		s.knowDayAndWeek(now)
		ledger := s.brokenOff(now)
		s.pass(ledger, now, 3, 6)
	}},
	{name: "what a process left that died is gone when the lowest horizon has passed it", run: func(s *suite) {
		now := time.Now()
		s.knowDayAndWeek(now)
		s.brokenOff(now)
		ledger, counting := s.process()
		s.pass(ledger, now, 3, 0)
		if want := 2; counting.windows > want {
			s.Errorf("got %d windows of records read, want %d at most", counting.windows, want)
		}
		later, _ := s.process()
		s.pass(later, now.Add(7*day), 3, 6+9) // and the nine of the other producer
	}},
	{name: "what a process left that died is gone after the longer retention, though an outbox that is no more holds the lowest horizon", run: func(s *suite) {
		now := time.Now()
		const dead = "dead.0000000000000000"
		s.must(s.ledger.SaveFloor(s.Context(), daySource, waybill.LowestID(now.Add(30*day))))
		s.must(s.ledger.SaveFloor(s.Context(), dead, waybill.LowestID(now.Add(-30*day))))
		s.recordEach(now.Add(-30*day), dead, 102, time.Minute)
		s.brokenOff(now)
		ledger, counting := s.process()
		var deleted int64
		for range 6 {
			counting.windows = 0
			n, err := ledger.PruneBy(s.Context(), now.Add(7*day), dayAndWeek, 3)
			s.must(err)
			deleted += n
			if want := 25; counting.windows > want {
				s.Errorf("got %d windows of records read, want %d at most", counting.windows, want)
			}
		}
		if left := s.left(s.names.Once, dead); deleted != 6 || left != 102 {
			s.Errorf("got %d records deleted and %d of the dead outbox left, want 6 and all 102", deleted, left)
		}
	}},
}

// passDialect counts how many windows of records are read, and breaks a pass off.
type passDialect struct {
	store.Dialect
	windows  int
	deletion int // how many there were
	breaksAt int // the deletion that fails; 0: none
}

func (c *passDialect) OnceWindow(n store.Names, consumer string, after, below waybill.ID, size int) store.Statement {
	c.windows++
	return c.Dialect.OnceWindow(n, consumer, after, below, size)
}

func (c *passDialect) PruneOnce(n store.Names, consumer string, ids []waybill.ID) store.Statement {
	if c.deletion++; c.deletion == c.breaksAt {
		return store.Statement{SQL: "the process dies here"}
	}
	return c.Dialect.PruneOnce(n, consumer, ids)
}

// process is a ledger as a process has it that begins.
func (s *suite) process() (*store.Ledger, *passDialect) {
	s.Helper()
	d := &passDialect{Dialect: s.dialect}
	ledger, err := store.NewLedger(s.engine, d, "", consumer)
	s.must(err)
	s.Cleanup(ledger.CloseIdle)
	s.learn(ledger)
	return ledger, d
}

func (s *suite) knowDayAndWeek(now time.Time) {
	s.Helper()
	s.must(s.ledger.SaveFloor(s.Context(), daySource, waybill.LowestID(now.Add(30*day))))
	s.must(s.ledger.SaveFloor(s.Context(), weekSource, waybill.ID{}))
}

// brokenOff has a process pass, and another one break off its first pass, at now, in which
// nine records were to go, after three of them. It returns that process's ledger.
func (s *suite) brokenOff(now time.Time) *store.Ledger {
	s.Helper()
	s.pass(s.ledger, now.Add(-6*time.Hour), 3, 0)
	s.recordEach(now.Add(-25*time.Hour), daySource, 9, -time.Minute)
	s.recordEach(now.Add(-25*time.Hour-30*time.Second), weekSource, 9, -time.Minute)
	ledger, d := s.process()
	d.breaksAt = d.deletion + 2
	if n, err := ledger.PruneBy(s.Context(), now, dayAndWeek, 6); err == nil || n == 0 || n == 9 {
		s.Fatalf("got %d records deleted and the error %v, want some and one", n, err)
	}
	if left := s.left(s.names.Once, daySource); left != 6 {
		s.Fatalf("got %d records left, want 6", left)
	}
	return ledger
}

// pass prunes, and wants so many records deleted.
func (s *suite) pass(ledger *store.Ledger, now time.Time, limit int, want int64) {
	s.Helper()
	got, err := ledger.PruneBy(s.Context(), now, dayAndWeek, limit)
	s.must(err)
	if got != want {
		s.Errorf("got %d records deleted, want %d", got, want)
	}
}

// recordEach writes n records of level Once, from a time on with a distance.
func (s *suite) recordEach(from time.Time, producer string, n int, distance time.Duration) {
	s.Helper()
	var marks []store.Mark
	for i := range n {
		m := mark(producer, fmt.Sprint(producer, " key ", i), 1)
		m.ID = waybill.NewIDAt(from.Add(time.Duration(i) * distance))
		marks = append(marks, m)
	}
	s.once(marks...)
}
