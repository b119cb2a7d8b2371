package inbox

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/mutant"
)

// worker handles its share of a route's messages, a batch at a time.
type worker struct {
	r *route

	mu      sync.Mutex
	queue   []*item // bounded by the subscription's prefetch
	waiting bool    // run waits for a message
	back    []*item // put back because the route was paused
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
	w.wake()
}

// putBack gives back what was taken and is not to be begun now.
func (w *worker) putBack(batch []*item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.back = slices.DeleteFunc(append(w.back, batch...), (*item).isGone)
}

// wake has run look again.
func (w *worker) wake() {
	select {
	case w.arrived <- struct{}{}:
	default:
	}
}

// take removes what has arrived, at most n, and leaves out what came through a
// subscription that has ended: the broker delivers that again. It takes nothing while the
// route is paused.
func (w *worker) take(n int) []*item {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.r.isPaused() {
		return nil
	}
	if len(w.back) > 0 {
		w.queue, w.back = append(w.back, w.queue...), nil
	}
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
			w.wait(ctx)
			continue
		}
		began := time.Now()
		w.handle(ctx, settle, batch)
		took := time.Since(began)
		w.resize(len(batch), took)
		w.r.noteHandled(len(batch), took)
	}
}

// wait waits until a message has arrived, or ctx ends.
func (w *worker) wait(ctx context.Context) {
	set := func(waiting bool) {
		w.mu.Lock()
		w.waiting = waiting
		w.mu.Unlock()
	}
	set(true)
	defer set(false)
	w.r.stretch()
	select {
	case <-ctx.Done():
	case <-w.arrived:
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

// handle does a batch in one transaction. A message whose handler fails leaves it, and
// the others are done again together. Where that is not enough to tell whose failure it
// is, it is done in parts, each of which may have to be done in parts in its turn.
func (w *worker) handle(ctx, settle context.Context, batch []*item) {
	done := newOutcomes(w.r)
	defer done.settle(settle)
	sound := batch[:0]
	for _, x := range batch {
		switch {
		case x.problem == nil:
			sound = append(sound, x)
		case w.r.isPaused(): // a breaker may have tripped meanwhile
			w.putBack([]*item{x})
		default:
			done.reject(settle, x, x.problem)
		}
	}
	if mutant.AckBeforeCommit || mutant.ReceiptBeforeCommit {
		done.plant(settle, sound)
	}
	batch = sound
	sound = batch[:0:0]
	for _, x := range batch { // a kept message is handled alone, with its row
		if x.kept == nil {
			sound = append(sound, x)
		} else {
			_ = w.attempt(ctx, settle, []*item{x}, done) // without an outcome it is found again
		}
	}
	parts := w.r.parts(sound)
	for i := 0; i < len(parts) && (i == 0 || ctx.Err() == nil); i++ {
		part := slices.DeleteFunc(slices.Clone(parts[i]), func(x *item) bool { return x.noted || x.isGone() })
		if err := w.attempt(ctx, settle, part, done); errors.Is(err, errSplit) { // without an outcome they come again
			parts = append(parts, w.r.split(part)...)
		}
		done.settle(settle) // the others may take long
	}
}

var (
	// errSplit asks for the batch to be done in parts.
	errSplit = errors.New("in parts")
	// errNoOutcome says that the inbox stopped, the subscription ended or the route was paused
	// before there was one: the messages come again.
	errNoOutcome = errors.New("no outcome")
)

// attempt runs a transaction, again for as long as the database is what fails, and
// notes the outcomes. It returns errSplit where a batch of several is to be done in parts,
// and another error where there is no outcome.
func (w *worker) attempt(ctx, settle context.Context, batch []*item, done *outcomes) error {
	wait := backoff.Backoff{Least: 20 * time.Millisecond, Most: 10 * time.Second}
	var seen trouble
	for {
		for _, x := range w.r.stuckAmong(batch) {
			if !x.noted {
				done.defers(settle, x)
			}
		}
		batch = slices.DeleteFunc(slices.Clone(batch), func(x *item) bool { return x.noted })
		if len(batch) == 0 {
			return nil
		}
		if w.r.isPaused() {
			w.putBack(batch)
			return errNoOutcome
		}
		failed := w.r.apply(settle, batch, done)
		if failed == nil {
			return nil
		}
		if settle.Err() != nil {
			return settle.Err()
		}
		switch w.remedy(settle, failed, &seen, len(batch) > 1) {
		case splitBatch:
			return errSplit
		case failMessage:
			if failed.stage != inHandler { // a commit's, of one message
				failed.blames = []blame{{batch[0], failed.err}}
			}
			for _, b := range failed.blames {
				done.failed(settle, b.x, b.err)
			}
			continue // with the others
		case postpone:
			done.postpone(settle, batch[0], failed)
			return nil
		case runAgain:
		}
		wait.Sleep(ctx)
		if ctx.Err() != nil || batch[0].isGone() {
			return errNoOutcome
		}
	}
}
