package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

var guardCases = []testCase{
	{name: "Once takes a message the first time and never again", run: func(s *suite) {
		a, b, c := mark("p", "", 1), mark("p", "", 1), mark("p", "", 1)
		s.wantVerdicts(s.once(b, a), store.Fresh, store.Fresh)
		s.wantVerdicts(s.once(a, c, b), store.Duplicate, store.Fresh, store.Duplicate)
		s.wantVerdicts(s.once(a, b, c), store.Duplicate, store.Duplicate, store.Duplicate)
		s.wantVerdicts(s.once())
	}},
	{name: "Latest takes a message that is newer than what its key has", run: func(s *suite) {
		first := mark("p", "k", 10)
		s.wantVerdicts(s.latest(first), store.Fresh)
		s.wantVerdicts(s.latest(first), store.Duplicate)
		s.wantVerdicts(s.latest(mark("p", "k", 9)), store.Superseded)
		newer := mark("p", "k", 11)
		s.wantVerdicts(s.latest(newer), store.Fresh)
		s.wantVerdicts(s.latest(first), store.Superseded)
		s.wantVerdicts(s.latest(newer), store.Duplicate)
		s.wantVerdicts(s.latest())
	}},
	{name: "Latest tells a queue from a topic of its name", run: func(s *suite) {
		queue, topic := mark("p", "k", 10), mark("p", "k", 5)
		topic.Topic = true
		s.wantVerdicts(s.latest(queue), store.Fresh)
		s.wantVerdicts(s.latest(topic), store.Fresh)
		newer := mark("p", "k", 6)
		newer.Topic = true
		older := mark("p", "k", 9)
		s.wantVerdicts(s.latest(newer, older), store.Fresh, store.Superseded)
		s.wantVerdicts(s.latest(queue, topic), store.Duplicate, store.Superseded)
	}},
	{name: "of two messages with one time stamp the one with the greater id is newer", run: func(s *suite) {
		low, middle, high := mark("p", "k", 10), mark("q", "k", 10), mark("p", "k", 10)
		s.wantVerdicts(s.latest(middle), store.Fresh)
		s.wantVerdicts(s.latest(low), store.Superseded)
		s.wantVerdicts(s.latest(high), store.Fresh)
		s.wantVerdicts(s.latest(middle), store.Superseded)
		s.wantVerdicts(s.latest(high), store.Duplicate)
		older := mark("p", "k", 9)
		s.wantVerdicts(s.latest(older), store.Superseded)
	}},
	{name: "time stamps of any size are compared as numbers", run: func(s *suite) {
		for _, stamp := range []int64{1, 9, 10, 99, 100, 1 << 53, 1<<53 + 1, 1<<63 - 2, 1<<63 - 1} {
			s.wantVerdicts(s.latest(mark("p", "k", stamp)), store.Fresh)
			s.wantVerdicts(s.latest(mark("p", "k", stamp-1)), store.Superseded)
		}
	}},
	{name: "a batch gets a verdict for each mark, in the order given", run: func(s *suite) {
		n := s.dialect.Capabilities().MaxBatch + 7
		ones, keyed := make([]store.Mark, n), make([]store.Mark, n)
		for i := range n {
			ones[i] = mark("p", "", 1)
			keyed[i] = mark("p", fmt.Sprint("key ", n-i), 10)
		}
		s.once(ones[3], ones[n-1])
		s.latest(keyed[3], keyed[n-1])
		newer := mark("p", keyed[5].Key, 20)
		s.latest(newer)
		wantOnce, wantLatest := make([]store.Verdict, n), make([]store.Verdict, n)
		wantOnce[3], wantOnce[n-1] = store.Duplicate, store.Duplicate
		wantLatest[3], wantLatest[n-1], wantLatest[5] = store.Duplicate, store.Duplicate, store.Superseded
		s.wantVerdicts(s.once(ones...), wantOnce...)
		s.wantVerdicts(s.latest(keyed...), wantLatest...)
	}},
	{name: "records of other consumers, destinations and levels are other records", run: func(s *suite) {
		m := mark("p", "k", 10)
		s.wantVerdicts(s.once(m), store.Fresh)
		s.wantVerdicts(s.latest(m), store.Fresh)
		for _, name := range []string{"Shipping", "shipping ", "billing"} {
			other := s.as(name)
			s.wantVerdicts(other.once(m), store.Fresh)
			s.wantVerdicts(other.latest(m), store.Fresh)
		}
		elsewhere := m
		elsewhere.Destination = "Orders"
		s.wantVerdicts(s.latest(elsewhere), store.Fresh)
	}},
	{name: "keys are compared byte by byte", run: func(s *suite) {
		var marks []store.Mark
		for _, key := range hostileKeys {
			marks = append(marks, mark("p", key, 10))
		}
		fresh, duplicate := make([]store.Verdict, len(marks)), make([]store.Verdict, len(marks))
		for i := range duplicate {
			duplicate[i] = store.Duplicate
		}
		s.wantVerdicts(s.latest(marks...), fresh...)
		s.wantVerdicts(s.latest(marks...), duplicate...)
		for _, m := range marks {
			s.wantVerdicts(s.latest(m), store.Duplicate)
		}
	}},
	{name: "names of the greatest length are taken", run: func(s *suite) {
		long := strings.Repeat("n", waybill.MaxName)
		m := store.Mark{ID: waybill.NewID(), Producer: strings.Repeat("p", waybill.MaxName-4), Destination: long, Key: long, TimeStamp: 1}
		other := s.as(long)
		s.wantVerdicts(other.latest(m), store.Fresh)
		s.wantVerdicts(other.once(m), store.Fresh)
		s.wantVerdicts(other.latest(m), store.Duplicate)
		s.must(other.ledger.SaveFloor(s.Context(), m.Producer, m.ID))
	}},
	{name: "a guard that is rolled back leaves nothing", run: func(s *suite) {
		old, m := mark("p", "k", 10), mark("p", "k", 11)
		s.latest(old)
		_, err := s.guardIn(false, func(tx store.Session) ([]store.Verdict, error) {
			for _, record := range []func(context.Context, store.Session, []store.Mark) ([]store.Verdict, error){s.ledger.RecordOnce, s.ledger.RecordLatest} {
				verdicts, err := record(s.Context(), tx, []store.Mark{m})
				if err != nil {
					return nil, err
				}
				s.wantVerdicts(verdicts, store.Fresh)
			}
			return nil, nil
		})
		s.must(err)
		s.wantVerdicts(s.latest(old), store.Duplicate)
		s.wantVerdicts(s.once(m), store.Fresh)
		s.wantVerdicts(s.latest(m), store.Fresh)
	}},
	{name: "a second guard in the same transaction sees the first", run: func(s *suite) {
		m := mark("p", "k", 11)
		_, err := s.guardIn(true, func(tx store.Session) ([]store.Verdict, error) {
			for i, want := range []store.Verdict{store.Fresh, store.Duplicate} {
				verdicts, err := s.ledger.RecordOnce(s.Context(), tx, []store.Mark{m})
				if err != nil {
					return nil, err
				}
				if verdicts[0] != want {
					s.Errorf("once, time %d: got the verdict %v, want %v", i+1, verdicts[0], want)
				}
				verdicts, err = s.ledger.RecordLatest(s.Context(), tx, []store.Mark{m})
				if err != nil {
					return nil, err
				}
				if verdicts[0] != want {
					s.Errorf("latest, time %d: got the verdict %v, want %v", i+1, verdicts[0], want)
				}
			}
			return nil, nil
		})
		s.must(err)
	}},
	{name: "a message below its producer's horizon is Forgotten unless its record is there", run: func(s *suite) {
		now := time.Now()
		aged := func(producer, key string, age time.Duration) store.Mark {
			m := mark(producer, key, 10)
			m.ID = waybill.NewIDAt(now.Add(-age))
			return m
		}
		s.must(s.ledger.SaveFloor(s.Context(), "p", waybill.ID{}))
		s.must(s.ledger.SaveFloor(s.Context(), "q", waybill.ID{}))
		kept := aged("stranger", "kept", 3*time.Hour)
		s.wantVerdicts(s.once(kept), store.Fresh)
		s.wantVerdicts(s.latest(kept), store.Fresh)
		_, err := s.ledger.Prune(s.Context(), now, 2*time.Hour, 10)
		s.must(err)
		old, young, stranger := aged("p", "a", 3*time.Hour), aged("p", "b", time.Hour), aged("stranger", "c", 3*time.Hour)
		want := []store.Verdict{store.Forgotten, store.Fresh, store.Fresh, store.Duplicate}
		verdicts, err := s.guardIn(false, func(tx store.Session) ([]store.Verdict, error) {
			return s.ledger.RecordOnce(s.Context(), tx, []store.Mark{old, young, stranger, kept})
		})
		s.must(err)
		s.wantVerdicts(verdicts, want...)
		// A key's record is never forgotten, so a state without one is new.
		s.wantVerdicts(s.latest(old, young, stranger, kept), store.Fresh, store.Fresh, store.Fresh, store.Duplicate)
	}},
}

// mark is a new message of destination orders.
func mark(producer, key string, stamp int64) store.Mark {
	return store.Mark{ID: waybill.NewID(), Producer: producer, Destination: "orders", Key: key, TimeStamp: stamp}
}

func (s *suite) wantVerdicts(got []store.Verdict, want ...store.Verdict) {
	s.Helper()
	if !slices.Equal(got, want) {
		s.Errorf("got the verdicts %v, want %v", got, want)
	}
}
