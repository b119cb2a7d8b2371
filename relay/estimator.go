package relay

import "time"

// estimator learns how long confirmations take, as TCP does for its
// acknowledgements (RFC 6298), and derives after what time a message without one
// is suspected lost.
type estimator struct {
	first, least, most time.Duration
	smoothed, variance time.Duration // 0 until the first sample
}

// sample takes one confirmation time, of a message that was sent only once: for
// any other nobody knows which copy was confirmed (Karn's rule).
func (e *estimator) sample(took time.Duration) {
	took = max(took, time.Microsecond)
	if e.smoothed == 0 {
		e.smoothed, e.variance = took, took/2
		return
	}
	e.variance += ((e.smoothed - took).Abs() - e.variance) / 4
	e.smoothed += (took - e.smoothed) / 8
}

// timeout is the time after which a message without a confirmation is suspect.
func (e *estimator) timeout() time.Duration {
	if e.smoothed == 0 {
		return e.first
	}
	return min(max(e.smoothed+max(4*e.variance, 10*time.Millisecond), e.least), e.most)
}

// reorderWindow is by how much later messages may overtake earlier ones without that
// meaning anything: consumers work in batches and in several workers.
func (e *estimator) reorderWindow() time.Duration {
	return max(2*e.variance, 20*time.Millisecond)
}

// pausableClock is a clock that measures the time in which confirmations can arrive. It
// stands still while the broker is away, and a pause of the process (a stopped
// machine, a suspended laptop) counts little, so that neither looks like silence of
// every consumer and floods the queues with copies.
type pausableClock struct {
	elapsed time.Duration
	last    time.Time
	on      bool
}

// longestStep is the most that the clock advances between two looks at it; the
// relay looks more often while anything is unconfirmed.
const longestStep = 2 * time.Second

func (s *pausableClock) now() time.Duration {
	if s.on {
		t := time.Now()
		s.elapsed += min(t.Sub(s.last), longestStep)
		s.last = t
	}
	return s.elapsed
}

func (s *pausableClock) run(on bool) {
	s.now()
	s.on, s.last = on, time.Now()
}
