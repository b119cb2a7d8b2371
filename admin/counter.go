package admin

import (
	"context"
	"sync"
	"time"

	"github.com/waybill-go/waybill/store"
)

// rowCounter counts the outbox's rows: not too often, and once at a time.
type rowCounter struct {
	queue    *store.Queue
	every    time.Duration
	counting chan struct{} // holds a value while somebody counts

	mu    sync.Mutex
	last  rowCount
	until time.Time // last is young enough until then
}

type rowCount struct {
	at    time.Time
	clock int64 // the database's, in µs
	rows  []store.Count
}

func newRowCounter(queue *store.Queue, every time.Duration) *rowCounter {
	return &rowCounter{queue: queue, every: every, counting: make(chan struct{}, 1)}
}

// read returns the last count where it is young enough, and counts where it is not.
func (c *rowCounter) read(ctx context.Context) (rowCount, error) {
	if last, young := c.recent(); young {
		return last, nil
	}
	select {
	case c.counting <- struct{}{}:
		defer func() { <-c.counting }()
	case <-ctx.Done():
		return rowCount{}, ctx.Err()
	}
	if last, young := c.recent(); young {
		return last, nil // somebody else has counted meanwhile
	}
	began := time.Now()
	clock, err := c.queue.Clock(ctx)
	if err != nil {
		return rowCount{}, err
	}
	rows, err := c.queue.Count(ctx)
	if err != nil {
		return rowCount{}, err
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.until = rowCount{now, clock, rows}, now.Add(max(c.every, 20*now.Sub(began)))
	return c.last, nil
}

// recent returns the last count and whether it is young enough.
func (c *rowCounter) recent() (rowCount, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, time.Now().Before(c.until)
}
