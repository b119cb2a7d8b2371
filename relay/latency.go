package relay

import (
	"slices"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// latencyBounds are the upper bounds of a Latency's buckets.
var latencyBounds = [...]time.Duration{
	2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, time.Hour,
}

// LatencyBounds are the upper bounds of the buckets that a Latency has, in order.
func LatencyBounds() []time.Duration { return slices.Clone(latencyBounds[:]) }

// Latency tells how long messages took from when they were sent, or due, to when the relay
// had the word of all their consumers that their effects are committed: a histogram. The
// first of these times is that of the message's id, in ms; the second is by the database's
// clock, too. Messages of destinations that are Accepted have no part in it.
type Latency struct {
	Count int64         // of messages
	Sum   time.Duration // of their times
	// Buckets hold how many took at most UpTo, in order; those that took longer than the
	// last one's are in Count alone.
	Buckets []LatencyBucket
}

// LatencyBucket is how many messages took no longer than UpTo.
type LatencyBucket struct {
	UpTo  time.Duration
	Count int64
}

// Quantile estimates the time within which the share q, 0 to 1, of the messages was
// confirmed, by interpolation within a bucket. Beyond the last bucket it is that one's
// bound; it is 0 where there are no messages.
func (l *Latency) Quantile(q float64) time.Duration {
	rank := min(max(q, 0), 1) * float64(l.Count)
	var from time.Duration
	var below int64
	for _, b := range l.Buckets {
		if n := b.Count - below; n > 0 && float64(b.Count) >= rank {
			return from + time.Duration(float64(b.UpTo-from)*max(rank-float64(below), 0)/float64(n))
		}
		from, below = b.UpTo, b.Count
	}
	if l.Count == 0 {
		return 0
	}
	return from
}

// latency counts for a Latency. It is safe for concurrent use.
type latency struct {
	counts [len(latencyBounds) + 1]atomic.Int64
	sum    atomic.Int64 // in ns
}

// observe counts a message that is confirmed at a time of the database's clock, in µs. One
// whose id is of a later time, by a clock that is not the database's, took none.
func (l *latency) observe(id waybill.ID, now int64) {
	took := took(id, now)
	at, _ := slices.BinarySearch(latencyBounds[:], took)
	l.counts[at].Add(1)
	l.sum.Add(int64(took))
}

func took(id waybill.ID, now int64) time.Duration {
	return max(time.Duration(now-id.Time().UnixMicro())*time.Microsecond, 0)
}

// told is what has been counted until now.
func (l *latency) told() Latency {
	told := Latency{Sum: time.Duration(l.sum.Load()), Buckets: make([]LatencyBucket, len(latencyBounds))}
	for i, bound := range latencyBounds {
		told.Count += l.counts[i].Load()
		told.Buckets[i] = LatencyBucket{bound, told.Count}
	}
	told.Count += l.counts[len(latencyBounds)].Load()
	return told
}
