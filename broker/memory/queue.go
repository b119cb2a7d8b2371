package memory

import (
	"container/heap"
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"github.com/waybill-go/waybill/broker"
)

// item is one message of one queue. Its message never changes once it is in a queue,
// nor do seq, place and at; the other fields belong to the queue's lock.
type item struct {
	message     broker.Message
	seq         uint64 // its position in the queue's order
	due         time.Time
	place       string    // its queue's id
	at          time.Time // when it was published
	transient   bool
	redelivered bool
	holder      *receiver // who has it, unsettled; nil where it is in the queue or gone
	prev, next  *item     // the holder's list
	wiped       bool      // lost by Wipe while it was held
}

// Identity implements broker.Identified.
func (it *item) Identity() broker.Identity {
	return broker.Identity{Place: it.place, Number: it.seq, Time: it.at}
}

// queue is a queue, or what one group of a topic has to receive.
type queue struct {
	b    *Broker
	name string
	id   string // no other queue's

	mu        sync.Mutex
	lastSeq   uint64
	returned  []*item // were delivered before; they go first, by seq
	ready     fifo
	later     schedule
	timer     *time.Timer // fires when the first of later is due
	held      int         // items that are delivered and not settled
	dead      []*item
	receivers map[*receiver]struct{}
}

func newQueue(b *Broker, name string) *queue {
	return &queue{b: b, name: name, id: rand.Text(), receivers: map[*receiver]struct{}{}}
}

// depth counts what the queue keeps, without its dead letters. It needs the lock.
func (q *queue) depth() int {
	return len(q.returned) + q.ready.len() + len(q.later) + q.held
}

// put adds an item, whose message and time are set, with its faults. It needs the lock, and a call of wake after it.
func (q *queue) put(it *item, d decision) {
	q.lastSeq++
	it.seq, it.place = q.lastSeq, q.id
	if d.delay > 0 {
		it.due = it.at.Add(d.delay)
		heap.Push(&q.later, it)
		q.arm()
		return
	}
	q.ready.push(it)
	if d.swap > 0 && q.ready.len() > 1 {
		q.ready.swapLast(1 + d.swap%min(q.ready.len()-1, reorderSpan))
	}
}

// arm sets the timer for the first delayed item. It needs the lock.
func (q *queue) arm() {
	if len(q.later) == 0 {
		return
	}
	wait := time.Until(q.later[0].due)
	if q.timer == nil {
		q.timer = time.AfterFunc(wait, q.releaseDue)
		return
	}
	q.timer.Reset(wait)
}

// releaseDue makes the delayed items that are due ready to be received.
func (q *queue) releaseDue() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for now := time.Now(); len(q.later) > 0 && !q.later[0].due.After(now); {
		q.ready.push(heap.Pop(&q.later).(*item))
	}
	q.arm()
	q.wake()
}

// wake wakes every receiver that waits. It needs the lock.
func (q *queue) wake() {
	for r := range q.receivers {
		if r.waiting {
			r.waiting = false
			select {
			case r.woken <- struct{}{}:
			default:
			}
		}
	}
}

// take hands at most limit items to r. It needs the lock.
func (q *queue) take(r *receiver, limit int) []broker.Delivery {
	n := min(limit, r.prefetch-r.held, len(q.returned)+q.ready.len())
	if n <= 0 {
		return nil
	}
	deliveries := make([]broker.Delivery, n)
	for i := range deliveries {
		var it *item
		if len(q.returned) > 0 {
			it = q.returned[0]
			q.returned[0] = nil
			q.returned = q.returned[1:]
		} else {
			it = q.ready.pop()
		}
		it.holder = r
		it.prev, it.next = r.list.prev, &r.list
		it.prev.next, it.next.prev = it, it
		deliveries[i] = broker.Delivery{Message: it.message, Redelivered: it.redelivered, Token: it}
	}
	r.held += n
	q.held += n
	return deliveries
}

// release takes an item from its holder. It needs the lock.
func (q *queue) release(it *item) {
	it.prev.next, it.next.prev = it.next, it.prev
	it.prev, it.next = nil, nil
	it.holder.held--
	it.holder = nil
	q.held--
}

// giveBack puts items that were delivered to the front, in their order. It needs
// the lock.
func (q *queue) giveBack(items []*item) {
	for _, it := range items {
		it.redelivered = true
	}
	q.returned = append(q.returned, items...)
	slices.SortFunc(q.returned, func(a, b *item) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	q.wake()
}

// lose drops the items that match, held ones too, and returns how many.
func (q *queue) lose(match func(*item) bool) (lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	drop := func(it *item) bool {
		if match(it) {
			lost++
			return true
		}
		return false
	}
	q.returned = slices.DeleteFunc(q.returned, drop)
	kept := slices.DeleteFunc(q.ready.all(), drop)
	q.ready = fifo{items: kept}
	q.later = slices.DeleteFunc(q.later, drop)
	heap.Init(&q.later)
	for r := range q.receivers {
		for it := r.list.next; it != &r.list; {
			next := it.next
			if drop(it) {
				q.release(it)
				it.wiped = true
			}
			it = next
		}
	}
	q.wake()
	return lost
}

// fifo is a queue of items in a slice; it is cheap to add and to take.
type fifo struct {
	items []*item
	head  int
}

func (f *fifo) len() int     { return len(f.items) - f.head }
func (f *fifo) all() []*item { return f.items[f.head:] }

func (f *fifo) push(it *item) { f.items = append(f.items, it) }

func (f *fifo) pop() *item {
	it := f.items[f.head]
	f.items[f.head] = nil
	f.head++
	switch {
	case f.head == len(f.items):
		f.items, f.head = f.items[:0], 0
	case f.head >= 1024 && f.head > len(f.items)/2:
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	return it
}

// swapLast exchanges the last item with the one that is back positions before it.
func (f *fifo) swapLast(back int) {
	last := len(f.items) - 1
	f.items[last], f.items[last-back] = f.items[last-back], f.items[last]
}

// schedule is a heap of items by the time they are due.
type schedule []*item

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].due.Before(s[j].due) }
func (s schedule) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)        { *s = append(*s, x.(*item)) }
func (s *schedule) Pop() any {
	old := *s
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	return it
}
