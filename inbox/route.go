package inbox

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/recent"
)

// route is one destination: its handler and its workers.
type route struct {
	in          *Inbox
	destination string
	level       waybill.Level
	handler     BatchHandler
	several     bool // the handler takes several messages at a time
	o           HandleOptions
	workers     []*worker
	seed        maphash.Seed
	stuck       stuck
	window      window
	subscribed  atomic.Pointer[subscription] // window's current one; nil while there is none
	*pausable
	counts routeCounts

	mu    sync.Mutex
	tries recent.Map[waybill.ID, int]      // of messages that carry no receipt address; see foreign.go
	hung  recent.Map[waybill.ID, struct{}] // of whose batch the handler has not returned
}

// routeCounts count what became of a route's messages, as counters do for all.
type routeCounts struct {
	handled, duplicates, superseded, retried, rejected atomic.Int64
}

func newRoute(in *Inbox, destination string, level waybill.Level, handler BatchHandler, o HandleOptions) *route {
	r := &route{
		in: in, destination: destination, level: level, handler: handler, o: o, seed: maphash.MakeSeed(),
		tries: recent.Map[waybill.ID, int]{Most: maxForeign}, hung: recent.Map[waybill.ID, struct{}]{Most: maxHung},
		pausable: newPausable(o.Breaker),
	}
	for range o.Workers {
		r.workers = append(r.workers, newWorker(r))
	}
	return r
}

func (r *route) start(receive, settle context.Context, group *sync.WaitGroup) {
	for _, w := range r.workers {
		r.in.parts.Go(group, fmt.Sprintf("a worker of %q", r.destination), func() { w.run(receive, settle) })
	}
}

// prefetch is room for two batches of each worker: one that is being handled, and one
// that waits. It bounds the window.
func (r *route) prefetch() int { return max(2*r.o.Workers*r.o.Batch, 2) }

// receive hands what arrives to the workers until ctx or the connection ends. A
// subscription that ends by itself, such as that of a queue that was deleted, is
// made again.
func (r *route) receive(ctx, alive context.Context, conn broker.Conn) {
	wait := backoff.Backoff{Least: 100 * time.Millisecond, Most: 10 * time.Second}
	for r.waitWhilePaused(ctx) {
		began := time.Now()
		err := r.subscribe(ctx, alive, conn)
		select {
		case <-ctx.Done():
			return
		case <-conn.Done():
			return
		default:
		}
		if times, due := r.in.repeats.Due("subscription "+r.destination, err.Error()); due {
			r.in.log.WarnContext(ctx, "subscription ended; subscribing again", slog.String("destination", r.destination), slog.Int64("times", times), slog.Any("error", err))
		}
		if time.Since(began) > wait.Most {
			wait.Reset()
		}
		wait.Sleep(ctx)
	}
}

// subscribe is the life of one subscription. It returns why that ended, or why there
// was none.
func (r *route) subscribe(ctx, alive context.Context, conn broker.Conn) error {
	receiver, err := r.subscribeWith(ctx, conn)
	if err != nil {
		return err
	}
	// subscribed ends with the subscription: what came through it and has not been begun
	// by then is not worth doing, since the broker delivers it again.
	subscribed, end := context.WithCancel(alive)
	context.AfterFunc(subscribed, receiver.release)
	for {
		crash.Point("inbox.receive.before")
		deliveries, err := receiver.Receive(ctx, r.o.Workers*r.o.Batch)
		crash.Point("inbox.receive.after")
		if err != nil {
			if ctx.Err() != nil {
				// On a stop the subscription stays until the connection goes, so that what
				// is being handled can still be acknowledged.
				context.AfterFunc(alive, end)
				return err
			}
			end()
			return errors.Join(err, unsubscribe(ctx, receiver))
		}
		receiver.noteArrived(deliveries)
		for i := range deliveries {
			r.dispatch(&deliveries[i], receiver, subscribed.Done())
		}
		r.stretch()
	}
}

// dispatch decodes a message and gives it to its worker.
func (r *route) dispatch(d *broker.Delivery, receiver *subscription, gone <-chan struct{}) {
	r.in.counters.received.Add(1)
	x := newItem(d, receiver, gone, r.level, r.in.ledger.Source)
	x.Message.Destination, x.Message.Topic = r.destination, r.o.Topic
	if x.problem == nil { // else the producer's name may be no valid one
		r.in.floors.note(x.source(), x.Floor)
	}
	r.workerOf(&x.Message).put(x)
}

// workerOf chooses the worker: the one of the key, so that one key is never handled
// twice at a time, or else the one of the ID, so that two copies of one message do
// not wait for each other's locks.
func (r *route) workerOf(m *waybill.Message) *worker {
	var hash uint64
	if m.Key != "" {
		hash = maphash.String(r.seed, m.Key)
	} else {
		hash = maphash.Bytes(r.seed, m.ID[:])
	}
	return r.workers[hash%uint64(len(r.workers))]
}
