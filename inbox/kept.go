package inbox

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
)

// What nobody else keeps is kept here, in n_rejected, before it is acknowledged: messages
// that carry no receipt address, or no usable id, and are rejected, or whose next try is far
// off. Those that are to be handled again come from there as if they were delivered, each in
// a transaction that deletes its row.

const (
	// keptPage is how many of these are read at a time; a look takes at most maxKeptLook
	// for each destination.
	keptPage, maxKeptLook = 500, 2000
	// maxHeld is how long after its arrival a message that has failed is held in memory, and
	// at the broker, for its next try. One that comes later is kept.
	maxHeld = time.Minute
	// maxWaitingKept is how many messages of a consumer wait in n_rejected for their next try,
	// about: where all fail, the backlog stays with the broker.
	maxWaitingKept = 1000
	// maxDelay is the longest time that waybill.RetryAfter may ask for.
	maxDelay = 30 * 24 * time.Hour
)

// keeping is a message that is to be kept, or kept again.
type keeping struct {
	x      *item
	row    store.Kept
	delay  time.Duration
	reason error
}

// keep has settle keep a message, and acknowledge it if that has worked.
func (o *outcomes) keep(x *item, status, failures int, delay time.Duration, reason error) {
	x.noted = true
	o.keeps = append(o.keeps, keeping{x: x, row: x.asKept(status, failures, reason), delay: delay, reason: reason})
}

// asKept is the row of a message.
func (x *item) asKept(status, failures int, reason error) store.Kept {
	if x.kept != nil {
		k := *x.kept
		k.Status, k.Failures, k.Reason = status, failures, wire.ErrorText(reason.Error())
		return k
	}
	m := &x.Message
	if x.keptAs.IsZero() {
		x.keptAs = m.ID
	}
	if x.keptAs.IsZero() {
		x.keptAs = waybill.NewID()
	}
	k := store.Kept{
		MessageID: x.keptAs, Destination: m.Destination, Topic: m.Topic, Key: m.Key,
		Delivery: wire.DeliveryName(x.delivery.Identity(), x.keptAs), Headers: wire.EncodeHeaders(&x.delivery.Message), Body: x.delivery.Body,
		Status: status, Failures: failures, Reason: wire.ErrorText(reason.Error()),
	}
	if x.delivery.Problem != nil { // what is there of it is not all, and never is to be handled
		whole := x.delivery.Message
		whole.Headers = append(slices.Clone(whole.Headers), broker.Header{Name: wire.Kind, Value: unreadable + wire.ErrorText(x.delivery.Problem.Error())})
		k.Headers = wire.EncodeHeaders(&whole)
	}
	if k.Key == "" {
		k.Key = x.delivery.Key
	}
	if waybill.CheckKey(k.Key) != nil {
		k.Key = "" // the headers have it
	}
	return k
}

// unreadable begins the header wire.Kind of a kept message that the adapter could not read.
const unreadable = "unreadable: "

// keepAll keeps what was noted for that. What was kept is acknowledged; what was not is held,
// and comes again.
func (o *outcomes) keepAll(ctx context.Context) {
	var fresh []keeping
	for _, k := range o.keeps {
		if k.x.kept == nil {
			fresh = append(fresh, k)
			continue
		}
		crash.Point("inbox.keepagain.before")
		err := o.r.in.ledger.KeepAgain(ctx, &k.row, k.delay)
		crash.Point("inbox.keepagain.after")
		if err != nil {
			o.notKept(ctx, k, err) // the row is as it was, and is found again
		}
		k.x.end()
	}
	o.keeps = nil
	if len(fresh) == 0 {
		return
	}
	err := o.r.in.keepNow(ctx, fresh)
	if err == nil {
		for _, k := range fresh {
			o.isKept(k)
		}
		return
	}
	for _, k := range fresh { // one of them may be what cannot be kept
		if len(fresh) > 1 {
			err = o.r.in.keepNow(ctx, []keeping{k})
		}
		if err == nil {
			o.isKept(k)
			continue
		}
		o.notKept(ctx, k, err)
	}
}

// keepNow writes messages to n_rejected, all or none.
func (in *Inbox) keepNow(ctx context.Context, all []keeping) error {
	if mutant.AckUnkept {
		return nil
	}
	rows, delays := make([]store.Kept, len(all)), make([]time.Duration, len(all))
	for i, k := range all {
		rows[i], delays[i] = k.row, k.delay
	}
	crash.Point("inbox.keep.before")
	err := in.ledger.Keep(ctx, rows, delays)
	crash.Point("inbox.keep.after")
	return err
}

// isKept has a message acknowledged that is kept.
func (o *outcomes) isKept(k keeping) {
	o.r.in.counters.kept.Add(1)
	o.r.forgetForeign(k.x.Message.ID)
	o.acks[k.x.receiver] = append(o.acks[k.x.receiver], k.x.delivery)
}

// notKept has a message come again that could not be kept: it is not acknowledged.
func (o *outcomes) notKept(ctx context.Context, k keeping, err error) {
	in := o.r.in
	if ctx.Err() != nil {
		return // the inbox stops, and the broker delivers it again
	}
	in.counters.troubles.Add(1)
	if times, due := in.repeats.Due("keeping at "+o.r.destination, err.Error()); due {
		in.log.ErrorContext(ctx, "a message that nobody else keeps cannot be kept in n_rejected; it is not acknowledged, and is tried again",
			about(o.r, k.x, times, slog.String("reason", k.reason.Error()), slog.Any("error", err))...)
	}
	if k.x.kept != nil {
		return
	}
	if k.row.Status == store.Rejected {
		k.x.problem = k.reason // its handler need not say so again
	}
	k.x.unkept++
	o.r.hold(k.x, backoff.Jittered(backoff.Doubled(time.Second, k.x.unkept-1, time.Minute)))
}

// later has a message come again, that nobody can be asked for, after a delay at least.
func (o *outcomes) later(ctx context.Context, x *item, failures int, delay time.Duration, reason error) {
	delay = min(delay, maxDelay)
	if x.kept != nil {
		o.keep(x, store.Pending, failures, delay, reason)
		return
	}
	if time.Since(x.arrived)+delay <= maxHeld || o.r.in.tooManyWait(ctx) {
		o.r.hold(x, delay)
		return
	}
	o.keep(x, store.Pending, failures, delay, reason)
}

// tooManyWait says whether no more messages should wait in n_rejected.
func (in *Inbox) tooManyWait(ctx context.Context) bool {
	if in.ledger.Older() {
		return true // there is no such place
	}
	crash.Point("inbox.waiting.before")
	n, err := in.ledger.CountWaiting(ctx, maxWaitingKept)
	crash.Point("inbox.waiting.after")
	return err != nil || n >= maxWaitingKept
}

// handleKept has kept messages handled again when they are due, until ctx ends.
func (in *Inbox) handleKept(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	busy := map[*route]*sync.Mutex{}
	for _, r := range in.routes {
		busy[r] = new(sync.Mutex)
	}
	for ctx.Err() == nil {
		due, err := in.lookForKept(ctx)
		if err != nil && ctx.Err() == nil {
			if times, told := in.repeats.Due("kept messages", err.Error()); told {
				in.log.WarnContext(ctx, "no look for kept messages; trying again", slog.Int64("times", times), slog.Any("error", err))
			}
		}
		for r, ids := range due {
			if !busy[r].TryLock() {
				continue
			}
			in.parts.Go(&work, "the handling of kept messages", func() {
				defer busy[r].Unlock()
				r.handleKept(ctx, ids)
			})
		}
		backoff.Sleep(ctx, in.o.KeptEvery)
	}
}

// lookForKept returns the ids of what is due, in order, by route.
func (in *Inbox) lookForKept(ctx context.Context) (map[*route][]int64, error) {
	if in.ledger.Older() {
		err := in.checkSchema(ctx)
		if err != nil || in.ledger.Older() {
			return nil, err
		}
	}
	found := map[*route][]int64{}
	for after := int64(0); ; {
		crash.Point("inbox.due.before")
		page, err := in.ledger.DueKept(ctx, after, keptPage)
		crash.Point("inbox.due.after")
		if err != nil {
			return found, err
		}
		for _, k := range page {
			after = k.ID
			if r := in.routeOf(k.Destination, k.Topic); r != nil && !r.isPaused() && len(found[r]) < maxKeptLook {
				found[r] = append(found[r], k.ID)
			}
		}
		if len(page) < keptPage {
			return found, nil
		}
	}
}

func (in *Inbox) routeOf(destination string, topic bool) *route {
	for _, r := range in.routes {
		if r.destination == destination && r.o.Topic == topic {
			return r
		}
	}
	return nil
}

// handleKept has kept messages handled, one after the other.
func (r *route) handleKept(ctx context.Context, ids []int64) {
	for _, id := range ids {
		crash.Point("inbox.kept.before")
		k, err := r.in.ledger.KeptRow(ctx, id)
		crash.Point("inbox.kept.after")
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.in.log.DebugContext(ctx, "a kept message cannot be read; trying again", slog.String("destination", r.destination), slog.Any("error", err))
			return
		case k == nil:
			continue // another process has taken it
		}
		x := r.keptItem(k)
		over := x.over
		r.workerOf(&x.Message).put(x)
		select {
		case <-over:
		case <-ctx.Done():
			return
		}
	}
}

// keptItem is a kept message as if it had been delivered. Its id is its row's, and nobody
// is told what becomes of it.
func (r *route) keptItem(k *store.Kept) *item {
	x := &item{sourceOf: r.in.ledger.Source, kept: k, over: make(chan struct{}), arrived: time.Now()}
	m := broker.Message{Destination: k.Destination, Topic: k.Topic, Key: k.Key, Body: k.Body}
	var damaged error
	m.Headers, damaged = wire.DecodeHeaders(k.Headers)
	if x.Arrival, x.problem = wire.Decode(&m); x.Message.ID.IsZero() {
		x.problem = x.Named(k.MessageID)
	}
	x.Message.ID, x.ReceiptTo = k.MessageID, ""
	if damaged != nil {
		x.problem = damaged
	}
	for _, h := range m.Headers {
		if problem, found := strings.CutPrefix(h.Value, unreadable); found && h.Name == wire.Kind {
			x.problem = errors.New(problem)
		}
	}
	x.checkLevel(r.level)
	return x
}

// end tells that a kept message has an outcome.
func (x *item) end() {
	if x.over != nil {
		close(x.over)
		x.over = nil
	}
}

// takeKept deletes the rows of kept messages in the transaction that handles them. Where one
// is not there any more the transaction must come to nothing: another process has handled
// the message, or a person has discarded it.
func (r *route) takeKept(ctx context.Context, tx *store.Transaction, subjects []*item) (there bool, err error) {
	for _, x := range subjects {
		if x.kept == nil {
			continue
		}
		crash.Point("inbox.take.before")
		there, err := r.in.ledger.TakeKept(ctx, tx, x.kept.ID)
		crash.Point("inbox.take.after")
		if err != nil || !there {
			return false, err
		}
	}
	return true, nil
}

// errNoPlace says that there is no broker's place for dead letters.
var errNoPlace = errors.New("DeadLetter: the broker has no place for dead letters that its adapter knows of")
