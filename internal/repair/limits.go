package repair

import (
	"errors"
	"slices"
)

// ErrNothing says that no rejected message was meant.
var ErrNothing = errors.New("there is no such rejected message: somebody else may have dealt with it")

// ErrClosed says that the Desk takes no more orders.
var ErrClosed = errors.New("this program is stopping, and takes no more orders")

// ErrTooMany says that so many operations are under way that there is no room for another one.
var ErrTooMany = errors.New("as many orders are under way as there is room for (8): wait until one has ended, or stop one")

// ErrTooManyOfOne says the same of those of one person.
var ErrTooManyOfOne = errors.New("as many orders of yours are under way as one person may have (4): wait until one has ended, or have one that waits for you go on or stop")

// reserve makes room for an order, which release gives back.
func (d *Desk) reserve(who string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, own := 0, d.starting[who]
	for _, n := range d.starting {
		all += n
	}
	for _, op := range d.all {
		if op.State.ended() {
			continue
		}
		all++
		if op.Who == who {
			own++
		}
	}
	switch {
	case d.ctx.Err() != nil:
		return ErrClosed
	case own >= MostOfOne:
		return ErrTooManyOfOne
	case all >= MostUnderWay:
		return ErrTooMany
	}
	d.starting[who]++
	return nil
}

// release is called with mu held.
func (d *Desk) release(who string) {
	if d.starting[who]--; d.starting[who] == 0 {
		delete(d.starting, who)
	}
}

// forget drops operations that have ended, beyond those that are remembered: the oldest of
// whoever has the most, so that nobody drives out what others have done.
func (d *Desk) forget() {
	for len(d.all) > remembered {
		ended := map[string]int{}
		for _, op := range d.all {
			if op.State.ended() {
				ended[op.Who]++
			}
		}
		first := -1
		for i, op := range d.all {
			if op.State.ended() && (first < 0 || ended[op.Who] > ended[d.all[first].Who]) {
				first = i
			}
		}
		if first < 0 {
			return
		}
		d.all = slices.Delete(d.all, first, first+1)
	}
}
