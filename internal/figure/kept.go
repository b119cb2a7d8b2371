package figure

import (
	"context"
	"time"

	"github.com/waybill-go/waybill/store"
)

// keptLimit is how many kept messages are counted.
const keptLimit = 10_000

// Kept counts what a consumer keeps (n_rejected) as Rows counts an outbox's rows. It is safe for
// concurrent use.
type Kept struct{ counts *background[KeptCount] }

// KeptCount is what a consumer keeps, of 10,000 messages at most.
type KeptCount struct {
	Rejected int64 `json:"rejected"` // wait for a person
	Waiting  int64 `json:"waiting"`  // wait for their next try
	Bounded  bool  `json:"bounded,omitempty"`
	Failing  bool  `json:"failing,omitempty"` // they could not be counted: these are older
}

// NewKept counts what a keeper keeps, with at least this time between two counts; after a slow
// one it is longer.
func NewKept(keeper *store.Keeper, every time.Duration) *Kept {
	return &Kept{newBackground(every, func(ctx context.Context) (c KeptCount, err error) {
		rows, bounded, err := keeper.Tally(ctx, keptLimit)
		c.Bounded = bounded
		for _, r := range rows {
			if r.Status == store.Rejected {
				c.Rejected += r.Rows
			} else {
				c.Waiting += r.Rows
			}
		}
		return c, err
	})}
}

// Read returns the last count, and begins another one where it is old. It waits a moment for
// that, or until ctx ends where there is no other; then it reports false, and that they could not
// be counted.
func (k *Kept) Read(ctx context.Context) (last KeptCount, ok bool) {
	last, at, failed := k.counts.read(ctx)
	ok = !at.IsZero()
	last.Failing = failed || !ok
	return last, ok
}
