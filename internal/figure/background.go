package figure

import (
	"context"
	"sync"
	"time"
)

const (
	// countLimit bounds one count, which nobody waits for.
	countLimit = 10 * time.Minute
	// freshTime is how long who asks waits for a new count where there is an older one.
	freshTime = 250 * time.Millisecond
	// DefaultEvery is the least time between two counts where nothing else is said.
	DefaultEvery = 5 * time.Second
)

// background counts something in a database in the background: not too often, and once at a time.
// Who asks gets the last count, however long the next one takes. After a slow one the time to the
// next is longer, so that counting takes at most a twentieth of the time. It is safe for
// concurrent use.
type background[T any] struct {
	count func(context.Context) (T, error)
	every time.Duration

	mu       sync.Mutex
	last     T             // the last that succeeded
	at       time.Time     // when that was; zero where there has been none
	failed   bool          // the one after it has failed
	until    time.Time     // nobody counts again before
	counting chan struct{} // closed at the end of the count under way; nil while none is
}

func newBackground[T any](every time.Duration, count func(context.Context) (T, error)) *background[T] {
	if every <= 0 {
		every = DefaultEvery
	}
	return &background[T]{count: count, every: every}
}

// read returns the last count, and begins another one where it is old. It waits a moment
// for that, or until ctx ends where there is no other; then at is zero.
func (b *background[T]) read(ctx context.Context) (last T, at time.Time, failed bool) {
	counting, first := b.begin()
	if counting != nil {
		if !first {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, freshTime)
			defer cancel()
		}
		select {
		case <-counting:
		case <-ctx.Done():
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last, b.at, b.failed
}

// begin returns what is closed at the end of the count that is under way, or begins now; nil where
// none is. first says that there has been none that succeeded.
func (b *background[T]) begin() (counting <-chan struct{}, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.counting == nil && !time.Now().Before(b.until) {
		b.counting = make(chan struct{})
		go b.run()
	}
	return b.counting, b.at.IsZero()
}

func (b *background[T]) run() {
	ctx, cancel := context.WithTimeout(context.Background(), countLimit)
	defer cancel()
	began := time.Now()
	counted, err := b.count(ctx)
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	rest := now.Sub(began)
	if b.failed = err != nil; !b.failed { // else it may be well again
		b.last, b.at = counted, now
		rest *= 20
	}
	b.until = now.Add(max(b.every, rest))
	close(b.counting)
	b.counting = nil
}
