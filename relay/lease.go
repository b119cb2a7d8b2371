package relay

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
)

// leaseName is the lease's row: there is one relay per set of tables.
const leaseName = "relay"

var errLeaseLost = errors.New("another relay has taken the lease")

// lead tries to get the lease and, where it did, leads until ctx ends or the lease
// is lost. led says whether it led at all.
func (r *Relay) lead(ctx context.Context) (led bool, err error) {
	crash.Point("relay.acquire.before")
	lease, err := r.queue.AcquireLease(ctx, leaseName, r.holder, r.o.Lease)
	crash.Point("relay.acquire.after")
	if err != nil || lease.Holder != r.holder {
		return false, err
	}
	crash.Point("relay.clock.before")
	clock, err := r.queue.Clock(ctx)
	crash.Point("relay.clock.after")
	if err != nil {
		return false, err
	}
	termCtx, end := context.WithCancelCause(ctx)
	defer end(nil)
	t := newTerm(r, lease.Cursor, clock)
	r.setTerm(t)
	defer r.setTerm(nil)
	r.log.InfoContext(ctx, "relay leads", slog.String("holder", r.holder), slog.Int64("cursor", lease.Cursor))

	// Settling outlives reading: what is published and confirmed when ctx ends is
	// still finished, within the bound.
	settle, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	var work sync.WaitGroup
	work.Go(func() { r.keepLease(settle, t, end) })
	err = t.run(termCtx, settle)
	abandon()
	work.Wait()

	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.o.Drain)
	defer cancel()
	crash.Point("relay.release.before")
	releaseErr := r.queue.ReleaseLease(release, leaseName, r.holder, t.safeCursor())
	crash.Point("relay.release.after")
	if releaseErr != nil && err == nil && ctx.Err() == nil {
		err = releaseErr
	}
	r.log.InfoContext(ctx, "relay leads no more", slog.Int64("cursor", t.safeCursor()))
	if cause := context.Cause(termCtx); err == nil && ctx.Err() == nil && errors.Is(cause, errLeaseLost) {
		r.log.WarnContext(ctx, "relay stands by", slog.Any("reason", cause))
	}
	return true, err
}

// keepLease renews the lease until ctx ends, and ends the term when the lease is
// lost or could not be renewed for as long as it lasts.
func (r *Relay) keepLease(ctx context.Context, t *term, end context.CancelCauseFunc) {
	renewed := time.Now()
	for {
		backoff.Sleep(ctx, r.o.Lease/3)
		if ctx.Err() != nil {
			return
		}
		// A database that hangs must not keep us from noticing that our time is up.
		limited, cancel := context.WithTimeout(ctx, r.o.Lease)
		crash.Point("relay.renew.before")
		held, err := r.queue.RenewLease(limited, leaseName, r.holder, r.o.Lease, t.safeCursor())
		crash.Point("relay.renew.after")
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.log.WarnContext(ctx, "lease not renewed", slog.Any("error", err))
			if time.Since(renewed) > r.o.Lease {
				end(err)
				return
			}
		case !held:
			end(errLeaseLost)
			return
		default:
			renewed = time.Now()
		}
	}
}

func (r *Relay) setTerm(t *term) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.term = t
}
