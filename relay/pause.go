package relay

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/store"
)

// A destination that is paused (store.Pause) has a lane as ever, which sends nothing: rows
// wait in the table as they do where a window is full, and are found from where the lane left
// them. Receipts are taken. Which destinations are paused is read from the table by itself, a
// few rows a second: no other statement comes as often whatever there is to do, and none may
// fail because of it. What cannot be read leaves all as it was.

const (
	// pausesLimit bounds a look; while it lasts what was read last counts.
	pausesLimit = 10 * time.Second
	// firstPauses bounds the one that a term waits for before it sends anything.
	firstPauses = 2 * time.Second
)

// watchPauses reads which destinations are paused, and writes those whose breakers have
// tripped, until ctx ends; also while there is no connection to the broker.
func (t *term) watchPauses(ctx context.Context) {
	l := &loop{
		tasks: []*task{
			newTask("pause destinations whose messages are rejected", pausesLimit, t.writeTrips),
			newTask("read which destinations are paused", pausesLimit, t.readPauses),
		},
		pause: func(int) time.Duration { return t.r.o.PausesEvery }, woken: t.tripped,
	}
	for ctx.Err() == nil {
		l.wait(ctx, 0)
		l.once(ctx, t)
	}
}

// beginPauses reads which destinations are paused before anything is sent. Where that fails,
// what this relay has read last counts.
func (t *term) beginPauses(ctx context.Context) {
	t.setPauses(ctx, t.r.lastPauses())
	limited, cancel := context.WithTimeout(ctx, firstPauses)
	defer cancel()
	if _, err := t.readPauses(limited); err != nil && ctx.Err() == nil {
		t.log.WarnContext(ctx, "it cannot be read which destinations are paused; trying again, and all else goes on", slog.Any("error", err))
	}
}

func (t *term) readPauses(ctx context.Context) (bool, error) {
	crash.Point("relay.pauses.before")
	all, err := t.r.queue.Pauses(ctx)
	crash.Point("relay.pauses.after")
	if err == nil {
		t.setPauses(ctx, all)
	}
	return false, err
}

// lastPauses is what this relay has read last, in this term or an earlier one.
func (r *Relay) lastPauses() []store.Pause {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pauses
}

// setPauses has lanes stop and go on, and tells which.
func (t *term) setPauses(ctx context.Context, all []store.Pause) {
	t.mu.Lock()
	before := t.paused
	now := make(map[laneKey]store.Pause, len(all))
	for _, p := range all {
		now[laneKey{p.Destination, p.Topic}] = p
	}
	if maps.Equal(before, now) && !t.tripping {
		t.mu.Unlock()
		return
	}
	t.paused, t.tripping = now, len(t.trips) > 0
	for _, l := range t.order {
		if is := t.isPaused(l.laneKey); is != l.paused {
			l.setPaused(is)
		}
	}
	t.mu.Unlock()

	t.r.mu.Lock()
	known := make(map[laneKey]bool, len(t.r.pauses)) // which an earlier term has told
	for _, p := range t.r.pauses {
		known[laneKey{p.Destination, p.Topic}] = true
	}
	t.r.pauses = all
	t.r.mu.Unlock()
	for _, p := range all {
		if key := (laneKey{p.Destination, p.Topic}); !known[key] {
			t.log.WarnContext(ctx, "destination paused: nothing is sent to it", aboutPause(&p)...)
		}
		delete(known, laneKey{p.Destination, p.Topic})
	}
	for key := range known {
		t.log.InfoContext(ctx, "destination resumed", slog.String("destination", key.destination), slog.Bool("topic", key.topic))
	}
}

// isPaused says whether a destination is paused, or is about to be. mu is held.
func (t *term) isPaused(key laneKey) bool {
	_, paused := t.paused[key]
	_, trips := t.trips[key]
	return paused || trips
}

// whyPaused is since when messages of a paused destination wait, and why. mu is held.
func (t *term) whyPaused(key laneKey, now time.Time) (since time.Time, why string) {
	p, known := t.paused[key]
	if !known {
		return now, "the destination is being paused"
	}
	topic := ""
	if key.topic {
		topic = " --topic"
	}
	// The reason comes last: it may be long, and a note is cut off.
	why = "the destination is paused by " + cmp.Or(p.By, "somebody") + ", until 'waybill resume " + key.destination + topic + " --side producer'"
	if p.Reason != "" {
		why += ": " + p.Reason
	}
	return p.Since, why
}

// aboutPause are the log's attributes of a pause.
func aboutPause(p *store.Pause) []any {
	all := []any{slog.String("destination", p.Destination), slog.Bool("topic", p.Topic), slog.String("by", p.By), slog.String("reason", p.Reason), slog.Time("since", p.Since.UTC())}
	if !p.Until.IsZero() {
		all = append(all, slog.Time("until", p.Until.UTC()))
	}
	return all
}

// setPaused has a lane stop, or go on. mu is held.
func (l *lane) setPaused(paused bool) {
	l.paused = paused
	l.breaker.Reset()
	if paused {
		l.leaveQueue()
	} else {
		l.goOn(l.t.clock.now())
	}
	signal(l.armed)
	l.t.wake()
}

// leaveQueue gives back what the lane has queued, so that it takes no room from others: first
// copies to the table, and further ones to those that are to be sent again. mu is held.
func (l *lane) leaveQueue() {
	for _, x := range l.queue {
		l.t.bytes -= x.size()
		if f := x.f; f.state == queued && l.window[f.id] == f { // else it is settled, or gone
			f.state = waiting
			l.again = append(l.again, f)
		}
	}
	l.queue, l.bytes = nil, 0
	l.again = slices.DeleteFunc(l.again, func(f *inflight) bool { return f.state == waiting && l.givesBack(f) })
}

// givesBack leaves a message in the table that nobody has had, and reports whether it has. mu
// is held.
func (l *lane) givesBack(f *inflight) bool {
	if f.copies > 0 || f.repeat || f.adopted || l.window[f.id] != f {
		return false
	}
	l.drop(f)
	l.leaveInTable(f.row)
	return true
}

// goOn begins anew with what was sent before the lane was paused: whether its consumer is
// silent has to show, and how long its receipts took says nothing. mu is held.
func (l *lane) goOn(now time.Duration) {
	l.stall, l.probing, l.budget = 0, false, 1
	for _, f := range l.window {
		if f.state == waiting || f.state == unsure {
			f.sent, f.adopted = now, true
		}
	}
	l.lookNow()
}

// noteOutcome counts what a consumer has said about a message of the lane's. mu is held.
func (l *lane) noteOutcome(c consumerReceipt) {
	switch {
	case l.breaker == nil || l.paused:
	case c.Outcome == waybill.Done:
		l.breaker.Accepted(time.Now())
	case c.Outcome == waybill.Rejected:
		l.noteRejection(c.consumer + ": " + orElse(c.Error, "rejected"))
	}
}

// noteRejection counts a message of the lane's that is rejected, and has the destination
// paused if that is too many. mu is held.
func (l *lane) noteRejection(reason string) {
	if l.breaker == nil || l.paused {
		return
	}
	why := l.breaker.Rejected(time.Now(), reason)
	if why == "" {
		return
	}
	l.t.trips[l.laneKey], l.t.tripping = trip{why: why, length: l.breaker.For()}, true
	for _, other := range l.t.order {
		if other.laneKey == l.laneKey {
			other.paused = true // at once; writeTrips does the rest
		}
	}
	signal(l.t.tripped)
}

// trip is a pause that a breaker asks for.
type trip struct {
	why    string
	length time.Duration
}

// writeTrips pauses the destinations whose breakers have tripped. Somebody else's pause stays.
func (t *term) writeTrips(ctx context.Context) (bool, error) {
	t.mu.Lock()
	all := maps.Clone(t.trips)
	if len(all) > 0 {
		for _, l := range t.order {
			if _, trips := all[l.laneKey]; trips {
				l.leaveQueue()
			}
		}
		t.wake()
	}
	t.mu.Unlock()
	for key, x := range all {
		p := store.Pause{Destination: key.destination, Topic: key.topic, By: waybill.BreakerName, Reason: x.why}
		crash.Point("relay.trip.before")
		err := t.r.queue.PauseUnlessPaused(ctx, p, x.length)
		crash.Point("relay.trip.after")
		if err != nil && !errors.Is(err, waybill.ErrSchema) {
			return false, err
		}
		if err != nil {
			if times, due := t.r.repeats.Due("breaker of "+key.destination, ""); due {
				t.log.WarnContext(ctx, "a destination is to be paused, and its tables have no place for that; all goes on", append(aboutPause(&p), slog.Int64("times", times), slog.Any("error", err))...)
			}
		}
		t.mu.Lock()
		delete(t.trips, key)
		t.mu.Unlock()
	}
	return false, nil
}
