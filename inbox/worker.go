package inbox

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

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
	size         int  // of the next batch
	threshold    int  // the size from which on it grows by one at a time; see resize
	lostConflict bool // the batch in hand has lost to another transaction
}

func newWorker(r *route) *worker {
	return &worker{r: r, arrived: make(chan struct{}, 1), size: r.o.Batch, threshold: r.o.Batch}
}

// put gives the worker a message.
func (w *worker) put(x *item) {
	w.mu.Lock()
	w.queue = append(w.queue, x)
	w.mu.Unlock()
	select {
	case w.arrived <- struct{}{}:
	default:
	}
}

// take removes what has arrived, at most n, and leaves out what came through a
// subscription that has ended: the broker delivers that again.
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

// run handles batches until ctx ends; the one in hand then is finished, for as long as
// settle lasts.
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
	case w.lostConflict:
		w.threshold = max(1, n/2)
		w.size = w.threshold
	case took > limit:
		w.size = max(1, min(w.size, int(float64(n)*float64(limit)/float64(took))))
	case n < w.size: // tells nothing of larger ones
	case w.size < w.threshold:
		w.size = min(2*w.size, w.threshold)
	default:
		w.size = min(w.size+1, w.r.o.Batch)
		w.threshold = max(w.threshold, w.size)
	}
	w.lostConflict = false
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
	// errNoOutcome says that the inbox stopped, or the subscription ended, before there
	// was one: the messages come again.
	errNoOutcome = errors.New("no outcome")
)

// attempt runs a transaction, again for as long as the database is what fails, and
// notes the outcomes. It returns errAlone where a batch of several has failed
// otherwise, and another error where there is no outcome.
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
		switch w.remedy(settle, err, tries, len(batch) > 1) {
		case splitBatch:
			return errAlone
		case failMessage:
			x, reason := blame(err, batch)
			done.failed(settle, x, reason)
			return nil
		case runAgain:
		}
		wait.Sleep(ctx)
		if ctx.Err() != nil || batch[0].isGone() {
			return errNoOutcome
		}
	}
}

// remedy is what is to be done about a transaction that has failed.
type remedy int

const (
	runAgain    remedy = iota // as it is: the messages may be well
	splitBatch                // with one message to a transaction
	failMessage               // not at all: it is one message's failure
)

// maxConflicts is how often a transaction that lost to another is run again as it is.
const maxConflicts = 3

// remedy chooses what is to be done about a transaction that has failed, so many times
// by now, with several messages or with one.
func (w *worker) remedy(ctx context.Context, err error, tries int, several bool) remedy {
	var failure *handlerError
	switch condition := w.r.in.condition(ctx, err); {
	case condition == store.Conflict && tries <= maxConflicts:
		// Where one transaction writes at a time, this one has only waited too long for its
		// turn, which a smaller batch would not have had sooner.
		w.lostConflict = !w.r.in.ledger.Capabilities().SingleWriter
		return runAgain
	case several && (condition == store.Other || condition == store.Conflict):
		return splitBatch
	case errors.As(err, &failure) && condition != store.Unavailable:
		return failMessage
	case condition == store.Other && tries > maxConflicts:
		// The database answers, and the transaction fails again and again: most likely
		// because of what the handler wrote, such as a deferred constraint.
		return failMessage
	}
	// As far as one can tell nothing is wrong with the messages: they wait for the database.
	w.r.in.counters.troubles.Add(1)
	w.r.in.log.ErrorContext(ctx, "database trouble; trying again", slog.String("destination", w.r.destination), slog.Any("error", err))
	return runAgain
}

// blame returns the message whose failure err is, and the failure. An error that names
// none comes from a transaction of one message.
func blame(err error, batch []*item) (x *item, reason error) {
	var failure *handlerError
	if errors.As(err, &failure) {
		return failure.x, failure.err
	}
	return batch[0], err
}

// condition tells trouble with the database from a handler's failure. Where the error
// does not say, the database is asked. It is asked about a handler's error that looks
// like a broken connection, too: the handler may speak of some other service's.
func (in *Inbox) condition(ctx context.Context, err error) store.Condition {
	var failure *handlerError
	fromHandler := errors.As(err, &failure)
	if fromHandler && failure.timedOut {
		return store.Other // a cancelled statement looks like a broken connection, too
	}
	c := in.ledger.Condition(err)
	if c == store.Conflict || c != store.Other && !fromHandler {
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
