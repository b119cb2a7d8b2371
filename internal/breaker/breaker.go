// Package breaker counts what becomes of a destination's messages, and says when a
// waybill.Breaker is to pause it.
package breaker

import (
	"cmp"
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// slots is into how many parts a window is divided: it is over by parts.
const slots = 10

// Breaker counts for one destination. It is not safe for concurrent use. A nil *Breaker is
// one that is off, and costs nothing.
type Breaker struct {
	o      waybill.Breaker
	inARow int
	each   time.Duration // that a slot lasts
	now    int64         // the number of the current slot
	slots  [slots]struct{ accepted, rejected int }
	began  time.Time
}

// New returns a Breaker, or nil where o is off; o has passed its Check.
func New(o waybill.Breaker, now time.Time) *Breaker {
	if !o.IsOn() {
		return nil
	}
	o.Window, o.Least = cmp.Or(o.Window, time.Minute), cmp.Or(o.Least, 20)
	return &Breaker{o: o, each: o.Window / slots, began: now}
}

// For is how long a pause lasts; 0 until it is resumed.
func (b *Breaker) For() time.Duration { return b.o.For }

// Accepted counts a message that took effect.
func (b *Breaker) Accepted(now time.Time) {
	if b == nil {
		return
	}
	b.inARow = 0
	if b.o.Rate > 0 {
		b.slot(now).accepted++
	}
}

// Rejected counts a message that was rejected, and returns why the destination is to be
// paused; "" where it is not. Where it is, the Breaker begins anew.
func (b *Breaker) Rejected(now time.Time, reason string) (why string) {
	if b == nil {
		return ""
	}
	b.inARow++
	if b.o.InARow > 0 && b.inARow >= b.o.InARow {
		why = fmt.Sprintf("%d rejections in a row, the last one: %s", b.inARow, reason)
	}
	if b.o.Rate > 0 {
		b.slot(now).rejected++
		all, rejected := 0, 0
		for _, s := range b.slots {
			all += s.accepted + s.rejected
			rejected += s.rejected
		}
		if why == "" && all >= b.o.Least && float64(rejected) >= b.o.Rate*float64(all) {
			why = fmt.Sprintf("%d of %d messages rejected within %v, the last one: %s", rejected, all, b.o.Window, reason)
		}
	}
	if why != "" {
		b.Reset()
	}
	return why
}

// Reset forgets what was counted.
func (b *Breaker) Reset() {
	if b != nil {
		b.inARow = 0
		clear(b.slots[:])
	}
}

// slot returns the slot of a time, after it has cleared those that are over.
func (b *Breaker) slot(now time.Time) *struct{ accepted, rejected int } {
	number := max(int64(now.Sub(b.began)/b.each), b.now)
	for b.now = max(b.now, number-slots); b.now < number; {
		b.now++
		b.slots[b.now%slots] = struct{ accepted, rejected int }{}
	}
	return &b.slots[number%slots]
}
