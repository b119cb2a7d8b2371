package relay

import "time"

// estimator learns how long receipts take, as TCP does for its
// acknowledgements (RFC 6298), and derives after what time a message without one
// is suspected lost.
type estimator struct {
	first, least, most time.Duration
	smoothed, variance time.Duration // 0 until the first sample
}

// sample takes the time that one receipt took. TCP takes only those of messages that were
// sent once: of any other nobody knows which copy was answered (Karn's rule). Here there is
// one exception, which can only lengthen the time-out; see resending.noteReceipts.
func (e *estimator) sample(took time.Duration) {
	took = max(took, time.Microsecond)
	if e.smoothed == 0 {
		e.smoothed, e.variance = took, took/2
		return
	}
	e.variance += ((e.smoothed - took).Abs() - e.variance) / 4
	e.smoothed += (took - e.smoothed) / 8
}

// timeout is the time after which a message without a receipt is suspect.
func (e *estimator) timeout() time.Duration {
	if e.smoothed == 0 {
		return e.first
	}
	return min(max(e.smoothed+max(4*e.variance, 10*time.Millisecond), e.least), e.most)
}

// reorderWindow is how much later a message may be sent than another one and still have
// its receipt before it, without the other one being lost: consumers work in batches and
// with several workers.
func (e *estimator) reorderWindow() time.Duration {
	return max(2*e.variance, 20*time.Millisecond)
}
