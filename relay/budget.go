package relay

import (
	"slices"
	"time"
)

// What all destinations hold together is bounded, since each has a window and a queue of its
// own and there may be any number of them: Options.InFlight counts the messages of all
// windows, and Options.InFlightBytes the bytes of what is queued and being published. What
// finds no room waits in the table.
//
// The bounds are shared as switches share their buffers: a lane may have as much as is free.
// So one whose consumer is away takes half at most, of several each the same, and something
// is always left for the others. A lane that has nothing may take a message in any case,
// as long as the bytes last.

// limit is how many messages the window may have now.
func (l *lane) limit() int {
	inFlight := len(l.t.inflights) + len(l.t.parked)
	// Half of the difference, since what this one takes is not free any more.
	more := (l.t.r.o.InFlight - inFlight - len(l.window) + 1) / 2
	return min(l.windowSize(), max(len(l.window)+more, 1))
}

// holds is how many bytes the lane has queued or is publishing.
func (l *lane) holds() int { return l.bytes + l.publishing }

// outOfBytes says whether the lane is to queue no more until something is taken. The last
// quarter is for those lanes that have nothing queued, and the last eighth for those of them
// whose broker takes messages.
func (l *lane) outOfBytes() bool {
	total := l.t.r.o.InFlightBytes
	switch own := l.holds(); {
	case own > 0:
		return own >= total-total/4-l.t.bytes
	case l.lastError != "":
		return l.t.bytes >= total-total/8
	}
	return l.t.bytes >= total
}

// maxLanes bounds the lanes: each has a goroutine, and names of destinations may be made up
// for single messages, as those of reply queues are. The rows of further destinations wait
// in the table until a sweep finds that a lane has gone.
const maxLanes = 10_000

// noLaneFor is how long nobody looks for a lane to give up after there was none.
const noLaneFor = 100 * time.Millisecond

// makeRoom reports whether there may be one more lane. Where there are many it gives up
// those that have been idle for the longest time, half of all that are idle. mu is held.
func (t *term) makeRoom() bool {
	if len(t.order) < t.maxLanes {
		return true
	}
	now := time.Now()
	if now.Before(t.noLaneUntil) {
		return false
	}
	var idle []*lane
	for _, l := range t.order {
		if l.isIdle() {
			idle = append(idle, l)
		}
	}
	slices.SortFunc(idle, func(a, b *lane) int { return a.progressed.Compare(b.progressed) })
	idle = idle[:(len(idle)+1)/2]
	for _, l := range idle {
		t.giveUp(l)
	}
	t.order = slices.DeleteFunc(t.order, func(l *lane) bool { return l.isRetired() })
	if len(t.order) < t.maxLanes {
		return true
	}
	t.noLaneUntil = now.Add(noLaneFor)
	return false
}
