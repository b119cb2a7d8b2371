package figure

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/waybill-go/waybill/store"
)

// keptLimit is how many kept messages are counted.
const keptLimit = 10_000

// Kept counts what a consumer keeps (n_rejected), not too often. It is safe for concurrent use.
type Kept struct {
	keeper *store.Keeper
	every  time.Duration

	mu   sync.Mutex // held while it counts
	last KeptCount
	next time.Time // when is counted again
}

// KeptCount is what a consumer keeps, of 10,000 messages at most.
type KeptCount struct {
	Rejected int64 `json:"rejected"` // wait for a person
	Waiting  int64 `json:"waiting"`  // wait for their next try
	Bounded  bool  `json:"bounded,omitempty"`
	Failing  bool  `json:"failing,omitempty"` // they could not be counted: these are older
}

// NewKept counts what a keeper keeps, with at least this time between two counts.
func NewKept(keeper *store.Keeper, every time.Duration) *Kept {
	if every <= 0 {
		every = DefaultEvery
	}
	return &Kept{keeper: keeper, every: every}
}

// Read returns the last count, or makes another one where that is old.
func (k *Kept) Read(ctx context.Context) KeptCount {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Now().Before(k.next) {
		return k.last
	}
	rows, bounded, err := k.keeper.Tally(ctx, keptLimit)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return k.last // who asked has gone, which says nothing of the database
	}
	k.next = time.Now().Add(k.every)
	if err != nil {
		k.last.Failing = true
		return k.last
	}
	k.last = KeptCount{Bounded: bounded}
	for _, r := range rows {
		if r.Status == store.Rejected {
			k.last.Rejected += r.Rows
		} else {
			k.last.Waiting += r.Rows
		}
	}
	return k.last
}
