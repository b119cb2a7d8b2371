package relay

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/store"
)

// A consumer that is down or slow holds up nobody else: a message that the others have
// confirmed leaves its destination's window when its time-out is over, or when more than
// half of the window waits for the same few. It is *parked*: the answers so far are in
// qconfirmed, the row stays pending, and each consumer that is missing has a straggler:
// a lane with a window and time-outs of its own. What finds no room in that window waits
// in the table, so a backlog of any length costs no memory.
//
// A straggler's messages were sent before they come to it. So it sends nothing by itself
// but what resending asks for: a probe now and then while its consumer is silent, and all
// of it again, at the pace at which it confirms, once a probe has shown that the copies
// are lost. Copies go to the topic, and the other consumers drop them.
//
// That a consumer lags is no reason to park what it may yet confirm in time: one message
// that it never answers would then cost a few writes with each of all that follow.

type stragglerKey struct {
	laneKey
	consumer string
}

type parkedKey struct {
	id       waybill.ID
	consumer string
}

// parking is a destination's messages that some of its consumers have answered.
type parking struct {
	answered int           // how many are in the window
	nextPark time.Duration // when the next one of them is to be parked
}

// lag is how long a straggler has had messages.
type lag struct {
	since time.Time // the oldest message's time when that began; zero where there are none
	began time.Time // when that began
	told  bool      // the log has it
}

const never = time.Duration(math.MaxInt64)

func (l *lane) isStraggler() bool { return l.consumer != "" }

// isCrowded says whether too much of the window waits for the few who have not answered.
func (l *lane) isCrowded() bool { return l.answered > l.limit()/2 }

// stragglerOf returns a consumer's straggler. Where there is none it makes one and starts
// its goroutine. mu is held.
func (t *term) stragglerOf(of *lane, consumer string) *lane {
	key := stragglerKey{of.laneKey, consumer}
	l := t.stragglers[key]
	if l == nil {
		l = newLane(t, of.laneKey)
		l.consumer = consumer
		l.estimator = of.estimator
		l.pace, l.breaker = of.pace, of.breaker
		l.progressed = time.Now()
		t.stragglers[key] = l
		t.order = append(t.order, l)
		t.start(l)
	}
	return l
}

// takes puts a message that was sent at that time, or earlier, into a straggler's window,
// or leaves it in the table. mu is held.
func (l *lane) takes(row int64, id waybill.ID, failures int, sent time.Duration) {
	key := parkedKey{id, l.consumer}
	if l.t.parked[key] != nil || l.leaves(row) {
		return
	}
	l.begins(id)
	if l.room() <= 0 {
		l.leaveInTable(row)
		return
	}
	f := &inflight{row: row, id: id, lane: l, failures: failures}
	l.wasSent(f, sent)
	l.window[id], l.t.parked[key] = f, f
}

// park takes out of the destinations' windows what is not to be waited for there.
func (p *pump) park(ctx context.Context) (bool, error) {
	if p.t.older {
		return false, nil // there is no place for answers
	}
	said, consumers, parked := p.t.park()
	p.t.noteThen(ctx, said, consumers, func(ids []waybill.ID) { p.t.leaveParked(ids, parked) })
	p.t.tellLag(ctx, time.Now())
	return len(said) > 0, nil
}

// leaveParked leaves messages whose answers are written to the scans of those stragglers that
// have not taken them: a scan before that has not seen them.
func (t *term) leaveParked(ids []waybill.ID, parked map[waybill.ID]*inflight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		f := parked[id]
		for _, consumer := range f.missing(f.lane.o.Consumers) {
			if t.parked[parkedKey{id, consumer}] == nil {
				l := t.stragglerOf(f.lane, consumer)
				l.begins(id)
				l.leaveInTable(f.row)
			}
		}
	}
}

// park moves messages to the stragglers, and returns the answers that are to be written.
func (t *term) park() (said []store.Answer, consumers map[waybill.ID][]string, parked map[waybill.ID]*inflight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	consumers, parked = map[waybill.ID][]string{}, map[waybill.ID]*inflight{}
	now := t.clock.now()
	for _, l := range t.lanes {
		for _, f := range l.late(now) {
			l.drop(f)
			for _, consumer := range f.missing(l.o.Consumers) {
				t.stragglerOf(l, consumer).takes(f.row, f.id, f.failures, f.sent)
			}
			said = append(said, f.confirmations(f.id, l.o.Consumers)...)
			consumers[f.id], parked[f.id] = l.o.Consumers, f
		}
	}
	return said, consumers, parked
}

// late returns the messages that are to be parked. mu is held.
func (l *lane) late(now time.Duration) (late []*inflight) {
	crowded := l.isCrowded()
	if !crowded && now < l.nextPark {
		return nil
	}
	l.nextPark = never
	if l.answered == 0 || mutant.WindowHeld {
		return nil
	}
	for _, f := range l.window {
		if !f.some() || f.state == settling {
			continue
		}
		patience := l.timeout()
		if f.due {
			patience = max(patience, 2*lateness) // scanDue looks back, and would send it again
		}
		if (f.state == waiting || f.state == unsure) && (now-f.sent >= patience || crowded && !f.due) {
			late = append(late, f)
			continue
		}
		l.nextPark = min(l.nextPark, max(f.sent+patience, now+checkEvery))
	}
	return late
}

// resume does with a row that has answers, and was sent, what the last term would have
// done with it.
func (t *term) resume(ctx context.Context, r *store.Row, known []store.Answer) {
	consumers := t.r.o.destination(r.Destination, r.Topic).Consumers
	a := answersOf(consumers, known)
	if a.complete(len(consumers)) {
		t.finish(ctx, map[waybill.ID][]store.Answer{r.MessageID: known}, map[waybill.ID][]string{r.MessageID: consumers})
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inflights[r.MessageID] != nil {
		return
	}
	if l := t.laneOf(r.Destination, r.Topic); l != nil {
		l.parkRow(r, a.missing(consumers), t.overtaken[r.MessageID])
	}
}

// parkRow gives a row that was sent to the stragglers of those consumers that are missing
// and have not answered since. mu is held.
func (l *lane) parkRow(r *store.Row, missing, answered []string) {
	for _, consumer := range missing {
		if !slices.Contains(answered, consumer) {
			l.t.stragglerOf(l, consumer).takes(r.ID, r.MessageID, r.Failures, l.t.clock.now())
		}
	}
}

// asksAgain reports whether a row with answers is to be sent now: its time has come, as
// after a retry or 'waybill resend', and nobody has sent it since.
func (t *term) asksAgain(r *store.Row, from source, known []store.Answer) bool {
	if from != readDue {
		return false
	}
	consumers := t.r.o.destination(r.Destination, r.Topic).Consumers
	a := answersOf(consumers, known)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, consumer := range a.missing(consumers) {
		if t.parked[parkedKey{r.MessageID, consumer}] != nil {
			return false
		}
	}
	return !a.complete(len(consumers))
}

// scanParkedOf reads limit rows at most, which is at least 1, of what waits in the table for
// a straggler's window.
func (p *pump) scanParkedOf(ctx context.Context, l *lane, after, upTo int64, limit int) error {
	t := p.t
	began := time.Now()
	crash.Point("relay.parked.before")
	rows, err := t.r.queue.ScanUnanswered(ctx, l.destination, l.topic, l.consumer, after, upTo, limit)
	crash.Point("relay.parked.after")
	if err != nil {
		return err
	}
	took := time.Since(began)
	t.mu.Lock()
	defer t.mu.Unlock()
	l.backlogFrom = noBacklog
	now := t.clock.now()
	for i := range rows {
		if l.hasBacklog() {
			break // it found no room
		}
		if r := &rows[i]; t.inflights[r.MessageID] == nil {
			l.takes(r.ID, r.MessageID, r.Failures, now)
		}
	}
	if len(rows) == limit {
		upTo = rows[len(rows)-1].ID
	} else {
		l.walked(took)
	}
	l.scanned(upTo, t.cursor)
	return nil
}

// forgetParked takes a message out of all stragglers' windows. mu is held.
func (t *term) forgetParked(id waybill.ID) {
	if len(t.parked) == 0 {
		return
	}
	for _, l := range t.stragglers {
		if f := l.window[id]; f != nil {
			l.drop(f)
		}
	}
}

// lagWarning is how long a straggler has messages before the log says so: a consumer
// that is restarted is back by then.
const lagWarning = 5 * time.Second

// begins notes that a straggler gets a message.
func (l *lane) begins(id waybill.ID) {
	if !l.since.IsZero() {
		return
	}
	l.began, l.since = time.Now(), id.Time()
	if clock := time.UnixMicro(l.t.pump.databaseNow()); l.since.After(clock) {
		l.since = clock // the id of a delayed row is of the time at which it is due
	}
}

// isBehind says whether a straggler has messages.
func (l *lane) isBehind() bool { return len(l.window) > 0 || l.hasBacklog() }

// lagging is what is known of a destination's stragglers. mu is held.
func (l *lane) lagging() (all []ConsumerStats) {
	for _, consumer := range slices.Sorted(slices.Values(l.o.Consumers)) {
		s := l.t.stragglers[stragglerKey{l.laneKey, consumer}]
		if s == nil || !s.isBehind() {
			continue
		}
		all = append(all, ConsumerStats{
			Consumer: consumer, Waiting: len(s.window), Backlog: s.hasBacklog(), Since: s.since, Silent: s.stall > 0,
			Lag: max(time.UnixMicro(l.t.pump.databaseNow()).Sub(s.since), 0),
		})
	}
	return all
}

// tellLag logs which consumers have begun to lag, and which have caught up.
func (t *term) tellLag(ctx context.Context, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.stragglers {
		who := []any{slog.String("destination", l.destination), slog.String("consumer", l.consumer), slog.Time("since", l.since)}
		switch {
		case !l.isBehind():
			if l.told {
				t.log.InfoContext(ctx, "a consumer has caught up", who...)
			}
			l.lag = lag{}
		case !l.told && now.Sub(l.began) >= lagWarning:
			l.told = true
			t.log.WarnContext(ctx, "a consumer has not confirmed what others have; these go on", who...)
		}
	}
}

// dropOrphans deletes answers on messages whose rows are gone, a page in one step: where a
// repeated receipt was being written while the row went, two relays led at once, a person
// has deleted rows, or a destination names no consumers any more. It takes no greater part
// of the time than sweeps.
func (p *pump) dropOrphans(ctx context.Context) (bool, error) {
	began := time.Now()
	if p.t.answered.Load() != answersSome || began.Before(p.nextOrphans) {
		return false, nil
	}
	crash.Point("relay.orphans.before")
	ids, err := p.t.r.queue.Answered(ctx, p.orphansFrom, sweepPage)
	crash.Point("relay.orphans.after")
	if err != nil {
		return false, err
	}
	crash.Point("relay.owners.before")
	rows, err := p.t.r.queue.FindBriefly(ctx, ids)
	crash.Point("relay.owners.after")
	if err != nil {
		return false, err
	}
	there := make(map[waybill.ID]bool, len(rows))
	for i := range rows {
		there[rows[i].MessageID] = true
	}
	var orphans []waybill.ID
	for _, id := range ids {
		if !there[id] {
			orphans = append(orphans, id)
		}
	}
	crash.Point("relay.bury.before")
	err = p.t.r.queue.DeleteAnswers(ctx, orphans)
	crash.Point("relay.bury.after")
	if err != nil {
		return false, err
	}
	wait := sweepShare * time.Since(began)
	if p.orphansFrom = (waybill.ID{}); len(ids) == sweepPage {
		p.orphansFrom = ids[len(ids)-1]
	} else {
		wait = max(wait, p.t.r.o.Sweep)
	}
	p.nextOrphans = time.Now().Add(wait)
	return false, nil
}
