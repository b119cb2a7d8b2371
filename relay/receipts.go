package relay

import (
	"context"
	"log/slog"
	"slices"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/internal/wire"
)

// receive handles receipts until ctx or the receiver ends; what was received is
// handled for as long as settle lasts.
func (t *term) receive(ctx, settle context.Context, receiver broker.Receiver) error {
	for {
		crash.Point("relay.receive.before")
		deliveries, err := receiver.Receive(ctx, receiptPrefetch)
		crash.Point("relay.receive.after")
		if err != nil {
			return err
		}
		t.link.noteAnswer()
		t.handle(settle, deliveries)
		if settle.Err() != nil {
			return settle.Err()
		}
		// Only now, when the rows of what is done are deleted: a receipt that is lost comes
		// again with the next copy, but that takes its time. Slow receipts are acknowledged
		// before they are written: they wait in a channel. If the process dies their rows
		// are as they were, and the next copies bring new ones.
		crash.Point("relay.ack.before")
		err = receiver.Settle(settle, deliveries, broker.Ack)
		crash.Point("relay.ack.after")
		if err != nil {
			return err
		}
	}
}

// consumerReceipt is one consumer's receipt.
type consumerReceipt struct {
	waybill.Receipt
	consumer string
}

// handle does what some receipt messages ask for, but for the slow receipts, which it
// passes on. Nothing in them can stop it.
func (t *term) handle(ctx context.Context, deliveries []broker.Delivery) {
	done, slow := t.classify(ctx, t.decode(ctx, deliveries))
	if len(done) > 0 {
		t.remove(ctx, done)
	}
	for _, c := range slow {
		select {
		case t.slowReceipts <- c:
		case <-ctx.Done():
			return
		}
	}
}

// decode returns the receipts in some receipt messages.
func (t *term) decode(ctx context.Context, deliveries []broker.Delivery) (receipts []consumerReceipt) {
	for i := range deliveries {
		if t.isNoReceipt(ctx, &deliveries[i].Message) {
			continue
		}
		consumer, some, bad, reason := wire.DecodeReceipts(&deliveries[i].Message)
		if bad > 0 {
			t.r.counters.malformed.Add(int64(bad))
			t.log.WarnContext(ctx, "malformed receipt dropped", slog.Int("count", bad), slog.Any("reason", reason))
		}
		for _, r := range some {
			receipts = append(receipts, consumerReceipt{r, consumer})
		}
	}
	t.r.counters.receipts.Add(int64(len(receipts)))
	return receipts
}

const (
	maxSlowReceipts    = 10_000 // that wait; then receiving waits for them
	slowReceiptWorkers = 4
)

// settleSlowReceipts does what receipts ask for that cost a statement each, beside the
// receiving of others: a consumer that fails with everything must not hold up the
// receipts of all the others. It ends with lead, after it has written what waits
// then, or with settle.
func (t *term) settleSlowReceipts(lead, settle context.Context) {
	for settle.Err() == nil {
		select {
		case c := <-t.slowReceipts:
			t.settleOne(settle, c)
			continue
		default:
		}
		select {
		case c := <-t.slowReceipts:
			t.settleOne(settle, c)
		case <-lead.Done():
			return
		}
	}
}

// settleOne rejects or postpones the row that a slow receipt is about.
func (t *term) settleOne(ctx context.Context, c consumerReceipt) {
	if c.Outcome == waybill.Rejected {
		t.reject(ctx, c.ID, c.consumer+": "+orElse(c.Error, "rejected"))
		return
	}
	failures, delay := 0, c.After
	if c.After == 0 {
		failures, delay = 1, backoff.Jittered(backoff.Doubled(t.r.o.MinRetry, t.failuresOf(c.ID), t.r.o.MaxRetry))
	}
	t.r.counters.retries.Add(1)
	t.postpone(ctx, c.ID, delay, failures, c.Tries, c.consumer+": "+orElse(c.Error, "asked for a retry"))
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// classify tells the lanes what was heard, and returns the ids whose rows may go, and
// the slow receipts, which ask for something else. It leaves out receipts that do not
// count, and repeated ones.
func (t *term) classify(ctx context.Context, receipts []consumerReceipt) (done []waybill.ID, slow []consumerReceipt) {
	untracked := t.untrackedReceipts(ctx, receipts)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.now()
	heard := map[*lane][]*inflight{}
	isDone, isRetried := make(map[waybill.ID]bool, len(receipts)), map[waybill.ID]bool{}
	for _, c := range receipts {
		f := t.inflights[c.ID]
		if f != nil && !t.countsTracked(ctx, f, c) || f == nil && !t.countsUntracked(untracked, c) {
			continue
		}
		settled := f != nil && f.state == settling
		switch {
		case c.Outcome == waybill.Rejected:
			slow = append(slow, c)
		case c.Outcome == waybill.Retry && f != nil && c.Tries > 0 && c.Tries <= f.failures:
			continue // of a copy before this one, and counted: it has come a second time
		case c.Outcome == waybill.Retry && !mutant.DeleteOnRetry:
			// Copies that failed together are one failure.
			if !isRetried[c.ID] && !settled {
				isRetried[c.ID] = true
				slow = append(slow, c)
			}
		case !isDone[c.ID]:
			isDone[c.ID] = true
			done = append(done, c.ID)
		}
		if f != nil && !settled {
			heard[f.lane] = append(heard[f.lane], f)
			f.state = settling
		}
	}
	for l, inflights := range heard {
		l.noteReceipts(inflights, now)
	}
	return done, slow
}

// countsTracked reports whether a receipt settles a message that is in the window.
// Where the destination names its consumers, it has to be of one of these, and a
// receipt "done" settles the message when it is the last of theirs. mu is held.
func (t *term) countsTracked(ctx context.Context, f *inflight, c consumerReceipt) bool {
	consumers := f.lane.o.Consumers
	if len(consumers) == 0 {
		return true
	}
	who := slices.Index(consumers, c.consumer)
	if who < 0 {
		t.r.counters.unknown.Add(1)
		t.log.WarnContext(ctx, "receipt from a consumer that the destination does not have; dropped", slog.String("destination", f.lane.destination), slog.String("consumer", c.consumer))
		return false
	}
	if c.Outcome != waybill.Done {
		return true
	}
	f.by |= 1 << who
	return f.by == 1<<len(consumers)-1 || mutant.FirstConsumer
}

// countsUntracked reports whether a receipt settles a message that is in no window.
// While the first sweep fills the windows, it notes that. mu is held.
func (t *term) countsUntracked(untracked map[waybill.ID]bool, c consumerReceipt) bool {
	if !untracked[c.ID] {
		t.r.counters.unknown.Add(1)
		return false
	}
	if t.overtaken != nil {
		t.overtaken[c.ID] = true
	}
	return true
}

// untrackedReceipts says which of the ids that are in no window may be settled all the
// same: rows that an earlier term sent, or that wait for room in their window. Most
// name rows that are gone, as repeated receipts do. Those of destinations whose
// consumers are named are left alone: their next copies bring new receipts.
func (t *term) untrackedReceipts(ctx context.Context, receipts []consumerReceipt) map[waybill.ID]bool {
	var ids []waybill.ID
	t.mu.Lock()
	for _, c := range receipts {
		if t.inflights[c.ID] == nil {
			ids = append(ids, c.ID)
		}
	}
	t.mu.Unlock()
	untracked := make(map[waybill.ID]bool, len(ids))
	if !t.r.o.namesConsumers() {
		for _, id := range ids {
			untracked[id] = true
		}
		return untracked
	}
	for page := range slices.Chunk(ids, t.r.o.Batch) {
		t.retryUntilDone(ctx, "look up receipts", func() error {
			crash.Point("relay.find.before")
			rows, err := t.r.queue.Find(ctx, page)
			crash.Point("relay.find.after")
			if err != nil {
				return err
			}
			for i := range rows {
				if len(t.r.o.destination(rows[i].Destination, rows[i].Topic).Consumers) == 0 {
					untracked[rows[i].MessageID] = true
				}
			}
			return nil
		})
	}
	return untracked
}

// failuresOf is how often a message's handler had failed when its row was read; 0 for
// a message in no window.
func (t *term) failuresOf(id waybill.ID) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.inflights[id]; f != nil {
		return f.failures
	}
	return 0
}
