package relay

import (
	"math"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/breaker"
	"github.com/waybill-go/waybill/store"
)

// lane is one destination: its window of messages in flight, the queue of those
// to publish, and the goroutine that publishes them. A destination that is stuck
// holds up nobody else. A lane with a consumer's name has what that one of the
// destination's named consumers has not confirmed in time; see straggler.go. The fields
// of the first group never change; term.mu guards the others.
type lane struct {
	laneKey
	consumer  string // "" but for a straggler
	t         *term
	o         Destination
	receiptTo string        // the header of that name; "" where no receipts are wanted
	publish   chan struct{} // holds a value when the queue has grown
	retired   chan struct{} // closed when the lane is given up

	open int // the number of the connection over which the destination has taken messages; the goroutine's own

	window map[waybill.ID]*inflight // everything from admission until its row is written
	queue  []outgoing               // to publish, in order
	bytes  int                      // of the messages in queue

	publishing int // bytes of the batch that the lane's goroutine has

	// backlogFrom: rows above this id, up to the cursor, wait in the table because the
	// window or queue was full when they were read. noBacklog where there are none.
	backlogFrom int64
	// left is as backlogFrom, but of the rows that were left in the table since the scan for
	// these was begun, which may not see them.
	left  int64
	reach int64 // how many ids the next scan for these walks over

	progressed time.Time // when a batch was last begun, or taken by the broker
	lastError  string    // why not all of the last batch was taken; "" if it was

	refusedSince time.Time // since when there is a lastError

	latency latency  // of its messages
	done    laneDone // what was done with them

	scanning trouble // of the pump's reading of the backlog, and its loop's own

	paused  bool             // it sends nothing; see pause.go
	pace    *pace            // how many messages a second it may send
	wakeAt  time.Time        // when it is woken that has waited for that
	breaker *breaker.Breaker // nil where it is off

	resending // when to send again
	parking   // which messages not to wait for here
	lag       // how long a straggler has been one
}

const noBacklog = math.MaxInt64

// laneDone counts what was done with a lane's messages since the lane was made.
type laneDone struct{ published, copies, confirmed, rejected int64 }

// outgoing is a message that waits to be published.
type outgoing struct {
	f       *inflight
	message broker.Message
}

// size is what a message weighs, in bytes: its body and its headers.
func (x *outgoing) size() int {
	n := len(x.message.Body)
	for _, h := range x.message.Headers {
		n += len(h.Name) + len(h.Value)
	}
	return n
}

// newLane returns the lane of a destination, with nothing in it. Its goroutine is not
// started.
func newLane(t *term, key laneKey) *lane {
	l := &lane{
		laneKey:     key,
		t:           t,
		o:           t.r.o.destination(key.destination, key.topic),
		publish:     make(chan struct{}, 1),
		retired:     make(chan struct{}),
		window:      map[waybill.ID]*inflight{},
		backlogFrom: noBacklog,
		left:        noBacklog,
		scanning:    newTrouble(),
	}
	if l.o.Confirm == waybill.Consumed {
		l.receiptTo = waybill.ReceiptQueue(t.r.o.Producer, t.identity)
	}
	l.paused = t.isPaused(key)
	l.pace, l.breaker = newPace(l.o.PerSecond, time.Now()), breaker.New(l.o.Breaker, time.Now())
	l.resending = newResending(&t.r.o, l.windowSize(), t.armed)
	l.nextPark = never
	return l
}

func (l *lane) windowSize() int {
	if l.o.Window > 0 {
		return l.o.Window
	}
	return l.t.r.o.Window
}

// room is how many more messages the window takes; not above 0 where there is none.
func (l *lane) room() int { return l.limit() - len(l.window) }

// queueFull says whether enough waits for the broker already, here or in all lanes.
func (l *lane) queueFull() bool {
	return len(l.queue) >= 2*l.t.r.o.Batch || l.bytes >= l.t.r.o.BatchBytes || l.outOfBytes()
}

// leaveInTable leaves a row, and those after it, in the table for scanBacklog to find.
func (l *lane) leaveInTable(row int64) {
	l.backlogFrom = min(l.backlogFrom, row-1)
	l.left = min(l.left, row-1)
}

// waitsInTable says whether a row up to the cursor is one that scanBacklog will find.
func (l *lane) waitsInTable(row int64) bool { return row > l.backlogFrom }

// leaves says whether a row that was read elsewhere waits in the table, and leaves it
// there: a scan that is under way may have begun before it was committed.
func (l *lane) leaves(row int64) bool {
	if !l.waitsInTable(row) {
		return false
	}
	l.leaveInTable(row)
	return true
}

// scanned notes that a scan of the rows that wait has come as far as upTo; cursor is the
// term's.
func (l *lane) scanned(upTo, cursor int64) {
	l.backlogFrom = l.left
	if upTo < cursor {
		l.leaveInTable(upTo + 1) // there may be more behind
	}
}

// hasBacklog says whether there may be such rows.
func (l *lane) hasBacklog() bool { return l.backlogFrom != noBacklog }

// track puts a row's message into the window.
func (l *lane) track(r *store.Row) *inflight {
	if len(l.window) == 0 {
		l.quietSince, l.quiet = time.Now(), false
	}
	f := &inflight{row: r.ID, id: r.MessageID, lane: l, failures: r.Failures, repeat: r.Retry > 0}
	l.window[f.id] = f
	l.t.inflights[f.id] = f
	return f
}

// drop takes a message out of the window, unless it is out of it already.
func (l *lane) drop(f *inflight) {
	if l.window[f.id] != f {
		return
	}
	delete(l.window, f.id)
	if f.copies > 1 || f.copies > 0 && f.state == queued {
		now := l.t.clock.now()
		l.arm(now, now) // others may have waited for this copy's receipt
	}
	if l.isStraggler() {
		delete(l.t.parked, parkedKey{f.id, l.consumer})
		return
	}
	delete(l.t.inflights, f.id)
	if f.some() {
		l.answered--
	}
}

// enqueue puts a message of the window into the publishing queue.
func (l *lane) enqueue(f *inflight, m broker.Message) {
	f.state = queued
	x := outgoing{f, m}
	l.queue = append(l.queue, x)
	l.bytes += x.size()
	l.t.bytes += x.size()
	l.signal()
}

// signal tells the lane's goroutine to look at the queue.
func (l *lane) signal() { signal(l.publish) }

// take removes the next batch from the queue.
func (l *lane) take() []outgoing {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	if l.paused || len(l.queue) == 0 {
		return nil
	}
	n, bytes, began := 0, 0, time.Now()
	most := l.pace.allows(min(len(l.queue), l.t.r.o.Batch), began)
	if most == 0 {
		l.waitForTokens(began)
	}
	for n < most {
		size := l.queue[n].size()
		if n > 0 && bytes+size > l.t.r.o.BatchBytes {
			break
		}
		bytes += size
		n++
	}
	if n == 0 {
		return nil
	}
	taken := bytes
	now := l.t.clock.now()
	wasFull := l.queueFull()
	batch := make([]outgoing, 0, n)
	for _, x := range l.queue[:n] {
		if x.f.state == settling || l.window[x.f.id] != x.f {
			l.t.bytes -= x.size()
			bytes -= x.size()
			continue // settled by the receipt of an earlier copy, or gone
		}
		x.f.state, x.f.sent = publishing, now
		x.f.copies++
		batch = append(batch, x)
	}
	l.pace.spend(len(batch))
	clear(l.queue[:n])
	l.queue = l.queue[n:]
	l.bytes -= taken
	l.publishing += bytes
	if wasFull {
		signal(l.armed) // nobody has looked at its time-outs meanwhile
	}
	l.progressed = time.Now()
	l.t.wake()
	if len(batch) == 0 {
		l.signal() // all of it was settled meanwhile: come again for the rest
	}
	return batch
}

// putBack returns a batch to the queue that was taken and not published.
func (l *lane) putBack(batch []outgoing) {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	for _, x := range batch {
		if x.f.state == publishing {
			x.f.state, x.f.copies = queued, x.f.copies-1
		}
	}
	l.queue = append(batch, l.queue...)
	l.bytes += l.publishing
	l.publishing = 0
}

// published notes that the batch is published, or not, and is not held any more. mu is
// held.
func (l *lane) published() {
	if l.outOfBytes() {
		signal(l.armed) // other lanes' time-outs may not have been looked at meanwhile
	}
	l.t.bytes -= l.publishing
	l.publishing = 0
}
