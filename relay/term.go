package relay

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
)

// term is what a relay knows while it leads. All of it may be forgotten at any
// time: the table has what matters.
//
// Lock order: term.mu is the only lock, but for link.mu, which is never held while
// term.mu is taken.
type term struct {
	r            *Relay
	log          *slog.Logger
	link         *link
	start        func(*lane) // starts a lane's goroutine
	work         chan struct{}
	slowReceipts chan consumerReceipt // receipts that cost a statement each; see settleSlowReceipts
	floor        atomic.Pointer[string]

	// The pump's own, touched by its goroutine alone.
	pump pump

	mu        sync.Mutex
	clock     pausableClock
	lanes     map[laneKey]*lane
	order     []*lane // the lanes in the order in which they were made
	inflights map[waybill.ID]*inflight
	cursor    int64 // rows up to here have been read
	// overtaken holds the messages in no window that receipts have settled while the
	// first sweep was reading them; nil after it. See pump.adopt.
	overtaken map[waybill.ID]bool
}

type laneKey struct {
	destination string
	topic       bool
}

// newTerm begins a term at the last holder's cursor; clock is the database's now.
func newTerm(r *Relay, cursor, clock int64) *term {
	t := &term{
		r:            r,
		log:          r.log,
		work:         make(chan struct{}, 1),
		slowReceipts: make(chan consumerReceipt, maxSlowReceipts),
		lanes:        map[laneKey]*lane{},
		inflights:    map[waybill.ID]*inflight{},
		cursor:       cursor,
	}
	if cursor > 0 {
		t.overtaken = map[waybill.ID]bool{}
	}
	t.pump = newPump(t, clock)
	t.link = &link{t: t, up: make(chan struct{})}
	return t
}

// run leads until ctx ends. What is then under way is finished for as long as
// Options.Drain, and until settle ends.
func (t *term) run(ctx, settle context.Context) error {
	settle, cancel := context.WithCancel(settle)
	defer cancel()
	var lanes, links sync.WaitGroup
	lead, stop := context.WithCancel(ctx)
	defer stop()
	t.start = func(l *lane) { lanes.Go(func() { l.run(lead, settle) }) }
	for range slowReceiptWorkers {
		lanes.Go(func() { t.settleSlowReceipts(lead, settle) })
	}
	var refused error
	links.Go(func() {
		defer stop()
		refused = t.link.run(lead, settle)
	})

	t.pump.run(lead)

	bound := time.AfterFunc(t.r.o.Drain, cancel)
	defer bound.Stop()
	stop()
	if ctx.Err() == nil {
		cancel() // the broker refused us: nothing can be finished
	}
	lanes.Wait()
	cancel()
	links.Wait()
	return refused
}

// wake tells the pump to look again. The caller may hold mu.
func (t *term) wake() {
	select {
	case t.work <- struct{}{}:
	default:
	}
}

// laneOf returns the destination's lane, making it where it is new. mu is held.
func (t *term) laneOf(destination string, topic bool) *lane {
	key := laneKey{destination, topic}
	l := t.lanes[key]
	if l == nil {
		o, known := t.r.o.Destinations[destination]
		if !known {
			o = t.r.o.Default
		}
		l = &lane{
			t: t, destination: destination, topic: topic, o: o,
			window:      map[waybill.ID]*inflight{},
			publish:     make(chan struct{}, 1),
			retired:     make(chan struct{}),
			backlogFrom: noBacklog,
		}
		if o.Confirm == waybill.Consumed {
			l.receiptTo = waybill.ReceiptQueue(t.r.o.Producer)
		}
		l.resending = newResending(&t.r.o, l.windowSize())
		t.lanes[key] = l
		t.order = append(t.order, l)
		t.start(l)
	}
	return l
}

// idleLane is how long a lane stays that has nothing to do.
const idleLane = 10 * time.Minute

// retire ends the lanes that have been idle for long: names of destinations may be
// made up for single messages, as those of reply queues are.
func (t *term) retire(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.order = slices.DeleteFunc(t.order, func(l *lane) bool {
		if len(l.window) > 0 || len(l.queue) > 0 || l.hasBacklog() || now.Sub(l.progressed) < idleLane {
			return false
		}
		delete(t.lanes, laneKey{l.destination, l.topic})
		close(l.retired)
		return true
	})
}

// safeCursor is the cursor for a successor: rows up to it were sent, or wait
// behind a full window.
func (t *term) safeCursor() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	cursor := t.cursor
	for _, l := range t.lanes {
		for _, x := range l.queue {
			if x.f.copies == 0 && x.f.row > 0 {
				cursor = min(cursor, x.f.row-1)
			}
		}
	}
	return max(cursor, 0)
}

// Where a row is read from decides how it is admitted.
type source int

const (
	readAhead   source = iota // forward of the cursor, or in a gap
	readDue                   // its not_before has come
	readBacklog               // it waited for room in its window
	readMissed                // the sweep found it
)

// admit takes a row that was read into its destination's window and publishing
// queue, unless it is there already, is not to be sent now, or finds no room: then
// it stays in the table for scanBacklog.
func (t *term) admit(ctx context.Context, r *store.Row, from source) {
	switch {
	case r.Status != store.Pending,
		from == readAhead && r.NotBefore > t.pump.dueTime, // scanDue's
		from == readMissed && r.NotBefore > t.pump.databaseNow():
		return
	}
	t.mu.Lock()
	if t.inflights[r.MessageID] != nil {
		t.mu.Unlock()
		return
	}
	l := t.laneOf(r.Destination, r.Topic)
	if l.hasBacklog() && r.ID > l.backlogFrom && from != readBacklog {
		t.mu.Unlock()
		return
	}
	if l.room() <= 0 || l.queueFull() {
		l.leaveInTable(r.ID)
		t.mu.Unlock()
		return
	}
	m, err := t.encode(r, l)
	if err != nil {
		t.mu.Unlock()
		t.reject(ctx, r.MessageID, "cannot be sent: "+err.Error())
		return
	}
	f := l.track(r)
	l.enqueue(f, m)
	t.mu.Unlock()
}

// encode makes the message of a row's next copy. mu is held.
func (t *term) encode(r *store.Row, l *lane) (broker.Message, error) {
	o := wire.Origin{Producer: t.r.o.Producer, ReceiptTo: l.receiptTo}
	if floor := t.floor.Load(); floor != nil {
		o.Floor = *floor
	}
	return wire.Encode(r, r.Retry, o)
}

// remove deletes confirmed rows and then takes them out of their windows. A
// database that is away is waited for.
func (t *term) remove(ctx context.Context, ids []waybill.ID) {
	t.retryUntilDone(ctx, "delete confirmed messages", func() error {
		crash.Point("relay.delete.before")
		n, err := t.r.queue.Delete(ctx, ids)
		crash.Point("relay.delete.after")
		t.r.counters.confirmed.Add(n)
		return err
	})
	t.forget(ids...)
}

// reject keeps a row for a person and takes it out of its window.
func (t *term) reject(ctx context.Context, id waybill.ID, reason string) {
	t.retryUntilDone(ctx, "reject a message", func() error {
		crash.Point("relay.reject.before")
		found, err := t.r.queue.Reject(ctx, id, reason)
		crash.Point("relay.reject.after")
		if found {
			t.r.counters.rejected.Add(1)
			t.log.WarnContext(ctx, "message rejected; see 'waybill list --rejected'", slog.String("id", id.String()), slog.String("reason", reason))
		}
		return err
	})
	t.forget(id)
}

// postpone schedules a row's next copy and takes it out of its window.
func (t *term) postpone(ctx context.Context, id waybill.ID, delay time.Duration, failures int, reason string) {
	t.retryUntilDone(ctx, "postpone a message", func() error {
		crash.Point("relay.postpone.before")
		_, err := t.r.queue.Postpone(ctx, id, delay, failures, reason)
		crash.Point("relay.postpone.after")
		return err
	})
	t.forget(id)
}

// forget takes messages out of their windows.
func (t *term) forget(ids ...waybill.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		if f := t.inflights[id]; f != nil {
			f.lane.drop(f)
		}
	}
	t.wake()
}

// retryUntilDone runs a statement until it succeeds or ctx ends.
func (t *term) retryUntilDone(ctx context.Context, doing string, run func() error) {
	wait := backoff.Backoff{Least: 50 * time.Millisecond, Most: 5 * time.Second}
	for ctx.Err() == nil {
		err := run()
		if err == nil || ctx.Err() != nil {
			return
		}
		t.log.ErrorContext(ctx, "database trouble; trying again", slog.String("doing", doing), slog.Any("error", err))
		wait.Sleep(ctx)
	}
}

// sortedLanes returns the lanes in a fixed order. mu is held.
func (t *term) sortedLanes() []*lane {
	all := make([]*lane, 0, len(t.lanes))
	for _, l := range t.lanes {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b *lane) int {
		if a.destination != b.destination {
			if a.destination < b.destination {
				return -1
			}
			return 1
		}
		if a.topic == b.topic {
			return 0
		}
		if b.topic {
			return -1
		}
		return 1
	})
	return all
}
