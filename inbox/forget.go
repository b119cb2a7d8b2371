package inbox

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
)

// floors remembers each producer's highest floor, as its messages tell it, until it
// is stored.
type floors struct {
	mu      sync.Mutex
	highest map[string]waybill.ID
	stored  map[string]waybill.ID
}

// maxProducers bounds the producers that are remembered: the names come with
// messages.
const maxProducers = 10_000

// note takes a floor that came with a message; the zero ID says that the producer
// tells none.
func (f *floors) note(producer string, floor waybill.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.highest == nil {
		f.highest, f.stored = map[string]waybill.ID{}, map[string]waybill.ID{}
	}
	known, ok := f.highest[producer]
	if !ok && len(f.highest) >= maxProducers {
		return
	}
	if !ok || floor.Compare(known) > 0 {
		f.highest[producer] = floor
	}
}

// news returns the floors that are not stored yet.
func (f *floors) news() map[string]waybill.ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	news := map[string]waybill.ID{}
	for producer, floor := range f.highest {
		if stored, ok := f.stored[producer]; !ok || stored != floor {
			news[producer] = floor
		}
	}
	return news
}

func (f *floors) keep(producer string, floor waybill.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stored[producer] = floor
}

// pruneBatch is how many records one pruning transaction removes.
const pruneBatch = 1000

// forget stores floors and prunes records until ctx ends.
func (in *Inbox) forget(ctx context.Context) {
	if in.o.PruneEvery < 0 {
		return
	}
	pause := in.o.PruneEvery
	for {
		// With jitter, so that the processes of one consumer do not prune in step.
		backoff.Sleep(ctx, backoff.Jittered(pause))
		if ctx.Err() != nil {
			return
		}
		began := time.Now()
		if err := in.prune(ctx); err != nil && ctx.Err() == nil {
			in.log.WarnContext(ctx, "pruning interrupted; trying again later", slog.Any("error", err))
		}
		// A pass reads through the tables: where they are large it comes less often.
		pause = max(in.o.PruneEvery, 50*time.Since(began))
	}
}

func (in *Inbox) prune(ctx context.Context) error {
	var problems []error // one producer's are not the others'
	for producer, floor := range in.floors.news() {
		crash.Point("inbox.floor.before")
		err := in.ledger.SaveFloor(ctx, producer, floor)
		crash.Point("inbox.floor.after")
		if err != nil {
			problems = append(problems, err)
			continue
		}
		in.floors.keep(producer, floor)
	}
	crash.Point("inbox.prune.before")
	gone, err := in.ledger.Prune(ctx, time.Now(), in.o.Retention, pruneBatch)
	crash.Point("inbox.prune.after")
	in.counters.pruned.Add(gone)
	return errors.Join(append(problems, err)...)
}
