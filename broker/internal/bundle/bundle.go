// Package bundle is for adapters whose connection is several network connections,
// such as one that publishes and one for each subscription: they end together.
package bundle

import (
	"sync"

	"github.com/waybill-go/waybill/broker"
)

// Of is a bundle of network connections. New makes one; its methods are safe for
// concurrent use.
type Of[C comparable] struct {
	done chan struct{}

	mu   sync.Mutex
	err  error // why it ended
	open map[C]struct{}
}

// New returns a bundle that is empty and has not ended.
func New[C comparable]() *Of[C] {
	return &Of[C]{done: make(chan struct{}), open: map[C]struct{}{}}
}

// Add adds a connection and calls start, which begins to watch it and must not
// block. Where the bundle has ended, it does neither and returns the reason: the
// connection is the caller's to close.
func (b *Of[C]) Add(c C, start func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	b.open[c] = struct{}{}
	start()
	return nil
}

// Forget removes a connection, whose end then is no longer the end of the bundle.
// It reports whether it was there.
func (b *Of[C]) Forget(c C) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.open[c]
	delete(b.open, c)
	return ok
}

// End ends the bundle, once, for the reason err, and returns the connections that
// it had, which are the caller's to end.
func (b *Of[C]) End(err error) []C {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil
	}
	b.err = err
	close(b.done)
	left := make([]C, 0, len(b.open))
	for c := range b.open {
		left = append(left, c)
	}
	clear(b.open)
	return left
}

// Close ends the bundle, once, as its owner does, and calls end for each of its
// connections, all at once; it returns when these calls have.
func (b *Of[C]) Close(end func(c C)) {
	var ending sync.WaitGroup
	for _, c := range b.End(broker.ErrClosed) {
		ending.Go(func() { end(c) })
	}
	ending.Wait()
}

// Done is closed when the bundle has ended.
func (b *Of[C]) Done() <-chan struct{} { return b.done }

// Err is why the bundle ended; see broker.Conn.
func (b *Of[C]) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}
