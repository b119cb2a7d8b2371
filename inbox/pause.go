package inbox

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/breaker"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/store"
)

// From a destination that is paused (store.Pause) nothing is taken: its workers stand still
// once the batches in hand are done, or between the parts of these. What has arrived by then
// is held and not acknowledged, and not given back, since brokers count how often they deliver
// a message, and take it away for that. Where there is no subscription, none is begun. Kept
// messages wait, too.

const (
	// pausesLimit bounds a look; while it lasts what was read last counts.
	pausesLimit = 10 * time.Second
	// firstPauses bounds the one that Run waits for before it takes anything.
	firstPauses = 2 * time.Second
)

// pauses are what the inbox has read last.
type pauses struct {
	tripped chan struct{} // holds a value when a breaker has tripped
	mu      sync.Mutex
	all     []store.Pause // of destinations that have a handler
}

// pausable is what a route knows of its being paused.
type pausable struct {
	paused   atomic.Bool   // says the table
	tripping atomic.Bool   // says the breaker, and the table does not yet
	resumed  chan struct{} // holds a value when it goes on

	mu      sync.Mutex
	breaker *breaker.Breaker // nil where it is off
	why     string           // it has tripped
}

func newPausable(o waybill.Breaker) *pausable {
	return &pausable{resumed: make(chan struct{}, 1), breaker: breaker.New(o, time.Now())}
}

// isPaused says whether nothing is to be taken.
func (p *pausable) isPaused() bool { return p.paused.Load() || p.tripping.Load() }

// waitWhilePaused waits until the route is not paused, and reports whether it is not; it is
// where ctx ends before.
func (r *route) waitWhilePaused(ctx context.Context) bool {
	for r.isPaused() {
		select {
		case <-ctx.Done():
			return false
		case <-r.resumed:
		}
	}
	return ctx.Err() == nil
}

// goOn has whoever waits look again.
func (r *route) goOn() {
	select {
	case r.resumed <- struct{}{}:
	default:
	}
	for _, w := range r.workers {
		w.wake()
	}
}

// noteAccepted counts a batch that took effect.
func (r *route) noteAccepted() {
	if r.breaker == nil {
		return
	}
	r.pausable.mu.Lock()
	defer r.pausable.mu.Unlock()
	r.breaker.Accepted(time.Now())
}

// noteRejected counts a message that is rejected, and pauses the route if that is too many.
func (r *route) noteRejected(reason error) {
	if r.breaker == nil || r.isPaused() {
		return
	}
	r.pausable.mu.Lock()
	defer r.pausable.mu.Unlock()
	why := r.breaker.Rejected(time.Now(), reason.Error())
	if why == "" {
		return
	}
	r.why = why
	r.tripping.Store(true)
	select {
	case r.in.pauses.tripped <- struct{}{}:
	default:
	}
}

// watchPauses reads which destinations are paused, and writes those whose breakers have
// tripped, until ctx ends.
func (in *Inbox) watchPauses(ctx context.Context) {
	timer := time.NewTicker(in.o.PausesEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-in.pauses.tripped:
		}
		in.lookAtPauses(ctx, pausesLimit)
	}
}

// lookAtPauses does it once. What fails leaves all as it was.
func (in *Inbox) lookAtPauses(ctx context.Context, limit time.Duration) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := in.writeTrips(limited)
	if err == nil {
		err = in.readPauses(limited)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	if times, due := in.repeats.Due("pauses", err.Error()); due {
		in.log.WarnContext(ctx, "it cannot be read or written which destinations are paused; trying again, and all else goes on", slog.Int64("times", times), slog.Any("error", err))
	}
}

func (in *Inbox) readPauses(ctx context.Context) error {
	crash.Point("inbox.pauses.before")
	all, err := in.ledger.Pauses(ctx)
	crash.Point("inbox.pauses.after")
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(p store.Pause) bool { return in.routeOf(p.Destination, p.Topic) == nil })
	in.pauses.mu.Lock()
	in.pauses.all = all
	in.pauses.mu.Unlock()
	now := map[*route]store.Pause{}
	for _, p := range all {
		now[in.routeOf(p.Destination, p.Topic)] = p // a consumer's own comes after that of all
	}
	for _, r := range in.routes {
		p, is := now[r]
		stood := r.isPaused()
		was := r.paused.Swap(is)
		r.endTrip()
		switch {
		case is && !was:
			in.log.WarnContext(ctx, "destination paused: nothing is taken from it", aboutPause(&p)...)
		case was && !is:
			in.log.InfoContext(ctx, "destination resumed", slog.String("destination", r.destination), slog.Bool("topic", r.o.Topic))
			r.resetBreaker()
		}
		if stood && !r.isPaused() {
			r.goOn()
		}
	}
	return nil
}

// endTrip leaves it to the table whether the route is paused, unless there is a trip that has
// not been written.
func (r *route) endTrip() {
	r.pausable.mu.Lock()
	defer r.pausable.mu.Unlock()
	r.tripping.Store(r.why != "")
}

func (r *route) resetBreaker() {
	r.pausable.mu.Lock()
	defer r.pausable.mu.Unlock()
	r.breaker.Reset()
}

// writeTrips pauses the destinations whose breakers have tripped. Somebody else's pause stays.
func (in *Inbox) writeTrips(ctx context.Context) error {
	for _, r := range in.routes {
		r.pausable.mu.Lock()
		why := r.why
		r.pausable.mu.Unlock()
		if why == "" {
			continue
		}
		p := store.Pause{Destination: r.destination, Topic: r.o.Topic, By: waybill.BreakerName, Reason: why}
		crash.Point("inbox.trip.before")
		err := in.ledger.PauseUnlessPaused(ctx, p, r.o.Breaker.For)
		crash.Point("inbox.trip.after")
		if err != nil && !errors.Is(err, waybill.ErrSchema) {
			return err
		}
		if err != nil {
			if times, due := in.repeats.Due("breaker of "+r.destination, ""); due {
				in.log.WarnContext(ctx, "a destination is to be paused, and the tables have no place for that; all goes on", append(aboutPause(&p), slog.Int64("times", times), slog.Any("error", err))...)
			}
		}
		r.pausable.mu.Lock()
		r.why = ""
		r.pausable.mu.Unlock()
	}
	return nil
}

// aboutPause are the log's attributes of a pause.
func aboutPause(p *store.Pause) []any {
	all := []any{slog.String("destination", p.Destination), slog.Bool("topic", p.Topic), slog.String("by", p.By), slog.String("reason", p.Reason)}
	if !p.Since.IsZero() {
		all = append(all, slog.Time("since", p.Since.UTC()))
	}
	if !p.Until.IsZero() {
		all = append(all, slog.Time("until", p.Until.UTC()))
	}
	return all
}

// pausedNow is what Stats tells.
func (in *Inbox) pausedNow() []store.Pause {
	in.pauses.mu.Lock()
	defer in.pauses.mu.Unlock()
	return slices.Clone(in.pauses.all)
}
