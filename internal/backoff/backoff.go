// Package backoff makes the delays between tries: they grow exponentially, with jitter.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is an exponential delay with jitter. Least and Most have to be set. It is
// not safe for concurrent use.
type Backoff struct {
	Least, Most time.Duration
	tries       int
}

// Reset begins anew: the next delay is made from Least.
func (b *Backoff) Reset() { b.tries = 0 }

// Next is the delay before the next try: a random part, between half and all, of a
// time that begins with Least and doubles with each call up to Most.
func (b *Backoff) Next() time.Duration {
	d := Doubled(b.Least, b.tries, b.Most)
	b.tries++
	return Jittered(d)
}

// Sleep waits for the next delay, or until ctx ends.
func (b *Backoff) Sleep(ctx context.Context) { Sleep(ctx, b.Next()) }

// Doubled is least doubled so many times, at most most.
func Doubled(least time.Duration, times int, most time.Duration) time.Duration {
	for range times {
		if least >= most/2 {
			return most
		}
		least *= 2
	}
	return min(least, most)
}

// Jittered is a random time between half of d and d.
func Jittered(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// Sleep waits for d, or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
