package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill-go/waybill/internal/backoff"
)

// workload is the business of the order service: it decides which order is placed,
// shipped, delivered or sent elsewhere next, and has workers do it.
type workload struct {
	orders *orderService
	dice   *rand.Rand
	want   int64         // messages to commit
	span   time.Duration // how long that should take, at least

	allowed atomic.Int64 // messages that may be committed so far
	planned int64        // messages of the transactions given to workers
	placed  int

	mu   sync.Mutex
	open []*order // that a next step can be taken for
}

// order is an order that is not delivered yet.
type order struct {
	id   string
	step int // its state
}

const (
	workers = 4
	// rollbackOneIn: one transaction of so many is rolled back on purpose.
	rollbackOneIn = 10
	// concurrentOneIn: one step of so many happens while another worker sends the order
	// to another address, in a transaction of its own.
	concurrentOneIn = 5
	// ordersUnderWay is about how many orders are placed and not delivered at a time.
	ordersUnderWay = 40
)

// job is one transaction for a worker.
type job struct {
	work func(ctx context.Context) error
	done func()
}

// goOn allows the workers to commit messages up to a number of all.
func (w *workload) goOn(upTo int64) { w.allowed.Store(upTo) }

// run does business until the messages wanted are committed, as far as goOn allows
// it. The pace is even, so that it lasts for the span given, or longer where the
// database is slower.
func (w *workload) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	jobs := make(chan job)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for j := range jobs {
				if err := j.work(ctx); err != nil {
					cancel(err)
					return
				}
				j.done()
			}
		})
	}
	due := time.Now()
	for w.planned < w.want && ctx.Err() == nil {
		if w.planned >= w.allowed.Load() {
			backoff.Sleep(ctx, 5*time.Millisecond)
			due = time.Now()
			continue
		}
		backoff.Sleep(ctx, time.Until(due))
		before := w.planned
		next := w.next()
		due = due.Add(time.Duration(float64(w.span) * float64(w.planned-before) / float64(w.want)))
		for _, j := range next {
			select {
			case jobs <- j:
			case <-ctx.Done():
			}
		}
	}
	close(jobs)
	group.Wait()
	return context.Cause(ctx)
}

// next plans what comes next: one transaction, or two of one order at a time.
func (w *workload) next() []job {
	rollBack := w.dice.IntN(rollbackOneIn) == 0
	o := w.take()
	if o == nil {
		return w.placeNext(rollBack)
	}
	if rollBack {
		return []job{{
			work: func(ctx context.Context) error { return w.orders.advance(ctx, o.id, o.step, true) },
			done: func() { w.giveBack(o) },
		}}
	}
	step, address := o.step, w.address()
	advance := job{
		work: func(ctx context.Context) error { return w.orders.advance(ctx, o.id, step, false) },
		done: func() {
			if o.step++; o.step < len(states)-1 {
				w.giveBack(o)
			}
		},
	}
	w.planned++
	if w.planned == w.want || w.dice.IntN(concurrentOneIn) > 0 {
		return []job{advance}
	}
	w.planned++
	move := job{
		work: func(ctx context.Context) error { return w.orders.move(ctx, o.id, address, false) },
		done: func() {},
	}
	return []job{advance, move}
}

// placeNext plans a new order. The very last message is a free order's, since there
// is none left for a payment.
func (w *workload) placeNext(rollBack bool) []job {
	w.placed++
	o := &order{id: fmt.Sprintf("%06d", w.placed)}
	address, amount := w.address(), 100+w.dice.Int64N(20_000)
	if w.want-w.planned == 1 {
		amount = 0
	}
	done := func() {}
	if !rollBack {
		done = func() { w.giveBack(o) }
		if w.planned++; amount > 0 {
			w.planned++
		}
	}
	return []job{{
		work: func(ctx context.Context) error { return w.orders.place(ctx, o.id, address, amount, rollBack) },
		done: done,
	}}
}

// take chooses an order whose next step is due, or none where a new one should be
// placed.
func (w *workload) take() *order {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dice.IntN(ordersUnderWay) >= len(w.open) {
		return nil
	}
	i := w.dice.IntN(len(w.open))
	o := w.open[i]
	last := len(w.open) - 1
	w.open[i], w.open = w.open[last], w.open[:last]
	return o
}

func (w *workload) giveBack(o *order) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = append(w.open, o)
}

var streets = []string{"Elm Street", "Station Road", "Mill Lane", "Harbour Row", "Church Walk"}

func (w *workload) address() string {
	return fmt.Sprintf("%d %s", 1+w.dice.IntN(200), streets[w.dice.IntN(len(streets))])
}
