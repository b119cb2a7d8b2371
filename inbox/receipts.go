package inbox

import (
	"context"
	"log/slog"
	"sync"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/publish"
	"github.com/waybill-go/waybill/internal/wire"
)

// receipts sends receipts. Those that arrive while others are being published leave
// together. They are kept, within bounds, while the broker is away; for those that are
// lost all the same, the relay's next copies bring new ones.
type receipts struct {
	in *Inbox

	mu       sync.Mutex
	waiting  map[string][]waybill.Receipt // by queue
	reported map[string]string            // by queue: the reason in the log why it takes none
	count    int                          // of the receipts in waiting
	sending  bool
	idle     chan struct{} // closed while nothing waits or is being sent
	arrived  chan struct{}
}

const (
	maxWaiting  = 100_000 // receipts that are kept while the broker is away
	maxReported = 1000    // queues whose reason is remembered
)

func newReceipts(in *Inbox) *receipts {
	idle := make(chan struct{})
	close(idle)
	return &receipts{in: in, waiting: map[string][]waybill.Receipt{}, reported: map[string]string{}, idle: idle, arrived: make(chan struct{}, 1)}
}

// add takes receipts to send.
func (r *receipts) add(queue string, all []waybill.Receipt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count+len(all) > maxWaiting {
		r.in.counters.receiptsLost.Add(int64(len(all)))
		return
	}
	if r.count == 0 && !r.sending {
		r.idle = make(chan struct{})
	}
	r.waiting[queue] = append(r.waiting[queue], all...)
	r.count += len(all)
	r.wake()
}

// wake has send look for receipts.
func (r *receipts) wake() {
	select {
	case r.arrived <- struct{}{}:
	default:
	}
}

// send publishes what arrives through conn until ctx ends or conn does.
func (r *receipts) send(ctx context.Context, conn broker.Conn) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-conn.Done():
			return
		case <-r.arrived:
		}
		if !r.flush(ctx, conn) {
			return
		}
	}
}

// flush publishes what waits, and reports whether the connection is still of use.
func (r *receipts) flush(ctx context.Context, conn broker.Conn) bool {
	messages, carried := r.take()
	if len(messages) == 0 {
		return true
	}
	crash.Point("inbox.receipt.before")
	results, _, err := publish.Batch(ctx, conn, messages, r.in.o.Receipts)
	crash.Point("inbox.receipt.after")

	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range messages {
		r.published(ctx, messages[i].Destination, carried[i], results[i], err)
	}
	r.sending = false
	if r.count == 0 {
		close(r.idle)
	} else if err == nil {
		r.wake()
	}
	return err == nil
}

// take returns all that waits as messages, and the receipts that each carries.
func (r *receipts) take() (messages []broker.Message, carried [][]waybill.Receipt) {
	r.mu.Lock()
	waiting := r.waiting
	r.waiting, r.count = map[string][]waybill.Receipt{}, 0
	r.sending = len(waiting) > 0
	r.mu.Unlock()
	for queue, all := range waiting {
		for len(all) > 0 {
			n := min(len(all), wire.MaxReceipts)
			messages = append(messages, wire.EncodeReceipts(queue, r.in.o.Consumer, all[:n:n]))
			carried = append(carried, all[:n:n])
			all = all[n:]
		}
	}
	return messages, carried
}

// published deals with the fate of one message of receipts. broken is why its connection
// has failed, which others report. r.mu is held.
func (r *receipts) published(ctx context.Context, queue string, carried []waybill.Receipt, result broker.Result, broken error) {
	switch {
	case result.Fate == broker.Confirmed:
		r.in.counters.receipts.Add(int64(len(carried)))
		delete(r.reported, queue)
	case result.Fate == broker.Unknown && r.count+len(carried) <= maxWaiting:
		r.waiting[queue] = append(carried, r.waiting[queue]...)
		r.count += len(carried)
		if broken != nil || ctx.Err() != nil {
			return
		}
		if reason, isNew := r.report(queue, result.Err); isNew {
			r.in.log.WarnContext(ctx, "receipts not taken by the broker; they are sent again",
				slog.String("queue", queue), slog.String("error", reason))
		}
	default:
		// The queue is gone or full, or there is no room to keep them.
		r.in.counters.receiptsLost.Add(int64(len(carried)))
		if reason, isNew := r.report(queue, result.Err); isNew {
			r.in.log.WarnContext(ctx, "receipts not taken by the broker; the messages' next copies bring new ones",
				slog.String("queue", queue), slog.String("error", reason))
		}
	}
}

// report returns why a queue takes no receipts, and whether the log does not say so yet.
// r.mu is held.
func (r *receipts) report(queue string, err error) (reason string, isNew bool) {
	reason = "no reason given"
	if err != nil {
		reason = err.Error()
	}
	if r.reported[queue] == reason {
		return reason, false
	}
	if len(r.reported) >= maxReported {
		clear(r.reported) // messages name the queues, and could name any number
	}
	r.reported[queue] = reason
	return reason, true
}

// drain waits until everything is sent or ctx ends. Without a connection there is
// nothing to wait for.
func (r *receipts) drain(ctx context.Context) {
	r.mu.Lock()
	idle := r.idle
	r.mu.Unlock()
	if !r.in.connected.Load() {
		return
	}
	select {
	case <-ctx.Done():
	case <-idle:
	}
}
