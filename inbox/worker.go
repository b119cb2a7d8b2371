package inbox

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/store"
)

// worker handles its share of a route's messages, a batch at a time.
type worker struct {
	r *route

	mu      sync.Mutex
	queue   []*item // bounded by the subscription's prefetch
	arrived chan struct{}

	// run's own:
	size   int  // of the next batch
	wary   int  // the size from which on it grows by one at a time; see resize
	beaten bool // the batch under way has lost to another transaction
}

func newWorker(r *route) *worker {
	return &worker{r: r, arrived: make(chan struct{}, 1), size: r.o.Batch, wary: r.o.Batch}
}

func (w *worker) put(x *item) {
	w.mu.Lock()
	w.queue = append(w.queue, x)
	w.mu.Unlock()
	select {
	case w.arrived <- struct{}{}:
	default:
	}
}

// take removes what has arrived, at most n, without what came through a connection
// that has ended: the broker delivers that again.
func (w *worker) take(n int) []*item {
	w.mu.Lock()
	defer w.mu.Unlock()
	batch := make([]*item, 0, min(n, len(w.queue)))
	i := 0
	for ; i < len(w.queue) && len(batch) < n; i++ {
		if x := w.queue[i]; !x.isGone() {
			batch = append(batch, x)
		}
	}
	clear(w.queue[:i])
	w.queue = w.queue[i:]
	if len(w.queue) == 0 {
		w.queue = nil
	}
	return batch
}

// run handles batches until ctx ends; the one under way then is finished for as
// long as settle lasts.
func (w *worker) run(ctx, settle context.Context) {
	for {
		batch := w.take(w.size)
		if ctx.Err() != nil {
			return
		}
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-w.arrived:
			}
			continue
		}
		began := time.Now()
		w.handle(ctx, settle, batch)
		w.resize(len(batch), time.Since(began))
	}
}

// resize keeps a transaction's time near Options.BatchTime. Where handlers lock what
// others lock too, the more rows a transaction holds the likelier it loses to another
// one, and a deadlock may take a second to be found: a batch that has lost is halved,
// and from that size on grows by one message at a time.
func (w *worker) resize(n int, took time.Duration) {
	limit := w.r.in.o.BatchTime
	switch {
	case w.beaten:
		w.wary = max(1, n/2)
		w.size = w.wary
	case took > limit:
		w.size = max(1, min(w.size, int(float64(n)*float64(limit)/float64(took))))
	case n < w.size: // tells nothing of larger ones
	case w.size < w.wary:
		w.size = min(2*w.size, w.wary)
	default:
		w.size = min(w.size+1, w.r.o.Batch)
		w.wary = max(w.wary, w.size)
	}
	w.beaten = false
}

// handle does a batch in one transaction. Where a handler or the commit fails, it
// does it again with one message to a transaction, so that a poison message fails
// alone.
func (w *worker) handle(ctx, settle context.Context, batch []*item) {
	done := newOutcomes(w.r)
	defer done.settle(settle)
	sound := batch[:0]
	for _, x := range batch {
		if x.problem != nil {
			done.reject(settle, x, x.problem)
		} else {
			sound = append(sound, x)
		}
	}
	if mutant.AckBeforeCommit || mutant.ReceiptBeforeCommit {
		done.plant(settle, sound)
	}
	if len(sound) > 1 && !errors.Is(w.attempt(ctx, settle, sound, done), errAlone) {
		return
	}
	for _, x := range sound {
		if ctx.Err() != nil {
			return
		}
		if !x.noted && !x.isGone() {
			_ = w.attempt(ctx, settle, []*item{x}, done) // without an outcome it comes again
			done.settle(settle)                          // the others may take long
		}
	}
}

var (
	// errAlone asks for the batch to be done one message at a time.
	errAlone = errors.New("one at a time")
	// errNoOutcome says that the inbox stops, or the connection went, before there was
	// one: the messages come again.
	errNoOutcome = errors.New("no outcome")
)

// attempt runs a transaction, again for as long as the database is what fails, and
// notes the outcomes. It returns errAlone where a batch of several has failed
// otherwise, and another error where the inbox stops before there is an outcome.
func (w *worker) attempt(ctx, settle context.Context, batch []*item, done *outcomes) error {
	wait := backoff.Backoff{Least: 20 * time.Millisecond, Most: 10 * time.Second}
	for tries := 1; ; tries++ {
		err := w.r.apply(settle, batch, done)
		if err == nil {
			return nil
		}
		if settle.Err() != nil {
			return settle.Err()
		}
		var failure *handlerError
		blamed := errors.As(err, &failure)
		switch condition := w.r.in.condition(settle, err); {
		case condition == store.Conflict && tries <= maxConflicts:
			// By another transaction: once more. Where one writes at a time it has only
			// waited too long for its turn, which a smaller batch would not have had sooner.
			w.beaten = !w.r.in.ledger.Capabilities().SingleWriter
		case len(batch) > 1 && (condition == store.Other || condition == store.Conflict):
			return errAlone
		case blamed && condition != store.Unavailable && condition != store.NoTable:
			done.failed(settle, failure.x, failure.err)
			return nil
		case condition == store.Other && tries > maxConflicts:
			// The database is well, and the commit fails each time: because of what the
			// handler wrote, such as a deferred constraint.
			done.failed(settle, batch[0], err)
			return nil
		default:
			// Nothing is wrong with the messages: they wait for the database.
			w.r.in.counters.troubles.Add(1)
			w.r.in.log.ErrorContext(settle, "database trouble; trying again", slog.String("destination", w.r.destination), slog.Any("error", err))
		}
		wait.Sleep(ctx)
		if ctx.Err() != nil || batch[0].isGone() {
			return errNoOutcome
		}
	}
}

// maxConflicts is how often a transaction that lost to another is run again as it is.
const maxConflicts = 3

// condition tells trouble with the database from a handler's failure. Where the
// error does not say, the database is asked; and a handler's error that looks like
// a broken connection may speak of some other service's.
func (in *Inbox) condition(ctx context.Context, err error) store.Condition {
	var failure *handlerError
	blamed := errors.As(err, &failure)
	if blamed && failure.timedOut {
		return store.Other // a cancelled statement looks like a broken connection, too
	}
	c := in.ledger.Condition(err)
	if c == store.Conflict || c != store.Other && !blamed {
		return c
	}
	asking, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	crash.Point("inbox.ping.before")
	err = in.ledger.Ping(asking)
	crash.Point("inbox.ping.after")
	if err != nil {
		return store.Unavailable
	}
	return store.Other
}

// outcomes collects what became of messages, to acknowledge and receipt them
// together.
type outcomes struct {
	r        *route
	acks     map[broker.Receiver][]broker.Delivery
	receipts map[string][]waybill.Receipt
}

func newOutcomes(r *route) *outcomes {
	return &outcomes{r: r, acks: map[broker.Receiver][]broker.Delivery{}, receipts: map[string][]waybill.Receipt{}}
}

// note acknowledges a message and answers its producer.
func (o *outcomes) note(x *item, outcome waybill.Outcome, after time.Duration, reason string) {
	x.noted = true
	o.acks[x.receiver] = append(o.acks[x.receiver], x.delivery)
	if x.ReceiptTo != "" {
		o.receipts[x.ReceiptTo] = append(o.receipts[x.ReceiptTo], waybill.Receipt{ID: x.Message.ID, Outcome: outcome, After: after, Error: reason})
	}
}

// settle acknowledges, and only then answers.
func (o *outcomes) settle(ctx context.Context) {
	for receiver, deliveries := range o.acks {
		o.r.in.settle(ctx, receiver, deliveries, broker.Ack)
	}
	for to, receipts := range o.receipts {
		o.r.in.out.add(to, receipts)
	}
	clear(o.acks)
	clear(o.receipts)
}

// plant says of messages that have not been handled what is to be said once they are:
// see internal/fault/mutant.
func (o *outcomes) plant(ctx context.Context, batch []*item) {
	for _, x := range batch {
		switch {
		case mutant.AckBeforeCommit:
			o.r.in.settle(ctx, x.receiver, []broker.Delivery{x.delivery}, broker.Ack)
		case x.ReceiptTo != "":
			o.r.in.out.add(x.ReceiptTo, []waybill.Receipt{{ID: x.Message.ID, Outcome: waybill.Done}})
		}
	}
}

func (in *Inbox) settle(ctx context.Context, receiver broker.Receiver, deliveries []broker.Delivery, d broker.Disposition) {
	crash.Point("inbox.settle.before")
	err := receiver.Settle(ctx, deliveries, d)
	crash.Point("inbox.settle.after")
	if err != nil && !errors.Is(err, broker.ErrClosed) {
		in.log.DebugContext(ctx, "messages not settled; the broker delivers them again", slog.Any("error", err))
	}
}

// failed decides what a handler's failure means.
func (o *outcomes) failed(ctx context.Context, x *item, err error) {
	in := o.r.in
	var permanent *waybill.PermanentError
	if errors.As(err, &permanent) {
		o.reject(ctx, x, err)
		return
	}
	tries := x.Message.Failures + 1
	if x.ReceiptTo == "" {
		tries = o.r.countForeign(x.Message.ID)
	}
	var later *waybill.RetryError
	asked := errors.As(err, &later)
	if !asked && tries >= o.r.o.MaxTries {
		o.reject(ctx, x, &gaveUpError{tries, err})
		return
	}
	in.counters.retried.Add(1)
	in.log.WarnContext(ctx, "handler failed; the message comes again", slog.String("destination", o.r.destination),
		slog.String("id", x.Message.ID.String()), slog.Int("tries", tries), slog.Any("error", err))
	if x.ReceiptTo == "" {
		o.requeue(ctx, x, tries)
		return
	}
	var after time.Duration
	if asked {
		after = max(later.After, time.Millisecond)
	}
	o.note(x, waybill.Retry, after, err.Error())
}

// reject gives a message up: its producer keeps it for a person. A message of a
// foreign producer goes where the broker keeps such messages.
func (o *outcomes) reject(ctx context.Context, x *item, reason error) {
	in := o.r.in
	in.counters.rejected.Add(1)
	in.log.ErrorContext(ctx, "message rejected", slog.String("destination", o.r.destination),
		slog.String("id", x.Message.ID.String()), slog.String("producer", x.Message.Producer), slog.Any("reason", reason))
	if x.ReceiptTo != "" && !x.Message.ID.IsZero() {
		o.note(x, waybill.Rejected, 0, reason.Error())
		return
	}
	x.noted = true
	o.r.forgetForeign(x.Message.ID)
	if in.broker.Capabilities().DeadLetter {
		crash.Point("inbox.deadletter.before")
		in.settle(ctx, x.receiver, []broker.Delivery{x.delivery}, broker.DeadLetter)
		crash.Point("inbox.deadletter.after")
		return
	}
	o.acks[x.receiver] = append(o.acks[x.receiver], x.delivery)
}
