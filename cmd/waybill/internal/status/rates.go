package status

import "time"

// Rates are messages a second, between two reports.
type Rates struct {
	Over float64 `json:"over_seconds"`
	// Committed: messages that were written to the outbox.
	Committed float64 `json:"committed_per_second"`
	// Confirmed: messages that left it, confirmed or discarded; nil where not all that are
	// left were counted.
	Confirmed *float64 `json:"confirmed_per_second"`
}

// Meter derives rates from a series of reports: how many messages came, by the ids of
// rows, and how many went, by what is left. The ids of transactions that were rolled
// back count as well. On databases that do not tell the last id they gave out (MySQL),
// what comes and goes between two reports shows once the relay has stored its cursor,
// which it does every few seconds.
type Meter struct {
	samples []sample
}

type sample struct {
	at   time.Time
	last int64 // highest id
	left int64 // rows
	some bool  // there are more
}

// meterWindow is the time over which a Meter looks back.
const meterWindow = 15 * time.Second

// Observe takes a report, in order of time, and gives it its rates as soon as there
// are two.
func (m *Meter) Observe(r *Report) {
	if r.Producer.Problem != "" {
		m.samples = nil
		return
	}
	s := sample{at: r.At, last: r.Producer.last, left: r.Producer.Pending + r.Producer.Rejected, some: r.Producer.PendingAtLeast || r.Producer.RejectedAtLeast}
	if n := len(m.samples); n > 0 {
		s.last = max(s.last, m.samples[n-1].last)
	}
	m.samples = append(m.samples, s)
	for len(m.samples) > 2 && s.at.Sub(m.samples[1].at) >= meterWindow {
		m.samples = m.samples[1:]
	}
	first := m.samples[0]
	over := s.at.Sub(first.at).Seconds()
	if over <= 0 {
		return
	}
	came := float64(s.last - first.last)
	r.Rates = &Rates{Over: over, Committed: came / over}
	if !s.some && !first.some {
		went := max(came-float64(s.left-first.left), 0) / over
		r.Rates.Confirmed = &went
	}
}
