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

// receipts sends receipts. Those that wait while others are being published leave
// together. They are kept, within bounds, while the broker is away; those that are
// lost all the same are asked for by the relay's next copies.
type receipts struct {
	in *Inbox

	mu       sync.Mutex
	waiting  map[string][]waybill.Receipt // by queue
	problems map[string]string            // by queue: what was told of it since it last took any
	count    int
	sending  bool
	idle     chan struct{} // closed while nothing waits or is being sent
	arrived  chan struct{}
}

// maxWaiting bounds the receipts that are kept while the broker is away.
const maxWaiting = 100_000

// maxProblems bounds the queues of which it is known what was told.
const maxProblems = 1000

func newReceipts(in *Inbox) *receipts {
	idle := make(chan struct{})
	close(idle)
	return &receipts{in: in, waiting: map[string][]waybill.Receipt{}, problems: map[string]string{}, idle: idle, arrived: make(chan struct{}, 1)}
}

// add takes receipts to send.
func (r *receipts) add(to string, all []waybill.Receipt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count+len(all) > maxWaiting {
		r.in.counters.receiptsLost.Add(int64(len(all)))
		return
	}
	if r.count == 0 && !r.sending {
		r.idle = make(chan struct{})
	}
	r.waiting[to] = append(r.waiting[to], all...)
	r.count += len(all)
	r.poke()
}

func (r *receipts) poke() {
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
	r.mu.Lock()
	batch, n := r.waiting, r.count
	r.waiting, r.count = map[string][]waybill.Receipt{}, 0
	r.sending = n > 0
	r.mu.Unlock()
	if n == 0 {
		return true
	}
	var messages []broker.Message
	var held [][]waybill.Receipt
	for to, all := range batch {
		for len(all) > 0 {
			k := min(len(all), wire.MaxReceipts)
			messages = append(messages, wire.EncodeReceipts(to, r.in.o.Consumer, all[:k:k]))
			held = append(held, all[:k:k])
			all = all[k:]
		}
	}
	crash.Point("inbox.receipt.before")
	results, _, err := publish.Batch(ctx, conn, messages, r.in.o.Receipts)
	crash.Point("inbox.receipt.after")

	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range messages {
		to, result := messages[i].Destination, results[i]
		switch {
		case result.Fate == broker.Confirmed:
			r.in.counters.receipts.Add(int64(len(held[i])))
			delete(r.problems, to)
		case result.Fate == broker.Unknown && r.count+len(held[i]) <= maxWaiting:
			r.waiting[to] = append(held[i], r.waiting[to]...)
			r.count += len(held[i])
			if err != nil || ctx.Err() != nil {
				break // told elsewhere
			}
			if reason, news := r.isNews(to, result.Err); news {
				r.in.log.WarnContext(ctx, "receipts not taken by the broker; they are sent again",
					slog.String("queue", to), slog.String("error", reason))
			}
		default:
			// The queue is gone or full: the next copies of these messages bring new ones.
			r.in.counters.receiptsLost.Add(int64(len(held[i])))
			if reason, news := r.isNews(to, result.Err); news {
				r.in.log.WarnContext(ctx, "receipts not taken by the broker; the messages' next copies bring new ones",
					slog.String("queue", to), slog.String("error", reason))
			}
		}
	}
	r.sending = false
	if r.count == 0 {
		close(r.idle)
	} else if err == nil {
		r.poke()
	}
	return err == nil
}

// isNews returns why a queue does not take receipts, and whether that is another reason
// than before. r.mu is held.
func (r *receipts) isNews(queue string, err error) (reason string, news bool) {
	reason = "no reason given"
	if err != nil {
		reason = err.Error()
	}
	if r.problems[queue] == reason {
		return reason, false
	}
	if len(r.problems) >= maxProblems {
		clear(r.problems) // messages name the queues, and could name any number
	}
	r.problems[queue] = reason
	return reason, true
}

// drain waits until everything is sent or ctx ends.
func (r *receipts) drain(ctx context.Context) {
	r.mu.Lock()
	idle := r.idle
	r.mu.Unlock()
	if !r.in.linked.Load() {
		return
	}
	select {
	case <-ctx.Done():
	case <-idle:
	}
}
