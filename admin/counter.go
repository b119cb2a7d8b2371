package admin

import (
	"context"
	"sync"
	"time"

	"github.com/waybill-go/waybill/store"
)

const (
	// countLimit bounds one count, which no request waits for.
	countLimit = 10 * time.Minute
	// freshTime is how long a request waits for a new count where there is an older one.
	freshTime = 250 * time.Millisecond
)

// rowCounter counts the outbox's rows beside the requests: not too often, and once at a
// time. Requests get the last count, however long the next one takes.
type rowCounter struct {
	queue *store.Queue
	every time.Duration

	mu       sync.Mutex
	last     rowCount      // the last that succeeded
	until    time.Time     // nobody counts again before
	counting chan struct{} // closed at the end of the count under way; nil while none is
}

type rowCount struct {
	at    time.Time // zero where there has been none
	clock int64     // the database's, in µs
	rows  []store.Count
	// failed says that the count after this one has failed.
	failed bool
}

func newRowCounter(queue *store.Queue, every time.Duration) *rowCounter {
	return &rowCounter{queue: queue, every: every}
}

// read returns the last count, and begins another one where it is old. It waits a moment
// for that, or until ctx ends where there is no other; then it reports false.
func (c *rowCounter) read(ctx context.Context) (last rowCount, ok bool) {
	last, counting := c.begin()
	if counting == nil {
		return last, !last.at.IsZero()
	}
	if !last.at.IsZero() {
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
	return c.last, !c.last.at.IsZero()
}

// begin returns the last count and, where one is under way or begins now, what is closed
// at its end.
func (c *rowCounter) begin() (last rowCount, counting <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counting == nil && !time.Now().Before(c.until) {
		c.counting = make(chan struct{})
		go c.count()
	}
	return c.last, c.counting
}

func (c *rowCounter) count() {
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
		c.last = rowCount{at: now, clock: clock, rows: rows}
	} else {
		c.last.failed = true
	}
	c.until = now.Add(max(c.every, 20*now.Sub(began)))
	close(c.counting)
	c.counting = nil
}
