package relay

import (
	"context"
	"log/slog"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/internal/publish"
)

// run publishes what is queued until ctx ends, and then what is left within the
// time that settle allows.
func (l *lane) run(ctx, settle context.Context) {
	wait := backoff.Backoff{Least: 50 * time.Millisecond, Most: 30 * time.Second}
	for {
		batch := l.take()
		if len(batch) == 0 {
			select {
			case <-l.publish:
				continue
			case <-l.retired:
				return
			case <-ctx.Done():
				if batch = l.take(); len(batch) == 0 {
					return
				}
			}
		}
		conn, err := l.t.link.wait(settle)
		if err != nil {
			l.putBack(batch)
			return
		}
		refused, taken := l.send(settle, conn, batch)
		if 2*taken >= len(batch) {
			wait.Reset() // a few that are refused do not slow down the others
		}
		if refused {
			// The broker does not take them now: a full queue, a missing one. The
			// other lanes of this relay go on.
			if ctx.Err() != nil {
				return
			}
			wait.Sleep(ctx)
		}
	}
}

// send publishes one batch and does what the fates of its messages ask for. It reports
// whether the broker has refused any that it may take later, and how many it has taken
// or may have taken.
func (l *lane) send(ctx context.Context, conn broker.Conn, batch []outgoing) (refused bool, taken int) {
	connection := l.t.link.numberOf(conn)
	results, timedOut := l.publishBatch(ctx, conn, connection, batch)
	fates := l.noteFates(batch, results, connection)
	// A destination that blocks its producers has refused the batch. Where the
	// connection is to blame, we wait for the next one anyway.
	refused = fates.refused || timedOut
	if fates.problem != nil {
		if times, due := l.t.r.repeats.Due("publish "+l.destination, fates.problem.Error()); due {
			l.t.r.log.WarnContext(ctx, "messages not taken by the broker; they are sent again", slog.String("destination", l.destination), slog.Bool("refused", refused), slog.Int64("times", times), slog.Any("error", fates.problem))
		}
	}
	for _, r := range fates.unacceptable {
		l.t.reject(ctx, r.id, r.reason)
	}
	if len(fates.confirmed) > 0 {
		l.t.remove(ctx, fates.confirmed)
	}
	return refused, fates.taken
}

// publishBatch hands a batch to the broker, over the connection of that number, and returns
// one result for each message. It gives the connection up where that is to blame for a failure.
func (l *lane) publishBatch(ctx context.Context, conn broker.Conn, connection int, batch []outgoing) (results []broker.Result, timedOut bool) {
	messages := make([]broker.Message, len(batch))
	for i := range batch {
		messages[i] = batch[i].message
	}
	began := time.Now()
	send := l.publishMessages
	if l.open != connection || connection == 0 {
		send = l.publishFirst
	}
	results, timedOut, err := send(ctx, conn, messages)
	l.t.r.observe(ctx, func(o Observer) {
		o.Published(ctx, Publication{Destination: l.destination, Topic: l.topic, Began: began, Messages: messages, Results: results})
	})
	if slices.ContainsFunc(results, func(r broker.Result) bool { return r.Fate == broker.Confirmed }) {
		l.open = connection
	}
	if err != nil || timedOut && !l.t.link.hasAnswered(began) {
		l.t.link.giveUp(conn)
	}
	return results, timedOut
}

// publishMessages hands messages to the broker, and notes whether it has answered.
func (l *lane) publishMessages(ctx context.Context, conn broker.Conn, messages []broker.Message) (results []broker.Result, timedOut bool, err error) {
	crash.Point("relay.publish.before")
	results, timedOut, err = publish.Batch(ctx, conn, messages, l.o.Transport)
	crash.Point("relay.publish.after")
	if slices.ContainsFunc(results, func(r broker.Result) bool { return r.Fate != broker.Unknown }) {
		l.t.link.noteAnswer()
	}
	return results, timedOut, err
}

// fates is what became of a batch that was published.
type fates struct {
	taken        int          // messages that the broker has, or may have
	refused      bool         // there are some that it may take later
	confirmed    []waybill.ID // at a destination that is Accepted: their rows may go
	unacceptable []rejection
	problem      error // why one was refused, or why the fate of one is not known
}

// noteFates notes in the window what became of a batch that was published over the
// connection of that number.
func (l *lane) noteFates(batch []outgoing, results []broker.Result, connection int) (all fates) {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	l.published()
	for i, x := range batch {
		l.noteFate(x.f, results[i], &all)
	}
	l.noteWaiting(batch, connection)
	if all.taken > 0 {
		l.progressed = time.Now()
		l.t.r.counters.published.Add(int64(all.taken))
		l.done.published += int64(all.taken)
	}
	if all.problem == nil {
		l.lastError = ""
	} else {
		if l.lastError == "" {
			l.refusedSince = time.Now()
		}
		l.lastError = all.problem.Error()
	}
	l.t.wake()
	return all
}

// noteWaiting has the time-outs of what has been published looked at, and sends again what
// may be lost with a connection that has been followed by another one before the broker's
// answer was noted: reconnected did not see it.
func (l *lane) noteWaiting(batch []outgoing, connection int) {
	now := l.t.clock.now()
	for _, x := range batch {
		switch f := x.f; {
		case f.state != waiting && f.state != unsure:
		case connection < l.t.connection && (f.state == unsure || l.o.Transport == waybill.Transient):
			f.state = waiting
			l.resendSoon(f)
		default:
			l.arm(f.sent+l.timeout(), now)
		}
	}
	if l.isCrowded() {
		signal(l.t.parks)
	}
}

// noteFate notes what became of one message. term.mu is held.
func (l *lane) noteFate(f *inflight, result broker.Result, all *fates) {
	if result.Fate != broker.Refused && result.Fate != broker.Unacceptable {
		all.taken++
		if f.copies > 1 || f.repeat {
			l.t.r.counters.copies.Add(1)
			l.done.copies++
		}
	}
	if f.state != publishing {
		return // its receipt was faster than the broker's confirmation
	}
	switch result.Fate {
	case broker.Confirmed:
		f.state = waiting
		if l.o.Confirm == waybill.Accepted || mutant.DeleteOnPublish {
			f.state = settling
			l.done.confirmed++
			all.confirmed = append(all.confirmed, f.id)
		}
	case broker.Unknown:
		f.state = unsure
		all.problem = result.Err
	case broker.Refused:
		f.state, f.copies = waiting, f.copies-1 // the broker does not have it: that was no copy
		if !l.paused || !l.givesBack(f) {
			l.resendSoon(f)
		}
		all.refused, all.problem = true, result.Err
	case broker.Unacceptable:
		f.state = settling
		l.noteRejection(reasonOf(result.Err))
		all.unacceptable = append(all.unacceptable, rejection{f.id, "the broker does not take this message: " + reasonOf(result.Err)})
	}
}

func reasonOf(err error) string {
	if err == nil {
		return "no reason given"
	}
	return err.Error()
}
