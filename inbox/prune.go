package inbox

import (
	"context"
	"log/slog"
	"time"

	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/store"
)

// pruneBatch is how many records one step of pruning reads, and removes at most.
const pruneBatch = 1000

// pruneRepeatedly prunes records until ctx ends.
func (in *Inbox) pruneRepeatedly(ctx context.Context) {
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
			if times, due := in.repeats.Due("pruning", err.Error()); due {
				in.log.WarnContext(ctx, "pruning interrupted; trying again later", slog.Int64("times", times), slog.Any("error", err))
			}
		}
		// A pass reads no more than what it may forget, so where it takes long there is much
		// to forget, and a fifth of the time goes into it at most.
		pause = max(in.o.PruneEvery, 4*time.Since(began))
	}
}

// prune removes old records.
func (in *Inbox) prune(ctx context.Context) error {
	// A host whose clock is ahead must not forget what is young.
	crash.Point("inbox.clock.before")
	now, err := in.ledger.Clock(ctx)
	crash.Point("inbox.clock.after")
	if err != nil {
		return err
	}
	crash.Point("inbox.prune.before")
	gone, err := in.ledger.PruneBy(ctx, now, store.Retention{Confirmed: in.o.Retention, Foreign: in.o.ForeignRetention}, pruneBatch)
	crash.Point("inbox.prune.after")
	in.counters.pruned.Add(gone)
	return err
}
