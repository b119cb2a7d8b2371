package nats

import "sync"

// goBytes bounds the bytes of one go, windowBytes those under way: JetStream drops
// what comes in while 128 MiB wait to be stored.
const (
	goBytes     = 4 << 20
	windowBytes = 16 << 20
)

// window bounds the messages that are sent and not confirmed.
type window struct {
	mu       sync.Mutex
	most     int
	n, size  int
	waiters  int
	openedUp chan struct{} // closed when there is room again
}

func (w *window) limit(most int) {
	w.most = most
	w.openedUp = make(chan struct{})
}

// take takes room for n messages, all or none. Where there is none, it returns a
// channel that is closed when there may be. A go that is larger than the window
// gets through when the window is empty.
func (w *window) take(n, size int) (changed <-chan struct{}, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n == 0 || w.n+n <= w.most && w.size+size <= windowBytes {
		w.n += n
		w.size += size
		return nil, true
	}
	w.waiters++
	return w.openedUp, false
}

// put gives room back. Whoever waits is woken when half of the window is free,
// since a confirmation at a time would wake them for one message at a time.
func (w *window) put(n, size int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n -= n
	w.size -= size
	if w.waiters > 0 && 2*w.n <= w.most && 2*w.size <= windowBytes {
		w.waiters = 0
		close(w.openedUp)
		w.openedUp = make(chan struct{})
	}
}
