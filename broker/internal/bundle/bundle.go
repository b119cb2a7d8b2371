// Package bundle is for adapters whose broker.Conn is several network connections, such as
// one that publishes and one for each subscription: New makes a bundle of them, and they
// end together.
package bundle

import (
	"sync"

	"github.com/waybill-go/waybill/broker"
)

// Of is a bundle of network connections. Its methods are safe for concurrent use.
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

// Add adds a connection and calls start, which begins to watch it and must not block.
// Where the bundle has ended, Add does neither and returns the reason; the caller has to
// close the connection.
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

// Forget removes a connection, which may then end without the others, and reports whether
// it was there.
func (b *Of[C]) Forget(c C) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.open[c]
	delete(b.open, c)
	return ok
}

// End ends the bundle, once, for the reason err, and returns its connections, which the
// caller has to end.
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

// Close ends the bundle, once, for the reason broker.ErrClosed, and calls end for all of
// its connections at the same time. It returns when these calls have.
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
