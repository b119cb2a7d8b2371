// Package repeat keeps what happens again and again from filling a log: of what goes on at
// each try or with each message, the log has the first time, and then at growing intervals
// how often it has happened since.
package repeat

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

const (
	// Least is the time after which something that goes on is told again. It doubles with
	// each time up to Most.
	Least = 5 * time.Minute
	Most  = time.Hour
	// quiet is how long something does not happen until it is new again.
	quiet = Least
	// maxEarly is how often something is told before its interval is over, since there is
	// a new reason, or it had ended.
	maxEarly = 4
	// maxLive bounds what is told apart at a time: names may come from outside. What is
	// beyond it counts as one.
	maxLive = 64
)

var seed = maphash.MakeSeed()

// Filter says what the log is to have. The zero value is ready. It is safe for concurrent
// use.
type Filter struct {
	mu      sync.Mutex
	live    map[uint64]*event
	surplus event
}

// event is something that goes on.
type event struct {
	last, next time.Time
	pause      time.Duration
	times      int64
	early      int
	reasons    []uint64 // that were told
}

// Due notes that something has happened, and reports whether the log is to have it. what
// names it, such as the failure of one destination's handler, and reason says why, such as
// an error's text; one that the log has not had lately is told at once, as long as there
// are few. times is how often it has happened since it was told last, this time included.
// Calls for what goes on come in intervals of less than Least.
func (f *Filter) Due(what, reason string) (times int64, due bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	e := f.event(maphash.String(seed, what), now)
	e.last = now
	e.times++
	hash := maphash.String(seed, reason)
	switch {
	case !now.Before(e.next):
		e.pause = min(max(2*e.pause, Least), Most)
		e.next = now.Add(e.pause)
		e.early, e.reasons = 0, e.reasons[:0]
	case e.early < maxEarly && e != &f.surplus && !slices.Contains(e.reasons, hash):
		e.early++
	default:
		return 0, false
	}
	e.reasons = append(e.reasons, hash)
	times, e.times = e.times, 0
	return times, true
}

// Over notes that something has ended, such as a failure by a success. When it happens
// again the log is to have that at once, as long as it does not come and go too often.
func (f *Filter) Over(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.live[maphash.String(seed, what)]; e != nil {
		e.reasons = e.reasons[:0]
	}
}

// event returns what is known of something. f.mu is held.
func (f *Filter) event(what uint64, now time.Time) *event {
	e := f.live[what]
	if e == nil && len(f.live) >= maxLive {
		for other, old := range f.live {
			if now.Sub(old.last) >= quiet {
				delete(f.live, other)
			}
		}
	}
	if e == nil && len(f.live) >= maxLive {
		e = &f.surplus
	}
	if e == nil {
		if f.live == nil {
			f.live = map[uint64]*event{}
		}
		e = &event{last: now}
		f.live[what] = e
	}
	if now.Sub(e.last) >= quiet {
		*e = event{}
	}
	return e
}
