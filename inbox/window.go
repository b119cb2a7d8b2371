package inbox

import (
	"cmp"
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/fault/crash"
)

// How much a route has received and not settled is governed here, for speed alone: enough
// that its workers do not wait, and no more than they handle soon, so that other processes
// of the consumer get their share and a few large messages do not fill the memory.

// window decides how many messages of a route may be received and not settled.
type window struct {
	mu        sync.Mutex
	each      time.Duration // that a message takes a worker, lately; 0 while nothing is known
	bytes     float64       // of a body, lately
	stretch   float64       // 1, or more where workers have nothing to do while the window is full
	stretched time.Time     // when stretch was last changed
	size      int           // what the receiver was told
	current   *subscription // nil while there is none
}

const (
	// horizon is how many batches of a worker the window has room for, each of them
	// Options.BatchTime: one that is handled, and one that waits.
	horizon = 2
	// firstEach is the room of a worker while nothing is known.
	firstEach = 4
	// maxGrowth bounds how many times as large a window gets at once: what is known of small
	// batches says little of large ones.
	maxGrowth = 4
	// stretchStep is how many times as large a window gets, at once, in which some workers
	// find nothing; halfStretch is the time in which half of that is taken back.
	stretchStep = 2
	halfStretch = 5 * time.Second
)

// subscription is the broker's receiver, with what is received and not settled.
type subscription struct {
	broker.Receiver
	r      *route
	held   atomic.Int64
	bytes  atomic.Int64 // of the bodies of these
	parked atomic.Int64 // of held, those that wait for their next try
	holds  holds        // of these
}

// Settle settles messages, and counts them.
func (s *subscription) Settle(ctx context.Context, deliveries []broker.Delivery, d broker.Disposition) error {
	err := s.Receiver.Settle(ctx, deliveries, d)
	if errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	s.held.Add(-int64(len(deliveries)))
	s.bytes.Add(-sizeOf(deliveries))
	return err
}

func sizeOf(deliveries []broker.Delivery) (n int64) {
	for i := range deliveries {
		n += int64(len(deliveries[i].Body))
	}
	return n
}

// noteArrived counts what was received.
func (s *subscription) noteArrived(deliveries []broker.Delivery) {
	size := sizeOf(deliveries)
	s.held.Add(int64(len(deliveries)))
	s.bytes.Add(size)
	w := &s.r.window
	w.mu.Lock()
	defer w.mu.Unlock()
	lately := min(float64(len(deliveries))/16, 1)
	w.bytes += lately * (float64(size)/float64(len(deliveries)) - w.bytes)
	s.r.adjust()
}

// noteHandled notes how long a batch took a worker.
func (r *route) noteHandled(n int, took time.Duration) {
	w := &r.window
	w.mu.Lock()
	defer w.mu.Unlock()
	each := max(took/time.Duration(n), 1)
	switch {
	case w.each == 0:
		w.each = each
	case each < w.each:
		w.each = max(each, w.each/2)
	default:
		w.each += (each - w.each) / 4
	}
	r.adjust()
}

// stretch makes the window larger where it is full and a worker has nothing to do: all
// that is in it belongs to others.
func (r *route) stretch() {
	w := &r.window
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.current; s == nil || r.isPaused() || s.held.Load() < int64(w.size) || w.size >= r.prefetch() || !r.hasIdle() {
		return
	}
	now := r.target()
	w.stretch = max(w.stretch, 1) * float64(stretchStep*w.size) / float64(now)
	w.stretched = time.Now()
	r.adjust()
}

// hasIdle reports whether a worker has nothing to do.
func (r *route) hasIdle() bool {
	for _, w := range r.workers {
		w.mu.Lock()
		idle := w.waiting && len(w.queue) == 0
		w.mu.Unlock()
		if idle {
			return true
		}
	}
	return false
}

// target is how many messages may be received and not settled. r.window.mu is held.
func (r *route) target() int {
	w := &r.window
	workers, most := len(r.workers), r.prefetch()
	each := firstEach
	if w.each > 0 {
		each = int(min(max(horizon*r.in.o.BatchTime/w.each, 1), time.Duration(most)))
	}
	n := workers * each
	if w.stretch > 1 {
		now := time.Now()
		w.stretch = 1 + (w.stretch-1)*math.Exp2(-float64(now.Sub(w.stretched))/float64(halfStretch))
		w.stretched = now
		n = int(math.Ceil(float64(n) * w.stretch))
	}
	if s := w.current; s != nil {
		n += int(s.parked.Load())
	}
	return max(min(n, most, r.affordable()), 1)
}

// affordable is how many messages have room in the route's share of
// Options.PrefetchBytes. r.window.mu is held.
func (r *route) affordable() int {
	w := &r.window
	size := w.bytes
	if s := w.current; s != nil {
		if held := s.held.Load(); held > 0 {
			size = max(size, float64(s.bytes.Load())/float64(held))
		}
	}
	return int(min(float64(r.in.bytesEach())/max(size, 1), math.MaxInt32))
}

// bytesEach is the share of Options.PrefetchBytes of a route that has messages.
func (in *Inbox) bytesEach() int {
	n := 0
	for _, r := range in.routes {
		if s := r.subscribed.Load(); s != nil && s.bytes.Load() > 0 {
			n++
		}
	}
	return in.o.PrefetchBytes / max(n, 1)
}

// adjust tells the receiver where the window has become another one, by much: a change may
// cost some messages more than one way. r.window.mu is held.
func (r *route) adjust() {
	w := &r.window
	if w.current == nil {
		return
	}
	resizer, ok := w.current.Receiver.(broker.Resizer)
	if !ok {
		return
	}
	n, most := r.target(), r.prefetch()
	switch {
	case n >= 2*w.size, n == most && n > w.size:
		n = min(n, maxGrowth*w.size)
	case 2*n <= w.size, 4*n <= 3*w.size && n == r.affordable():
	default:
		return
	}
	w.size = n
	resizer.Resize(n)
}

// subscribeWith begins a subscription with the window that suits it.
func (r *route) subscribeWith(ctx context.Context, conn broker.Conn) (*subscription, error) {
	w := &r.window
	w.mu.Lock()
	w.current = nil
	first := r.target()
	w.mu.Unlock()
	s := broker.Subscription{
		Destination: r.destination, Topic: r.o.Topic, Group: r.in.o.Consumer, Prefetch: r.prefetch(), Window: first,
	}
	leave, ok := r.in.subscribing.Enter(ctx, conn.Done())
	if !ok {
		return nil, cmp.Or(ctx.Err(), conn.Err())
	}
	defer leave()
	receiver, err := subscribe(ctx, conn, s)
	if err != nil {
		return nil, err
	}
	if _, ok := receiver.(broker.Resizer); !ok {
		// What is around the adapter may hide that it can be resized.
		if err := unsubscribe(ctx, receiver); err != nil {
			return nil, err
		}
		first, s.Window = s.Prefetch, 0
		if receiver, err = subscribe(ctx, conn, s); err != nil {
			return nil, err
		}
	}
	begun := &subscription{Receiver: receiver, r: r}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current, w.size = begun, first
	r.subscribed.Store(begun)
	return begun, nil
}

func subscribe(ctx context.Context, conn broker.Conn, s broker.Subscription) (broker.Receiver, error) {
	crash.Point("inbox.subscribe.before")
	receiver, err := conn.Subscribe(ctx, s)
	crash.Point("inbox.subscribe.after")
	return receiver, err
}

// closeTime bounds the end of a subscription: behind it the next one is waited for.
const closeTime = 30 * time.Second

func unsubscribe(ctx context.Context, receiver broker.Receiver) error {
	ctx, cancel := context.WithTimeout(ctx, closeTime)
	defer cancel()
	crash.Point("inbox.unsubscribe.before")
	err := receiver.Close(ctx)
	crash.Point("inbox.unsubscribe.after")
	return err
}
