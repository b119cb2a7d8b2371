package nats

import "sync"

// chunkBytes bounds the bytes of one chunk, windowBytes those under way: JetStream drops
// what arrives while 128 MiB wait to be stored.
const (
	chunkBytes  = 4 << 20
	windowBytes = 16 << 20
)

// window bounds the messages that are sent and not confirmed, by number and by bytes.
type window struct {
	mu       sync.Mutex
	most     int // messages
	n, size  int // messages and bytes under way
	waiters  int
	openedUp chan struct{} // closed when there is room again
}

// limit sets the greatest number of messages; it comes before any other call.
func (w *window) limit(most int) {
	w.most = most
	w.openedUp = make(chan struct{})
}

// take takes room for n messages of size bytes in all. Where there is not enough, it takes
// none and returns a channel that is closed when there may be. A chunk that is larger than
// the window is let through when the window is empty.
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

// put gives room back. It wakes those that wait when half of the window is free, and not at
// each confirmation, which would make chunks of one message.
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
