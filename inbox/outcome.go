package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/internal/guest"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
)

// outcomes collects what became of messages, to acknowledge and receipt them
// together.
type outcomes struct {
	r        *route
	acks     map[*subscription][]broker.Delivery
	receipts map[string][]waybill.Receipt // by queue
	keeps    []keeping
}

func newOutcomes(r *route) *outcomes {
	return &outcomes{r: r, acks: map[*subscription][]broker.Delivery{}, receipts: map[string][]waybill.Receipt{}}
}

// note has settle acknowledge a message and answer its producer, where that can be
// answered.
func (o *outcomes) note(x *item, receipt waybill.Receipt) {
	x.noted = true
	if x.kept != nil { // there is nobody to tell
		x.end()
		return
	}
	o.acks[x.receiver] = append(o.acks[x.receiver], x.delivery)
	if x.ReceiptTo != "" {
		receipt.ID = x.Message.ID
		o.receipts[x.ReceiptTo] = append(o.receipts[x.ReceiptTo], receipt)
	}
}

// settle keeps what nobody else keeps, acknowledges what was noted, and only then answers.
func (o *outcomes) settle(ctx context.Context) {
	o.keepAll(ctx)
	for receiver, deliveries := range o.acks {
		o.r.in.settle(ctx, receiver, deliveries, broker.Ack)
	}
	for queue, receipts := range o.receipts {
		o.r.in.receipts.add(queue, receipts)
	}
	clear(o.acks)
	clear(o.receipts)
}

// settle tells the broker what became of messages. Where that fails, it delivers them
// again, and the guards find their records.
func (in *Inbox) settle(ctx context.Context, receiver *subscription, deliveries []broker.Delivery, d broker.Disposition) {
	crash.Point("inbox.settle.before")
	err := receiver.Settle(ctx, deliveries, d)
	crash.Point("inbox.settle.after")
	if err != nil && !errors.Is(err, broker.ErrClosed) {
		in.log.DebugContext(ctx, "messages not settled; the broker delivers them again", slog.Any("error", err))
	}
}

// gaveUpError rejects a message whose handler has failed too often.
type gaveUpError struct {
	tries int
	err   error
}

func (e *gaveUpError) Error() string {
	return fmt.Sprintf("gave up after %d tries: %v", e.tries, e.err)
}
func (e *gaveUpError) Unwrap() error { return e.err }

// about are the log's attributes of a message, before others.
func about(r *route, x *item, times int64, others ...slog.Attr) []any {
	id := x.Message.ID
	if id.IsZero() {
		id = x.keptAs
	}
	all := []any{slog.String("destination", r.destination), slog.String("id", id.String()), slog.Int64("times", times)}
	for _, a := range others {
		if !a.Equal(slog.Attr{}) {
			all = append(all, a)
		}
	}
	return all
}

// stackOf is the stack of a panic, for the log.
func stackOf(err error) slog.Attr {
	panicked, ok := errors.AsType[*guest.PanicError](err)
	if !ok {
		return slog.Attr{}
	}
	return slog.String("stack", string(panicked.Stack))
}

// failed decides what a handler's failure means: that the message is given up, or that
// it comes again.
func (o *outcomes) failed(ctx context.Context, x *item, err error) {
	var permanent *waybill.PermanentError
	if errors.As(err, &permanent) {
		o.reject(ctx, x, err)
		return
	}
	var later *waybill.RetryError
	asked := errors.As(err, &later)
	tries := o.tries(x, !asked)
	if !asked && tries >= o.r.o.MaxTries {
		o.reject(ctx, x, &gaveUpError{tries, err})
		return
	}
	o.retry(ctx, x, tries, later, err)
}

// tries is how often a message's handler has failed, this time included if it counts.
func (o *outcomes) tries(x *item, counts bool) int {
	switch {
	case x.ReceiptTo != "": // its producer counts those that it is told of
		return x.Message.Failures + 1
	case x.kept != nil && counts:
		return x.kept.Failures + 1
	case x.kept != nil:
		return x.kept.Failures
	case counts:
		return o.r.countForeign(x.Message.ID)
	}
	return o.r.triesForeign(x.Message.ID)
}

// retry has a message come again: from its producer, which decides when unless the
// handler asked for a time (later), or from here where nobody can be answered.
func (o *outcomes) retry(ctx context.Context, x *item, tries int, later *waybill.RetryError, reason error) {
	in := o.r.in
	in.counters.retried.Add(1)
	o.r.counts.retried.Add(1)
	if times, due := in.repeats.Due("handler of "+o.r.destination, reason.Error()); due {
		in.log.WarnContext(ctx, "handler failed; the message comes again", about(o.r, x, times,
			slog.Int("tries", tries), slog.String("error", reason.Error()), stackOf(reason))...)
	}
	if x.ReceiptTo == "" {
		delay := backoff.Jittered(backoff.Doubled(100*time.Millisecond, tries-1, time.Minute))
		if later != nil {
			delay = max(later.After, time.Millisecond)
		}
		o.later(ctx, x, tries, delay, reason)
		return
	}
	receipt := waybill.Receipt{Outcome: waybill.Retry, Error: wire.ErrorText(reason.Error())}
	if later != nil {
		receipt.After = max(later.After, time.Millisecond) // 0 leaves it to the producer
	} else {
		receipt.Tries = tries
	}
	o.note(x, receipt)
}

// postponeTime is after what time a message comes again that could not be recorded.
const postponeTime = time.Minute

// defers has a message come again later that cannot be handled now: the handler of another
// one of its key has been left behind. That is no failure of it.
func (o *outcomes) defers(ctx context.Context, x *item) {
	in := o.r.in
	in.log.DebugContext(ctx, "a handler that has not returned holds up a message; it comes again", slog.String("destination", o.r.destination),
		slog.String("id", x.Message.ID.String()), slog.Duration("after", postponeTime))
	if x.ReceiptTo == "" {
		o.later(ctx, x, o.tries(x, false), postponeTime/2, errStuck)
		return
	}
	o.note(x, waybill.Receipt{Outcome: waybill.Retry, After: postponeTime, Error: errStuck.Error()})
}

// postpone has a message come again that failed before its handler ran, while others do
// not: what keeps its record out is no failure of the message, and may be mended. Nor is it
// one that the database has no room for what its handler writes, and has for others'.
func (o *outcomes) postpone(ctx context.Context, x *item, f *failure) {
	in := o.r.in
	what, text, short := "guard of ", "its guard fails, and works with others", "not recorded: "
	if f.full {
		what, text, short = "room for ", "the database has no room for what its handler writes", "no room: "
	}
	in.counters.troubles.Add(1)
	if times, due := in.repeats.Due(what+o.r.destination, f.err.Error()); due {
		in.log.ErrorContext(ctx, "a message cannot be handled now, which is no failure of it; it comes again",
			about(o.r, x, times, slog.String("reason", text), slog.Duration("after", postponeTime), slog.Any("error", f.err))...)
	}
	if x.ReceiptTo == "" {
		o.later(ctx, x, o.tries(x, false), postponeTime/2, f.err)
		return
	}
	o.note(x, waybill.Receipt{Outcome: waybill.Retry, After: postponeTime, Error: wire.ErrorText(short + f.err.Error())})
}

// reject gives a message up: its producer keeps it for a person. Where there is no producer
// that could, the consumer keeps it, or the broker, if Options.DeadLetter says so.
func (o *outcomes) reject(ctx context.Context, x *item, reason error) {
	in := o.r.in
	in.counters.rejected.Add(1)
	o.r.counts.rejected.Add(1)
	o.r.noteRejected(reason)
	if x.ReceiptTo != "" && !x.Message.ID.IsZero() {
		o.tellRejection(ctx, x, reason, keptByProducer(x, reason))
		o.note(x, waybill.Receipt{Outcome: waybill.Rejected, Error: wire.ErrorText(reason.Error())})
		return
	}
	if in.o.DeadLetter && x.kept == nil {
		o.tellRejection(ctx, x, reason, "the broker's dead letters")
		x.noted = true
		o.r.forgetForeign(x.Message.ID)
		in.settle(ctx, x.receiver, []broker.Delivery{x.delivery}, broker.DeadLetter)
		return
	}
	failures := o.tries(x, false)
	o.keep(x, store.Rejected, failures, 0, reason)
	o.tellRejection(ctx, x, reason, "n_rejected: see 'waybill list --side consumer'")
}

// keptByProducer says where a message is to be found that its producer keeps, as far as it does.
func keptByProducer(x *item, reason error) string {
	switch {
	case x.Message.Topic:
		return "its producer's outbox, if that waits for this consumer of the topic (waybill relay --consumers); else nowhere"
	case errors.Is(reason, errForgotten):
		return "its producer's outbox, unless this is a copy of what was done or discarded"
	}
	return "its producer's outbox"
}

// tellRejection logs that a message is given up, and where it is to be found.
func (o *outcomes) tellRejection(ctx context.Context, x *item, reason error, where string) {
	in := o.r.in
	if times, due := in.repeats.Due("rejection at "+o.r.destination, reason.Error()); due {
		in.log.ErrorContext(ctx, "message rejected", about(o.r, x, times, slog.String("kept_in", where),
			slog.String("producer", x.Message.Producer), slog.String("reason", reason.Error()), stackOf(reason))...)
	}
}

// plant says of messages that have not been handled what is to be said once they are:
// see internal/fault/mutant.
func (o *outcomes) plant(ctx context.Context, batch []*item) {
	for _, x := range batch {
		switch {
		case mutant.AckBeforeCommit:
			o.r.in.settle(ctx, x.receiver, []broker.Delivery{x.delivery}, broker.Ack)
		case x.ReceiptTo != "":
			o.r.in.receipts.add(x.ReceiptTo, []waybill.Receipt{{ID: x.Message.ID, Outcome: waybill.Done}})
		}
	}
}
