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
		t.link.answered()
		t.handle(settle, deliveries)
		if settle.Err() != nil {
			return settle.Err()
		}
		// Only now, when the table has the confirmations: receipts that are lost come
		// again with the next copy, but that takes its time.
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

// handle does what some receipt messages ask for. Nothing in them can stop it.
func (t *term) handle(ctx context.Context, deliveries []broker.Delivery) {
	var words []consumerReceipt
	for i := range deliveries {
		consumer, receipts, bad, reason := wire.DecodeReceipts(&deliveries[i].Message)
		if bad > 0 {
			t.r.counters.malformed.Add(int64(bad))
			t.log.WarnContext(ctx, "malformed receipt dropped", slog.Int("count", bad), slog.Any("reason", reason))
		}
		for _, r := range receipts {
			words = append(words, consumerReceipt{r, consumer})
		}
	}
	t.r.counters.receipts.Add(int64(len(words)))
	done, rest := t.classify(ctx, words)
	if len(done) > 0 {
		t.remove(ctx, done)
	}
	for _, w := range rest {
		select {
		case t.slowReceipts <- w:
		case <-ctx.Done():
			return
		}
	}
}

const (
	maxSlowReceipts    = 10_000 // receipts that wait for settleSlowReceipts
	slowReceiptWorkers = 4
)

// settleSlowReceipts does what receipts ask for that cost a statement each, beside the
// receiving of others: a consumer that fails with everything must not hold up the
// confirmations of all the others. When lead ends, what waits is still written.
func (t *term) settleSlowReceipts(lead, settle context.Context) {
	for settle.Err() == nil {
		select {
		case w := <-t.slowReceipts:
			t.settleOne(settle, w)
			continue
		default:
		}
		select {
		case w := <-t.slowReceipts:
			t.settleOne(settle, w)
		case <-lead.Done():
			return
		}
	}
}

func (t *term) settleOne(ctx context.Context, w consumerReceipt) {
	if w.Outcome == waybill.Rejected {
		t.reject(ctx, w.ID, w.consumer+": "+orElse(w.Error, "rejected"))
		return
	}
	failures, delay := 0, w.After
	if w.After == 0 {
		failures, delay = 1, backoff.Jittered(backoff.Doubled(t.r.o.MinRetry, t.failuresOf(w.ID), t.r.o.MaxRetry))
	}
	t.r.counters.retries.Add(1)
	t.postpone(ctx, w.ID, delay, failures, w.consumer+": "+orElse(w.Error, "asked for a retry"))
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// sort tells the lanes what was heard, and returns the ids whose rows may go and
// the receipts that ask for something else. Where several consumers have to
// confirm a message, it returns its id with the last of them.
func (t *term) classify(ctx context.Context, words []consumerReceipt) (done []waybill.ID, rest []consumerReceipt) {
	strange := t.untrackedReceipts(ctx, words)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.now()
	heard := map[*lane][]*inflight{}
	seen, again := make(map[waybill.ID]bool, len(words)), map[waybill.ID]bool{}
	for _, w := range words {
		f := t.inflights[w.ID]
		if f == nil {
			if !strange[w.ID] {
				t.r.counters.unknown.Add(1)
				continue
			}
			if t.overtaken != nil {
				t.overtaken[w.ID] = true
			}
		} else if len(f.lane.o.Consumers) > 0 {
			who := slices.Index(f.lane.o.Consumers, w.consumer)
			if who < 0 {
				t.r.counters.unknown.Add(1)
				t.log.WarnContext(ctx, "receipt from a consumer that the destination does not have; dropped", slog.String("destination", f.lane.destination), slog.String("consumer", w.consumer))
				continue
			}
			if w.Outcome == waybill.Done {
				f.by |= 1 << who
				if f.by != 1<<len(f.lane.o.Consumers)-1 && !mutant.FirstConsumer {
					continue
				}
			}
		}
		switch {
		case w.Outcome == waybill.Rejected:
			rest = append(rest, w)
		case w.Outcome == waybill.Retry && !mutant.DeleteOnRetry:
			// Copies that failed together are one failure.
			if !again[w.ID] && (f == nil || f.state != settling) {
				again[w.ID] = true
				rest = append(rest, w)
			}
		case !seen[w.ID]:
			seen[w.ID] = true
			done = append(done, w.ID)
		}
		if f != nil && f.state != settling {
			heard[f.lane] = append(heard[f.lane], f)
			f.state = settling
		}
	}
	for l, inflights := range heard {
		l.heardOf(inflights, now)
	}
	return done, rest
}

// untrackedReceipts says which of the ids that are in no window may be settled all the
// same: rows that an earlier term sent, or that wait for room in their window. Most
// name rows that are gone, as repeated receipts do. Those of destinations whose
// consumers must all confirm are left alone: their next copies bring new receipts.
func (t *term) untrackedReceipts(ctx context.Context, words []consumerReceipt) map[waybill.ID]bool {
	var ask []waybill.ID
	t.mu.Lock()
	for _, w := range words {
		if t.inflights[w.ID] == nil {
			ask = append(ask, w.ID)
		}
	}
	t.mu.Unlock()
	strange := make(map[waybill.ID]bool, len(ask))
	if !t.r.countsConsumers() {
		for _, id := range ask {
			strange[id] = true
		}
		return strange
	}
	for page := range slices.Chunk(ask, t.r.o.Batch) {
		t.retryUntilDone(ctx, "look up receipts", func() error {
			crash.Point("relay.find.before")
			rows, err := t.r.queue.Find(ctx, page)
			crash.Point("relay.find.after")
			if err != nil {
				return err
			}
			for i := range rows {
				if o, known := t.r.o.Destinations[rows[i].Destination]; known && len(o.Consumers) == 0 || !known && len(t.r.o.Default.Consumers) == 0 {
					strange[rows[i].MessageID] = true
				}
			}
			return nil
		})
	}
	return strange
}

func (t *term) failuresOf(id waybill.ID) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.inflights[id]; f != nil {
		return f.failures
	}
	return 0
}

// wantsReceipts reports whether any destination waits for receipts.
func (r *Relay) wantsReceipts() bool {
	wants := r.o.Default.Confirm == waybill.Consumed
	for _, d := range r.o.Destinations {
		wants = wants || d.Confirm == waybill.Consumed
	}
	return wants
}

// countsConsumers reports whether any destination needs several confirmations.
func (r *Relay) countsConsumers() bool {
	counts := len(r.o.Default.Consumers) > 0
	for _, d := range r.o.Destinations {
		counts = counts || len(d.Consumers) > 0
	}
	return counts
}
