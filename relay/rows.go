package relay

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/recent"
)

// remove deletes the rows of messages that are done, or Accepted and confirmed, and then
// takes the messages out of their windows.
func (t *term) remove(ctx context.Context, ids []waybill.ID) {
	var deleted atomic.Int64
	t.write(ctx, "delete confirmed messages", ids, func(ctx context.Context, ids []waybill.ID) error {
		crash.Point("relay.delete.before")
		n, err := t.r.queue.Delete(ctx, ids)
		crash.Point("relay.delete.after")
		t.r.counters.confirmed.Add(n)
		deleted.Add(n)
		if locked := lockedOf(err); err == nil || len(locked) > 0 {
			if missing := int64(len(ids)-len(locked)) - deleted.Swap(0); missing > 0 {
				t.noteMissing(without(ids, locked), missing)
			}
		}
		return err
	})
}

// noteMissing counts the receipts for rows that were not there and of which no further one
// was to be expected. Only the number of rows is known, so where some of these ids had
// one, it counts none too many.
func (t *term) noteMissing(ids []waybill.ID, missing int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var strange int64
	for _, id := range ids {
		if t.inflights[id] == nil && !t.repeated.Has(id) {
			strange++
		}
	}
	t.r.counters.strange.Add(min(strange, missing))
}

// maxRepeated is how many messages repeated has at least.
const maxRepeated = 20_000

// repeated are the messages that have gone lately and of which more than one receipt was to
// be expected, because they were sent more than once, or to a topic: one was enough. A
// message that was sent once to a queue costs nothing here.
type repeated = recent.Map[waybill.ID, struct{}]

// reject keeps a row for a person and takes its message out of its window.
func (t *term) reject(ctx context.Context, id waybill.ID, reason string) {
	unknown := false // a try that has failed may have rejected the row
	t.write(ctx, "reject a message", []waybill.ID{id}, func(ctx context.Context, _ []waybill.ID) error {
		t.rejections.begin(id)
		crash.Point("relay.reject.before")
		found, err := t.r.queue.Reject(ctx, id, reason)
		crash.Point("relay.reject.after")
		unknown = unknown || err != nil && len(lockedOf(err)) == 0
		t.rejections.end(id, t.pump.databaseNow(), found || unknown)
		if found {
			t.r.counters.rejected.Add(1)
			t.countRejected(id)
			if times, due := t.r.repeats.Due("rejected", reason); due {
				t.log.WarnContext(ctx, "message rejected; see 'waybill list --rejected'", slog.String("id", id.String()), slog.Int64("times", times), slog.String("reason", reason))
			}
		}
		return err
	})
}

// countRejected counts a rejected message with its destination, where it was under way.
func (t *term) countRejected(id waybill.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.inflights[id]; f != nil {
		f.lane.done.rejected++
	}
}

// postpone schedules a row's next copy and takes its message out of its window.
// failures is how many more tries have failed, and tries how many in all, where the
// consumer has told.
func (t *term) postpone(ctx context.Context, id waybill.ID, delay time.Duration, failures, tries int, reason string) {
	t.write(ctx, "postpone a message", []waybill.ID{id}, func(ctx context.Context, _ []waybill.ID) error {
		crash.Point("relay.postpone.before")
		_, err := t.r.queue.Postpone(ctx, id, delay, failures, tries, reason)
		crash.Point("relay.postpone.after")
		return err
	})
}

// forget takes messages out of their windows.
func (t *term) forget(ids ...waybill.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		if f := t.inflights[id]; f != nil {
			f.lane.drop(f)
			if f.copies > 1 || f.adopted || f.lane.topic {
				t.repeated.Set(id, struct{}{})
			}
		}
		t.forgetParked(id)
	}
	t.wake()
}

// retryUntilDone runs a statement until it succeeds or ctx ends: a database that is
// away is waited for. False says that nobody knows whether it is done.
func (t *term) retryUntilDone(ctx context.Context, doing string, run func() error) (done bool) {
	wait := backoff.Backoff{Least: 50 * time.Millisecond, Most: 5 * time.Second}
	for ctx.Err() == nil {
		err := run()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if times, due := t.r.repeats.Due(doing, err.Error()); due {
			t.log.ErrorContext(ctx, "database trouble; trying again", slog.String("doing", doing), slog.Int64("times", times), slog.Any("error", err))
		}
		wait.Sleep(ctx)
	}
	return false
}
