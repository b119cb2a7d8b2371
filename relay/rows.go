package relay

import (
	"context"
	"log/slog"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
)

// remove deletes confirmed rows and then takes their messages out of their windows.
func (t *term) remove(ctx context.Context, ids []waybill.ID) {
	t.retryUntilDone(ctx, "delete confirmed messages", func() error {
		crash.Point("relay.delete.before")
		n, err := t.r.queue.Delete(ctx, ids)
		crash.Point("relay.delete.after")
		t.r.counters.confirmed.Add(n)
		return err
	})
	t.forget(ids...)
}

// reject keeps a row for a person and takes its message out of its window.
func (t *term) reject(ctx context.Context, id waybill.ID, reason string) {
	t.retryUntilDone(ctx, "reject a message", func() error {
		crash.Point("relay.reject.before")
		found, err := t.r.queue.Reject(ctx, id, reason)
		crash.Point("relay.reject.after")
		if found {
			t.r.counters.rejected.Add(1)
			t.log.WarnContext(ctx, "message rejected; see 'waybill list --rejected'", slog.String("id", id.String()), slog.String("reason", reason))
		}
		return err
	})
	t.forget(id)
}

// postpone schedules a row's next copy and takes its message out of its window.
// failures is how many more tries have failed, and tries how many in all, where the
// consumer has told.
func (t *term) postpone(ctx context.Context, id waybill.ID, delay time.Duration, failures, tries int, reason string) {
	t.retryUntilDone(ctx, "postpone a message", func() error {
		crash.Point("relay.postpone.before")
		_, err := t.r.queue.Postpone(ctx, id, delay, failures, tries, reason)
		crash.Point("relay.postpone.after")
		return err
	})
	t.forget(id)
}

// forget takes messages out of their windows.
func (t *term) forget(ids ...waybill.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		if f := t.inflights[id]; f != nil {
			f.lane.drop(f)
		}
	}
	t.wake()
}

// retryUntilDone runs a statement until it succeeds or ctx ends: a database that is
// away is waited for.
func (t *term) retryUntilDone(ctx context.Context, doing string, run func() error) {
	wait := backoff.Backoff{Least: 50 * time.Millisecond, Most: 5 * time.Second}
	for ctx.Err() == nil {
		err := run()
		if err == nil || ctx.Err() != nil {
			return
		}
		t.log.ErrorContext(ctx, "database trouble; trying again", slog.String("doing", doing), slog.Any("error", err))
		wait.Sleep(ctx)
	}
}
