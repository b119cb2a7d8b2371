package figure

import (
	"context"
	"sync"
	"time"

	"github.com/waybill-go/waybill/store"
)

const (
	// countLimit bounds one count, which nobody waits for.
	countLimit = 10 * time.Minute
	// freshTime is how long who asks waits for a new count where there is an older one.
	freshTime = 250 * time.Millisecond
)

// Rows counts the outbox's rows in the background: not too often, and once at a time. Who asks
// gets the last count, however long the next one takes. It is safe for concurrent use.
type Rows struct {
	queue *store.Queue
	every time.Duration

	mu       sync.Mutex
	last     RowCount      // the last that succeeded
	until    time.Time     // nobody counts again before
	counting chan struct{} // closed at the end of the count under way; nil while none is
}

// RowCount is a count of the outbox's rows.
type RowCount struct {
	At     time.Time // zero where there has been none
	Clock  int64     // the database's, in µs
	Rows   []store.Count
	Failed bool // the count after this one has failed
}

// Age is the age of the oldest of some rows, by the database's clock; below 0 where it is due
// later.
func (r *RowCount) Age(c *store.Count) time.Duration {
	return time.UnixMicro(r.Clock).Sub(c.Oldest.Time())
}

// DefaultEvery is the least time between two counts where nothing else is said.
const DefaultEvery = 5 * time.Second

// NewRows counts the rows of a queue, with at least this time between two counts; after a slow
// one it is longer, so that counting takes at most a twentieth of the time.
func NewRows(queue *store.Queue, every time.Duration) *Rows {
	if every <= 0 {
		every = DefaultEvery
	}
	return &Rows{queue: queue, every: every}
}

// Read returns the last count, and begins another one where it is old. It waits a moment
// for that, or until ctx ends where there is no other; then it reports false.
func (c *Rows) Read(ctx context.Context) (last RowCount, ok bool) {
	last, counting := c.begin()
	if counting == nil {
		return last, !last.At.IsZero()
	}
	if !last.At.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, freshTime)
		defer cancel()
	}
	select {
	case <-counting:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, !c.last.At.IsZero()
}

// begin returns the last count and, where one is under way or begins now, what is closed
// at its end.
func (c *Rows) begin() (last RowCount, counting <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counting == nil && !time.Now().Before(c.until) {
		c.counting = make(chan struct{})
		go c.count()
	}
	return c.last, c.counting
}

func (c *Rows) count() {
	ctx, cancel := context.WithTimeout(context.Background(), countLimit)
	defer cancel()
	began := time.Now()
	var rows []store.Count
	clock, err := c.queue.Clock(ctx)
	if err == nil {
		rows, err = c.queue.Count(ctx)
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.last = RowCount{At: now, Clock: clock, Rows: rows}
	} else {
		c.last.Failed = true
	}
	rest := now.Sub(began)
	if err == nil { // else it may be well again
		rest *= 20
	}
	c.until = now.Add(max(c.every, rest))
	close(c.counting)
	c.counting = nil
}
