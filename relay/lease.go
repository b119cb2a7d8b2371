package relay

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/internal/leftover"
	"github.com/waybill-go/waybill/store"
)

// leaseName is the lease's row: one relay leads a set of tables.
const leaseName = "relay"

// errUpgraded ends a term in which the tables were of an older version.
var errUpgraded = errors.New("the tables have been upgraded")

var errLeaseLost = errors.New("another relay has taken the lease")

// lead tries to get the lease and, where it did, leads until ctx ends or the lease
// is lost. led says whether it led at all. late hears why a term has ended of which something
// goes on for longer than Options.Drain: this relay could not lead again.
func (r *Relay) lead(ctx context.Context, late chan<- error) (led bool, err error) {
	var lease store.Lease
	var clock, heldUntil int64
	r.parts.Do("taking the lease", func() { lease, clock, heldUntil, err = r.acquire(ctx) })
	if err != nil {
		return false, err
	}
	if lease.Holder != r.holder {
		if r.leader != lease.Holder {
			r.leader = lease.Holder
			r.log.InfoContext(ctx, "relay stands by; another one leads", slog.String("leader", lease.Holder))
		}
		r.parts.Do("noting that it stands by", func() { r.noteStandby(ctx) })
		return false, nil
	}
	r.leader = ""
	var identity string
	r.parts.Do("reading the outbox's identity", func() {
		crash.Point("relay.identity.before")
		identity, err = r.queue.Identity(ctx)
		crash.Point("relay.identity.after")
	})
	if err != nil {
		return false, err
	}
	if mutant.ReceiptByID {
		identity = ""
	}
	leading, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer leftover.Late(leading, r.o.Drain, late)()
	t := newTerm(r, identity, lease.Cursor, clock)
	t.older = r.queue.Older()
	t.heldUntil = heldUntil
	t.pump.dueSince(heldUntil)
	r.parts.Do("reading which destinations are paused", func() { t.beginPauses(ctx) })
	r.setTerm(t)
	defer r.setTerm(nil)
	r.log.InfoContext(ctx, "relay leads", slog.String("holder", r.holder), slog.Int64("cursor", lease.Cursor))

	// What is under way when the term ends is still finished. All of that shares
	// Options.Drain: whatever hangs leaves a tenth for the end of the connection, and
	// a tenth for giving the lease back, so that a successor need not wait until the
	// lease ends.
	settle, abandon := outlive(leading, r.o.Drain*8/10)
	defer abandon()
	closing, cancelClosing := outlive(leading, r.o.Drain*9/10)
	defer cancelClosing()
	releasing, cancelReleasing := outlive(leading, r.o.Drain)
	defer cancelReleasing()

	var keeper sync.WaitGroup
	r.parts.Go(&keeper, "renewing the lease", func() { r.keepLease(settle, t, end) })
	err = t.run(leading, settle, closing, end)
	abandon()
	keeper.Wait()

	var releaseErr error
	r.parts.Do("giving the lease back", func() {
		crash.Point("relay.release.before")
		releaseErr = r.queue.ReleaseLease(releasing, leaseName, r.holder, t.safeCursor())
		crash.Point("relay.release.after")
	})
	if releaseErr != nil && err == nil && ctx.Err() == nil {
		err = releaseErr
	}
	r.log.InfoContext(ctx, "relay leads no more", slog.Int64("cursor", t.safeCursor()))
	switch cause := context.Cause(leading); {
	case err != nil || ctx.Err() != nil:
	case errors.Is(cause, errUpgraded):
		err = cause
	case errors.Is(cause, errLeaseLost):
		r.log.WarnContext(ctx, "relay has lost the lease", slog.Any("reason", cause))
	}
	return true, err
}

const (
	standbyEvery = 10 * time.Second // at least, between two notes
	standbyTime  = 30 * time.Second // for which one stands
	standbyLimit = 5 * time.Second  // for writing one
)

// noteStandby notes for people that this relay stands by, now and then. Nothing rests on it.
func (r *Relay) noteStandby(ctx context.Context) {
	now := time.Now()
	if now.Sub(r.stoodBy) < standbyEvery {
		return
	}
	r.stoodBy = now
	limited, cancel := context.WithTimeout(ctx, min(standbyLimit, r.o.Lease/3))
	defer cancel()
	crash.Point("relay.standby.before")
	err := r.queue.NoteStandby(limited, r.holder, standbyTime)
	crash.Point("relay.standby.after")
	if err != nil {
		r.log.DebugContext(ctx, "it is not noted that this relay stands by", slog.Any("error", err))
	}
}

// acquire tries to get the lease and returns it as it is then, and where this relay
// holds it also the database's clock in µs, and by the same clock until when the last
// holder may have led.
func (r *Relay) acquire(ctx context.Context) (lease store.Lease, clock, heldUntil int64, err error) {
	crash.Point("relay.previous.before")
	previous, err := r.queue.Lease(ctx, leaseName)
	crash.Point("relay.previous.after")
	if err != nil {
		return previous, 0, 0, err
	}
	crash.Point("relay.acquire.before")
	lease, err = r.queue.AcquireLease(ctx, leaseName, r.holder, r.o.Lease)
	crash.Point("relay.acquire.after")
	if err != nil || lease.Holder != r.holder {
		return lease, 0, 0, err
	}
	crash.Point("relay.clock.before")
	clock, err = r.queue.Clock(ctx)
	crash.Point("relay.clock.after")
	heldUntil = clock + min(previous.Left, 0)
	if heldUntil < (365 * 24 * time.Hour).Microseconds() {
		heldUntil = clock // an older version does not tell when it gave its lease back
	}
	return lease, clock, heldUntil, err
}

// outlive returns a context that ends d after ctx does, or when it is cancelled.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		backoff.Sleep(longer, d)
		cancel()
	})
	return longer, func() {
		stop()
		cancel()
	}
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
			if times, due := r.repeats.Due("lease", err.Error()); due {
				r.log.WarnContext(ctx, "lease not renewed", slog.Int64("times", times), slog.Any("error", err))
			}
			if time.Since(renewed) > r.o.Lease && !r.keepsLocked(ctx, err) {
				end(err)
				return
			}
		case !held:
			end(errLeaseLost)
			return
		default:
			renewed = time.Now()
			if r.isUpgraded(ctx) {
				end(errUpgraded)
				return
			}
		}
	}
}

// isUpgraded looks whether tables of an older version have been upgraded.
func (r *Relay) isUpgraded(ctx context.Context) bool {
	if !r.queue.Older() {
		return false
	}
	err := r.checkSchema(ctx)
	return err == nil && !r.queue.Older()
}

// keepsLocked reports whether the lease is ours still, though err has kept it from being
// renewed for as long as it lasts: somebody has locked its row. Then no other relay can
// take it either, and one that does so later ends this term.
func (r *Relay) keepsLocked(ctx context.Context, err error) bool {
	if !errors.Is(err, context.DeadlineExceeded) && r.queue.Condition(err) != store.Conflict {
		return false
	}
	limited, cancel := context.WithTimeout(ctx, max(r.o.Lease, 5*time.Second))
	defer cancel()
	return store.HoldsLease(limited, r.queue, leaseName, r.holder)
}

func (r *Relay) setTerm(t *term) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.term = t
}
