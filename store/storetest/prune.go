package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/store"
)

var pruneCases = []testCase{
	{name: "records go once they are older than their producer's floor, or the clock, by the retention", run: func(s *suite) {
		now := time.Now()
		// p has told a recent floor, q one of 6 hours ago, r none.
		s.must(s.ledger.SaveFloor(s.Context(), "p", waybill.LowestID(now)))
		s.must(s.ledger.SaveFloor(s.Context(), "q", waybill.LowestID(now.Add(-6*time.Hour))))
		s.must(s.ledger.SaveFloor(s.Context(), "r", waybill.ID{}))
		s.record(now, "p", 10)
		s.record(now, "q", 10)
		s.record(now, "r", 10)
		s.record(now, "stranger", 10)
		deleted, err := s.ledger.Prune(s.Context(), now, 24*time.Hour, 3)
		s.must(err)
		// Records are 2.5, 7.5 ... 47.5 hours old.
		want := map[string]int{"p": 5, "q": 6, "r": 5, "stranger": 10}
		for _, producer := range []string{"p", "q", "r", "stranger"} {
			if left := s.left(s.names.Once, producer); left != want[producer] {
				s.Errorf("got %d records of %s left, want %d", left, producer, want[producer])
			}
			if left := s.left(s.names.Latest, producer); left != 10 {
				s.Errorf("got %d keys of %s left, want all 10", left, producer)
			}
		}
		if deleted != 5+4+5 {
			s.Errorf("got %d records deleted, want 14", deleted)
		}
		deleted, err = s.ledger.Prune(s.Context(), now, 24*time.Hour, 3)
		s.must(err)
		if deleted != 0 {
			s.Errorf("got %d records deleted the second time, want none", deleted)
		}
	}},
	{name: "what would be forgotten can be told before", run: func(s *suite) {
		now := time.Now()
		floor := waybill.LowestID(now)
		s.must(s.ledger.SaveFloor(s.Context(), "p", floor))
		s.must(s.ledger.SaveFloor(s.Context(), "q", waybill.ID{}))
		s.record(now, "p", 10)
		s.record(now, "q", 10)
		s.record(now, "stranger", 10)
		for _, c := range []struct {
			hours, most int
			want        int64
		}{{24, 1000, 15}, {24, 7, 7}, {46, 1000, 3}, {100, 1000, 0}} {
			age := time.Duration(c.hours) * time.Hour
			day := waybill.LowestID(now.Add(-age))
			horizons, atMost, err := s.ledger.Forgettable(s.Context(), now, store.Retention{Confirmed: age, Foreign: age}, c.most)
			s.must(err)
			if want := []store.Horizon{{Producer: "p", ID: day, Floor: floor}, {Producer: "q", ID: day}}; !slices.Equal(horizons, want) {
				s.Errorf("%d hours: got the horizons\n%+v, want\n%+v", c.hours, horizons, want)
			}
			if atMost != c.want {
				s.Errorf("%d hours: got %d records at most, want %d", c.hours, atMost, c.want)
			}
		}
		s.wantHorizons(store.Horizon{Producer: "p", Floor: floor}, store.Horizon{Producer: "q"})
		if left := s.left(s.names.Once, "p"); left != 10 {
			s.Errorf("got %d records left, want all 10", left)
		}
		if _, _, err := s.ledger.Forgettable(s.Context(), now, store.Retention{}, 0); err == nil {
			s.Error("got no error of counting no records, want one")
		}
	}},
	{name: "the horizon that was used is stored for each producer and never goes back", run: func(s *suite) {
		now := time.Now()
		floor := waybill.LowestID(now.Add(-36 * time.Hour))
		s.must(s.ledger.SaveFloor(s.Context(), "p", floor))
		s.must(s.ledger.SaveFloor(s.Context(), "q", waybill.ID{}))
		s.wantHorizons(store.Horizon{Producer: "p", Floor: floor}, store.Horizon{Producer: "q"})
		_, err := s.ledger.Prune(s.Context(), now, 24*time.Hour, 100)
		s.must(err)
		day := waybill.LowestID(now.Add(-24 * time.Hour))
		below := waybill.LowestID(now.Add(-60 * time.Hour))
		s.wantHorizons(store.Horizon{Producer: "p", ID: below, Floor: floor}, store.Horizon{Producer: "q", ID: day})
		_, err = s.ledger.Prune(s.Context(), now, 48*time.Hour, 100)
		s.must(err)
		s.wantHorizons(store.Horizon{Producer: "p", ID: below, Floor: floor}, store.Horizon{Producer: "q", ID: day})
	}},
	{name: "a floor never goes back and zero says nothing", run: func(s *suite) {
		low, high := waybill.LowestID(time.UnixMilli(1000)), waybill.LowestID(time.UnixMilli(2000))
		for _, told := range []waybill.ID{{}, low, high, low, {}} {
			s.must(s.ledger.SaveFloor(s.Context(), "p", told))
		}
		s.wantHorizons(store.Horizon{Producer: "p", Floor: high})
	}},
	{name: "hostile producers' names are producers of their own", run: func(s *suite) {
		var want []store.Horizon
		now := time.Now()
		for i, name := range hostileKeys {
			floor := waybill.NewIDAt(now.Add(time.Duration(i) * time.Second))
			s.must(s.ledger.SaveFloor(s.Context(), name, floor))
			want = append(want, store.Horizon{Producer: name, Floor: floor})
			m := mark(name, fmt.Sprint(i), 1)
			m.ID = waybill.NewIDAt(now.Add(-time.Hour))
			s.wantVerdicts(s.once(m), store.Fresh)
		}
		got, err := s.ledger.Horizons(s.Context())
		s.must(err)
		for _, h := range want {
			if !slices.Contains(got, h) {
				s.Errorf("got the horizons %+v, want %+v among them", got, h)
			}
		}
		deleted, err := s.ledger.Prune(s.Context(), now, 0, 7)
		s.must(err)
		if deleted != int64(len(hostileKeys)) {
			s.Errorf("got %d records deleted, want %d", deleted, len(hostileKeys))
		}
	}},
	{name: "an old state that comes late, under whatever id, finds the newer one's record", run: func(s *suite) {
		now := time.Now()
		newer := mark("p", "k", 2)
		newer.ID = waybill.NewIDAt(now.Add(-48 * time.Hour))
		s.wantVerdicts(s.latest(newer), store.Fresh)
		s.must(s.ledger.SaveFloor(s.Context(), "p", waybill.LowestID(now)))
		_, err := s.ledger.Prune(s.Context(), now, 24*time.Hour, 100)
		s.must(err)
		// Sent again by a person, or delayed, it has an id above the horizon; of another
		// producer there is no horizon.
		s.wantVerdicts(s.latest(mark("p", "k", 1)), store.Superseded)
		s.wantVerdicts(s.latest(mark("q", "k", 1)), store.Superseded)
		s.wantVerdicts(s.latest(newer), store.Duplicate)
	}},
	{name: "consumers forget each for itself", run: func(s *suite) {
		now := time.Now()
		other := s.as("billing")
		for _, c := range []*suite{s, other} {
			s.must(c.ledger.SaveFloor(s.Context(), "p", waybill.ID{}))
			c.record(now, "p", 10)
		}
		_, err := s.ledger.Prune(s.Context(), now, 0, 4)
		s.must(err)
		if left := s.left(s.names.Once, "p"); left != 10 {
			s.Errorf("got %d records of both left, want the other's 10", left)
		}
		if got, want := s.horizonOf(other.ledger, "p"), (store.Horizon{Producer: "p"}); got != want {
			s.Errorf("got the other consumer's horizon %+v, want %+v", got, want)
		}
		names, err := store.Consumers(s.Context(), s.engine, s.dialect, "")
		s.must(err)
		if want := []string{"billing", consumer}; !slices.Equal(names, want) {
			s.Errorf("got the consumers %q, want %q", names, want)
		}
	}},
	{name: "batches of any size prune the same", run: func(s *suite) {
		now := time.Now()
		for i, limit := range []int{1, 9, 10, 11, 1000} {
			s.sub(fmt.Sprint(limit), func(s *suite) {
				producer := fmt.Sprint("p", i)
				s.must(s.ledger.SaveFloor(s.Context(), producer, waybill.ID{}))
				s.record(now, producer, 10)
				deleted, err := s.ledger.Prune(s.Context(), now, 0, limit)
				s.must(err)
				if deleted != 10 {
					s.Errorf("got %d records deleted, want 10", deleted)
				}
			})
		}
		if _, err := s.ledger.Prune(s.Context(), now, 0, 0); err == nil {
			s.Error("got no error of a batch of no records, want one")
		}
	}},
	{name: "pruning does not wait for a guard that is under way", run: func(s *suite) {
		s.needsWriters("whatever writes waits for a transaction that writes")
		now := time.Now()
		s.must(s.ledger.SaveFloor(s.Context(), "p", waybill.ID{}))
		s.record(now, "p", 10)
		tx := s.guardOpen(func(tx store.Session) ([]store.Verdict, error) {
			if _, err := s.ledger.RecordOnce(s.Context(), tx, []store.Mark{mark("p", "p key 9", 2)}); err != nil {
				return nil, err
			}
			return s.ledger.RecordLatest(s.Context(), tx, []store.Mark{mark("p", "p key 0", 2), mark("p", "new key", 2)})
		})
		ctx, cancel := context.WithTimeout(s.Context(), patience.Limit)
		defer cancel()
		// The five old records are not the guard's.
		deleted, err := s.ledger.Prune(ctx, now, 24*time.Hour, 3)
		s.must(err)
		if deleted != 5 {
			s.Errorf("got %d records deleted, want 5", deleted)
		}
		s.must(tx.Commit(s.Context()))
	}},
	{name: "nothing is pruned while no producer is known", run: func(s *suite) {
		s.record(time.Now(), "p", 3)
		deleted, err := s.ledger.Prune(s.Context(), time.Now(), 0, 100)
		s.must(err)
		if deleted != 0 || s.left(s.names.Once, "p") != 3 {
			s.Errorf("got %d records deleted, want none", deleted)
		}
	}},
}

// record writes n records of each level, from 2.5 hours before now every five hours back.
func (s *suite) record(now time.Time, producer string, n int) {
	s.Helper()
	var marks []store.Mark
	for i := range n {
		m := mark(producer, fmt.Sprint(producer, " key ", i), 1)
		m.ID = waybill.NewIDAt(now.Add(-150*time.Minute - time.Duration(i)*5*time.Hour))
		marks = append(marks, m)
	}
	s.once(marks...)
	s.latest(marks...)
}

// left counts a producer's records in a table.
func (s *suite) left(table, producer string) int {
	s.Helper()
	var n sql.NullInt64
	s.must(s.db.QueryRowContext(s.Context(), s.bind(`SELECT count(*) FROM `+table+` WHERE producer = ?`), producer).Scan(&n))
	return int(n.Int64)
}

func (s *suite) wantHorizons(want ...store.Horizon) {
	s.Helper()
	got, err := s.ledger.Horizons(s.Context())
	s.must(err)
	if !slices.Equal(got, want) {
		s.Errorf("got the horizons\n%+v, want\n%+v", got, want)
	}
}

func (s *suite) horizonOf(ledger *store.Ledger, producer string) store.Horizon {
	s.Helper()
	all, err := ledger.Horizons(s.Context())
	s.must(err)
	for _, h := range all {
		if h.Producer == producer {
			return h
		}
	}
	s.Fatalf("got no horizon of producer %s, want one", producer)
	return store.Horizon{}
}
