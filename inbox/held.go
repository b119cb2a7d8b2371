package inbox

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// holds are the messages of a subscription that are held for their next try. They end with
// it: the broker delivers them again by another one, and what was kept here beyond that would
// only fill the memory, for as long as a handler has asked for.
type holds struct {
	mu   sync.Mutex
	over bool // the subscription has ended
	all  map[*held]struct{}
}

// held is a message that is held. It is nil where another one has taken it: the runtime may keep
// a timer that was stopped, with what that knows.
type held struct {
	x     atomic.Pointer[item]
	timer *time.Timer
}

// hold gives a message to its worker again after a delay, and leaves it with the broker as
// it is: not acknowledged, and not given back, since brokers count how often they deliver a
// message, and take it away for that.
func (r *route) hold(x *item, delay time.Duration) {
	x.noted = true
	s := x.receiver
	s.holds.mu.Lock()
	defer s.holds.mu.Unlock()
	if s.holds.over {
		return // the broker delivers it again
	}
	s.parked.Add(1)
	h := &held{}
	h.x.Store(x)
	h.timer = time.AfterFunc(delay, func() {
		if x := h.x.Swap(nil); x != nil {
			r.tryAgain(x, h)
		}
	})
	if s.holds.all == nil {
		s.holds.all = map[*held]struct{}{}
	}
	s.holds.all[h] = struct{}{}
}

// tryAgain gives a message to its worker whose time to be held is over.
func (r *route) tryAgain(x *item, h *held) {
	s := x.receiver
	s.holds.mu.Lock()
	delete(s.holds.all, h)
	s.holds.mu.Unlock()
	s.parked.Add(-1)
	again := *x
	again.noted = false
	r.workerOf(&again.Message).put(&again)
}

// release lets go of what came by the subscription, which has ended, and has not been begun.
func (s *subscription) release() {
	s.holds.mu.Lock()
	s.holds.over = true
	for h := range s.holds.all {
		h.timer.Stop()
		h.x.Store(nil)
	}
	s.holds.all = nil
	s.holds.mu.Unlock()
	for _, w := range s.r.workers {
		w.dropGone()
	}
	w := &s.r.window
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == s {
		w.current = nil
	}
	s.r.subscribed.CompareAndSwap(s, nil)
}

// dropGone lets go of what came by subscriptions that have ended.
func (w *worker) dropGone() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = slices.DeleteFunc(w.queue, (*item).isGone)
	w.back = slices.DeleteFunc(w.back, (*item).isGone)
}
