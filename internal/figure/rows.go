package figure

import (
	"context"
	"time"

	"github.com/waybill-go/waybill/store"
)

// Rows counts the outbox's rows in the background: not too often, and once at a time. Who asks
// gets the last count, however long the next one takes. It is safe for concurrent use.
type Rows struct{ counts *background[RowCount] }

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

// NewRows counts the rows of a queue, with at least this time between two counts; after a slow
// one it is longer, so that counting takes at most a twentieth of the time.
func NewRows(queue *store.Queue, every time.Duration) *Rows {
	return &Rows{newBackground(every, func(ctx context.Context) (c RowCount, err error) {
		if c.Clock, err = queue.Clock(ctx); err == nil {
			c.Rows, err = queue.Count(ctx)
		}
		return c, err
	})}
}

// Read returns the last count, and begins another one where it is old. It waits a moment
// for that, or until ctx ends where there is no other; then it reports false.
func (c *Rows) Read(ctx context.Context) (last RowCount, ok bool) {
	last, last.At, last.Failed = c.counts.read(ctx)
	return last, !last.At.IsZero()
}
