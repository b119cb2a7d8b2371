package relay

import (
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
)

func TestLatencyTellsWhatWasObserved(t *testing.T) {
	var l latency
	now := time.Now().Truncate(time.Millisecond)
	for _, took := range []time.Duration{0, 2 * time.Millisecond, 3 * time.Millisecond, 20 * time.Millisecond, 2 * time.Hour, -time.Minute} {
		l.observe(waybill.NewIDAt(now.Add(-took)), now.UnixMicro())
	}
	told := l.told()
	if told.Count != 6 || told.Sum != 2*time.Hour+25*time.Millisecond {
		t.Errorf("%d messages that took %v, want 6 that took 2h0m0.025s", told.Count, told.Sum)
	}
	for i, want := range []int64{3, 4, 4, 5, 5} {
		if b := told.Buckets[i]; b.Count != want {
			t.Errorf("%d took at most %v, want %d", b.Count, b.UpTo, want)
		}
	}
	if last := told.Buckets[len(told.Buckets)-1]; last.Count != 5 || last.UpTo != time.Hour {
		t.Errorf("the last bucket has %d up to %v, want 5 up to an hour", last.Count, last.UpTo)
	}
}

func TestQuantiles(t *testing.T) {
	l := Latency{Count: 10, Buckets: []LatencyBucket{{10 * time.Millisecond, 4}, {20 * time.Millisecond, 4}, {30 * time.Millisecond, 8}}}
	for q, want := range map[float64]time.Duration{
		0: 0, 0.2: 5 * time.Millisecond, 0.4: 10 * time.Millisecond, 0.6: 25 * time.Millisecond,
		0.8: 30 * time.Millisecond, 0.99: 30 * time.Millisecond, 2: 30 * time.Millisecond, -1: 0,
	} {
		if got := l.Quantile(q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := (&Latency{}).Quantile(0.5); got != 0 {
		t.Errorf("the median of nothing is %v", got)
	}
}

func TestOnlyMessagesThatAllConsumersHaveConfirmedCount(t *testing.T) {
	inBubble(t, named(50), func(t *testing.T, s *steppedTerm) {
		s.insert(3, 1)
		s.steps()
		s.publishes()
		ids := s.messages()
		s.passes(3 * time.Second)
		before := s.r.latency.told()
		s.say("shop", waybill.Done, ids[0])
		s.say("shop", waybill.Done, ids[1])
		s.say("audit", waybill.Rejected, ids[1])
		s.say("shop", waybill.Retry, ids[2])
		if got := s.r.latency.told(); got.Count != 0 || before.Count != 0 {
			t.Errorf("%d messages count that nobody, or not everybody, has confirmed", got.Count)
		}
		s.say("audit", waybill.Done, ids[0])
		s.say("audit", waybill.Done, ids[0]) // again
		got := s.r.latency.told()
		if got.Count != 1 || got.Sum < 3*time.Second || got.Sum > time.Minute {
			t.Errorf("%d messages took %v, want one that took the three seconds that passed", got.Count, got.Sum)
		}
		for _, l := range s.sortedLanes() {
			if own := l.latency.told(); own.Count != 1 || own.Sum != got.Sum {
				t.Errorf("of %s %d messages took %v, want the one", l.destination, own.Count, own.Sum)
			}
		}
	})
}
