package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// desk is the business of the order service: it decides which order is placed,
// shipped, delivered or sent elsewhere next, and has clerks do it.
type desk struct {
	shop *shop
	dice *rand.Rand
	want int64         // messages to commit
	span time.Duration // how long that should take, at least

	allowed atomic.Int64 // messages that may be committed so far
	planned int64        // messages of the transactions given to clerks
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
	clerks = 4
	// regretEvery: one transaction of so many is rolled back on purpose.
	regretEvery = 10
	// togetherEvery: one step of so many happens while another clerk sends the order
	// to another address, in a transaction of its own.
	togetherEvery = 5
	// openOrders is about how many orders are on their way at a time.
	openOrders = 40
)

// job is one transaction for a clerk.
type job struct {
	work func(ctx context.Context) error
	done func()
}

// goOn allows the desk to commit messages up to a number of all.
func (d *desk) goOn(upTo int64) { d.allowed.Store(upTo) }

// run does business until the messages wanted are committed, as far as goOn allows
// it. The pace is even, so that it lasts for the span given, or longer where the
// database is slower.
func (d *desk) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	jobs := make(chan job)
	var group sync.WaitGroup
	for range clerks {
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
	for d.planned < d.want && ctx.Err() == nil {
		if d.planned >= d.allowed.Load() {
			sleep(ctx, 5*time.Millisecond)
			due = time.Now()
			continue
		}
		sleep(ctx, time.Until(due))
		before := d.planned
		next := d.next()
		due = due.Add(time.Duration(float64(d.span) * float64(d.planned-before) / float64(d.want)))
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
func (d *desk) next() []job {
	regret := d.dice.IntN(regretEvery) == 0
	o := d.take()
	if o == nil {
		return d.placeNext(regret)
	}
	if regret {
		return []job{{
			work: func(ctx context.Context) error { return d.shop.advance(ctx, o.id, o.step, true) },
			done: func() { d.giveBack(o) },
		}}
	}
	step, address := o.step, d.address()
	advance := job{
		work: func(ctx context.Context) error { return d.shop.advance(ctx, o.id, step, false) },
		done: func() {
			if o.step++; o.step < len(states)-1 {
				d.giveBack(o)
			}
		},
	}
	d.planned++
	if d.planned == d.want || d.dice.IntN(togetherEvery) > 0 {
		return []job{advance}
	}
	d.planned++
	move := job{
		work: func(ctx context.Context) error { return d.shop.move(ctx, o.id, address, false) },
		done: func() {},
	}
	return []job{advance, move}
}

// placeNext plans a new order. The very last message is a free order's, since there
// is none left for a payment.
func (d *desk) placeNext(regret bool) []job {
	d.placed++
	o := &order{id: fmt.Sprintf("%06d", d.placed)}
	address, amount := d.address(), 100+d.dice.Int64N(20_000)
	if d.want-d.planned == 1 {
		amount = 0
	}
	done := func() {}
	if !regret {
		done = func() { d.giveBack(o) }
		if d.planned++; amount > 0 {
			d.planned++
		}
	}
	return []job{{
		work: func(ctx context.Context) error { return d.shop.place(ctx, o.id, address, amount, regret) },
		done: done,
	}}
}

// take chooses an order whose next step is due, or none where a new one should be
// placed.
func (d *desk) take() *order {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dice.IntN(openOrders) >= len(d.open) {
		return nil
	}
	i := d.dice.IntN(len(d.open))
	o := d.open[i]
	last := len(d.open) - 1
	d.open[i], d.open = d.open[last], d.open[:last]
	return o
}

func (d *desk) giveBack(o *order) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = append(d.open, o)
}

var streets = []string{"Elm Street", "Station Road", "Mill Lane", "Harbour Row", "Church Walk"}

func (d *desk) address() string {
	return fmt.Sprintf("%d %s", 1+d.dice.IntN(200), streets[d.dice.IntN(len(streets))])
}

// sleep waits for a while, or until ctx ends.
func sleep(ctx context.Context, wait time.Duration) {
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
