package relay

import "time"

// pace bounds how many messages a lane publishes a second (Destination.PerSecond): a bucket of
// tokens that fills with time. What may be sent in a tenth of a second may be sent at once. It
// is guarded by term.mu, and shared by a destination's lane and its stragglers.
type pace struct {
	perSecond float64 // 0: no limit
	tokens    float64 // at the time at
	at        time.Time
}

func newPace(perSecond float64, now time.Time) *pace {
	p := &pace{perSecond: perSecond, at: now}
	p.tokens = p.most()
	return p
}

// most is how many messages may be sent at once.
func (p *pace) most() float64 { return max(1, p.perSecond/10) }

// allows is how many of n messages may be sent now.
func (p *pace) allows(n int, now time.Time) int {
	if p.perSecond == 0 {
		return n
	}
	p.tokens = min(p.most(), p.tokens+now.Sub(p.at).Seconds()*p.perSecond)
	p.at = now
	return min(n, int(p.tokens+1e-9))
}

// spend takes the tokens of n messages, which allows has allowed.
func (p *pace) spend(n int) { p.tokens -= float64(n) }

// waitForTokens has the lane look again when there are tokens. now is that of the last allows.
// mu is held.
func (l *lane) waitForTokens(now time.Time) {
	if now.Before(l.wakeAt) {
		return
	}
	wait := max(time.Duration((1-l.pace.tokens)/l.pace.perSecond*float64(time.Second)), time.Millisecond)
	l.wakeAt = now.Add(wait)
	time.AfterFunc(wait, l.signal)
}
