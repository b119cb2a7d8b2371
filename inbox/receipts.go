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

	mu      sync.Mutex
	waiting map[string][]waybill.Receipt // by queue
	bytes   int                          // of queues' names and errors in waiting
	count   int                          // of the receipts in waiting
	sending bool
	idle    chan struct{} // closed while nothing waits or is being sent
	arrived chan struct{}
}

const (
	maxWaiting      = 100_000  // receipts that are kept while the broker is away
	maxWaitingBytes = 32 << 20 // of their errors, and of the names of queues
)

func newReceipts(in *Inbox) *receipts {
	idle := make(chan struct{})
	close(idle)
	return &receipts{in: in, waiting: map[string][]waybill.Receipt{}, idle: idle, arrived: make(chan struct{}, 1)}
}

// add takes receipts to send.
func (r *receipts) add(queue string, all []waybill.Receipt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	bytes := r.bytes + size(queue, all)
	if r.count+len(all) > maxWaiting || bytes > maxWaitingBytes {
		r.in.counters.receiptsLost.Add(int64(len(all)))
		return
	}
	if r.count == 0 && !r.sending {
		r.idle = make(chan struct{})
	}
	r.waiting[queue] = append(r.waiting[queue], all...)
	r.count, r.bytes = r.count+len(all), bytes
	r.wake()
}

// size is how many bytes are kept of receipts, besides their ids.
func size(queue string, all []waybill.Receipt) int {
	bytes := len(queue)
	for i := range all {
		bytes += len(all[i].Error)
	}
	return bytes
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
	r.waiting, r.count, r.bytes = map[string][]waybill.Receipt{}, 0, 0
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
		r.in.repeats.Over("receipts " + queue)
	case result.Fate == broker.Unknown && r.count+len(carried) <= maxWaiting && r.bytes+size(queue, carried) <= maxWaitingBytes:
		r.waiting[queue] = append(carried, r.waiting[queue]...)
		r.count, r.bytes = r.count+len(carried), r.bytes+size(queue, carried)
		if broken != nil || ctx.Err() != nil {
			return
		}
		reason := errorText(result.Err)
		if times, due := r.in.repeats.Due("receipts "+queue, reason); due {
			r.in.log.WarnContext(ctx, "receipts not taken by the broker; they are sent again",
				slog.String("queue", queue), slog.Int64("times", times), slog.String("error", reason))
		}
	default:
		// The queue is gone or full, or there is no room to keep them.
		r.in.counters.receiptsLost.Add(int64(len(carried)))
		reason := errorText(result.Err)
		if times, due := r.in.repeats.Due("receipts "+queue, reason); due {
			r.in.log.WarnContext(ctx, "receipts not taken by the broker; the messages' next copies bring new ones",
				slog.String("queue", queue), slog.Int64("times", times), slog.String("error", reason))
		}
	}
}

// errorText is an error's text, and says so where there is no error.
func errorText(err error) string {
	if err == nil {
		return "no reason given"
	}
	return err.Error()
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
