package inbox

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/publish"
	"github.com/waybill-go/waybill/internal/recent"
	"github.com/waybill-go/waybill/internal/wire"
)

// receipts sends receipts. They are kept, within bounds, while the broker is away; for those
// that are lost all the same, the relay's next copies bring new ones.
//
// Who writes a message also names the queue for its receipt, and may have made that name up.
// So the queues are in two lanes. Those that have taken receipts are sound: what there is for
// them leaves together. All others are doubtful: new ones, and those that something is wrong
// with. Each of these is published to by itself, with delays that grow, and together they have
// no more than half of the room; so none of them holds up another one, and a thousand of them
// no sound one.
//
// A relay receives from its queue before it sends its first message. So an inbox need not
// make queues for receipts, and makes few: see admission.
type receipts struct {
	in        *Inbox
	mustExist bool // the broker can say that there is no queue
	most      int  // of the bytes of a message

	mu        sync.Mutex
	queues    map[string]*receiptQueue // for which receipts wait, or are being sent
	known     recent.Map[string, int]  // queues that have taken receipts, and the bytes of their messages
	total     amount                   // of all that waits
	strange   amount                   // of what waits for doubtful queues
	admission admission                // of queues that are made
	newcomers admission                // of those besides that come for the first time
	busy      int                      // queues that are ready or being sent to
	idle      chan struct{}            // closed while busy is 0
	sound     lane
	doubtful  lane
}

// lane are the queues that can be sent to now, in their order.
type lane struct {
	ready []*receiptQueue
	more  chan struct{} // has room for one: ready is not empty
	// bothEnds has every second one taken from the end, so that who comes after a thousand
	// does not wait for all of them.
	bothEnds, fromEnd bool
}

// pop takes the next one out of a lane that is not empty.
func (l *lane) pop() *receiptQueue {
	at := 0
	if l.fromEnd {
		at = len(l.ready) - 1
	}
	l.fromEnd = l.bothEnds && !l.fromEnd
	a := l.ready[at]
	l.ready[at] = nil
	if at == 0 {
		l.ready = l.ready[1:]
	} else {
		l.ready = l.ready[:at]
	}
	return a
}

// amount counts receipts, and the bytes of their errors and of the queues' names.
type amount struct{ count, bytes int }

func (a *amount) add(b amount)      { a.count, a.bytes = a.count+b.count, a.bytes+b.bytes }
func (a *amount) subtract(b amount) { a.count, a.bytes = a.count-b.count, a.bytes-b.bytes }

const (
	maxWaiting      = 100_000  // receipts that are kept while the broker is away
	maxWaitingBytes = 32 << 20 // of their errors, and of the names of queues
	// maxKnown is how many sound queues are remembered at least; any other one begins anew.
	maxKnown = 10_000
	// maxTogether bounds what is published together, in bytes.
	maxTogether = 4 << 20
	// doubtfulSenders is how many doubtful queues are sent to at a time.
	doubtfulSenders = 4
)

func newReceipts(in *Inbox) *receipts {
	idle := make(chan struct{})
	close(idle)
	can := in.broker.Capabilities()
	r := &receipts{
		in: in, mustExist: can.MustExist, most: wire.MaxReceiptBytes,
		queues: map[string]*receiptQueue{}, known: recent.Map[string, int]{Most: maxKnown}, idle: idle,
		admission: newAdmission(can.MustExist), newcomers: newcomers(),
		sound: lane{more: make(chan struct{}, 1)}, doubtful: lane{more: make(chan struct{}, 1), bothEnds: true},
	}
	if can.MaxMessage > 0 {
		r.most = min(r.most, can.MaxMessage)
	}
	return r
}

// add takes receipts to send.
func (r *receipts) add(queue string, all []waybill.Receipt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.queues[queue]
	isNew := a == nil
	if isNew {
		a = r.newQueue(queue)
	}
	more := amountOf(all)
	if isNew {
		more.bytes += len(queue)
	}
	if !r.hasRoom(a, more) {
		r.in.counters.receiptsLost.Add(int64(len(all)))
		return
	}
	if isNew {
		r.queues[queue] = a
	}
	a.waiting = append(a.waiting, all...)
	r.grow(a, more)
	if a.state == resting {
		r.makeReady(a)
	}
}

func amountOf(all []waybill.Receipt) amount {
	size := amount{count: len(all)}
	for i := range all {
		size.bytes += len(all[i].Error)
	}
	return size
}

// hasRoom reports whether more can wait for a queue. r.mu is held.
func (r *receipts) hasRoom(a *receiptQueue, more amount) bool {
	if r.total.count+more.count > maxWaiting || r.total.bytes+more.bytes > maxWaitingBytes {
		return false
	}
	return a.sound || r.strange.count+more.count <= maxWaiting/2 && r.strange.bytes+more.bytes <= maxWaitingBytes/2
}

// grow counts what is added for a queue. r.mu is held.
func (r *receipts) grow(a *receiptQueue, more amount) {
	a.size.add(more)
	r.total.add(more)
	if !a.sound {
		r.strange.add(more)
	}
}

// shrink counts what a queue does not have any more. r.mu is held.
func (r *receipts) shrink(a *receiptQueue, less amount) {
	a.size.subtract(less)
	r.total.subtract(less)
	if !a.sound {
		r.strange.subtract(less)
	}
}

// makeReady has a queue sent to, as soon as it is admitted. r.mu is held.
func (r *receipts) makeReady(a *receiptQueue) {
	if !r.mustExist && !a.isAdmitted {
		now := time.Now()
		if a.isAdmitted = r.admission.take(now) || !a.hasWaited && r.newcomers.take(now); !a.isAdmitted {
			a.hasWaited = true
			r.delay(a)
			return
		}
	}
	if r.busy++; r.busy == 1 {
		r.idle = make(chan struct{})
	}
	a.state = ready
	l := r.laneOf(a)
	l.ready = append(l.ready, a)
	l.signal()
}

// rest ends what makeReady has begun. r.mu is held.
func (r *receipts) rest() {
	if r.busy--; r.busy == 0 {
		close(r.idle)
	}
}

// delay has a queue sent to later. r.mu is held.
func (r *receipts) delay(a *receiptQueue) {
	a.state = delayed
	time.AfterFunc(a.wait.Next(), func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.makeReady(a)
	})
}

func (r *receipts) laneOf(a *receiptQueue) *lane {
	if a.sound {
		return &r.sound
	}
	return &r.doubtful
}

// signal tells who sends that there is something ready.
func (l *lane) signal() {
	if len(l.ready) == 0 {
		return
	}
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// send publishes what arrives through conn until ctx ends or conn does.
func (r *receipts) send(ctx context.Context, conn broker.Conn) {
	var senders sync.WaitGroup
	r.in.parts.Go(&senders, "the connection to the broker", func() { r.sendLane(ctx, conn, &r.sound) })
	for range doubtfulSenders {
		r.in.parts.Go(&senders, "the connection to the broker", func() { r.sendLane(ctx, conn, &r.doubtful) })
	}
	senders.Wait()
}

// sendLane publishes what is ready in a lane.
func (r *receipts) sendLane(ctx context.Context, conn broker.Conn, l *lane) {
	r.mu.Lock()
	l.signal() // for what waits from the last connection
	r.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-conn.Done():
			return
		case <-l.more:
		}
		if !r.flush(ctx, conn, l) {
			return
		}
	}
}

// parcel is one message of receipts, and what became of it.
type parcel struct {
	to      *receiptQueue
	message broker.Message
	carried []waybill.Receipt
	result  broker.Result
}

// flush publishes some of what is ready in a lane, and reports whether the connection is
// still of use.
func (r *receipts) flush(ctx context.Context, conn broker.Conn, l *lane) bool {
	parcels := r.take(l)
	if len(parcels) == 0 {
		return true
	}
	messages := make([]broker.Message, len(parcels))
	for i := range parcels {
		messages[i] = parcels[i].message
	}
	crash.Point("inbox.receipt.before")
	results, _, err := publish.Batch(ctx, conn, messages, r.in.o.Receipts)
	crash.Point("inbox.receipt.after")
	for i := range parcels {
		parcels[i].result = results[i]
	}
	isOver := err != nil || ctx.Err() != nil
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(parcels) > 0 {
		n := 1
		for n < len(parcels) && parcels[n].to == parcels[0].to {
			n++
		}
		r.published(ctx, parcels[0].to, parcels[:n], isOver)
		parcels = parcels[n:]
	}
	return err == nil
}

// take returns messages for what is ready: in the lane of the sound queues for all of
// them, in the other one a single message.
func (r *receipts) take(l *lane) (parcels []parcel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer l.signal()
	for bytes := 0; len(l.ready) > 0 && bytes < maxTogether; {
		a := l.pop()
		a.state = sending
		for len(a.waiting) > 0 && bytes < maxTogether {
			m, n := wire.PackReceipts(a.queue, r.in.o.Consumer, a.waiting, a.limit)
			m.MustExist = r.mustExist && !a.isAdmitted
			carried := a.waiting[:n:n]
			a.waiting = a.waiting[n:]
			r.shrink(a, amountOf(carried))
			parcels = append(parcels, parcel{to: a, message: m, carried: carried})
			if !a.sound {
				return parcels
			}
			bytes += len(m.Body)
		}
	}
	return parcels
}

// published deals with what became of the messages to one queue. isOver says that the
// connection has ended, or the inbox stops, which others report. r.mu is held.
func (r *receipts) published(ctx context.Context, a *receiptQueue, parcels []parcel, isOver bool) {
	var again []waybill.Receipt
	worst, reason := taken, error(nil)
	for i := range parcels {
		p := &parcels[i]
		became, back := r.judge(a, p, isOver)
		if became > worst {
			worst, reason = became, p.result.Err
		}
		more := amountOf(back)
		switch {
		case became == taken:
			r.in.counters.receipts.Add(int64(len(p.carried)))
		case len(back) == 0, !r.hasRoom(a, more):
			r.in.counters.receiptsLost.Add(int64(len(p.carried)))
		default:
			again = append(again, back...)
			r.grow(a, more)
		}
	}
	a.waiting = append(again, a.waiting...)
	r.tell(ctx, a, worst, reason)
	r.settle(a, worst)
}

// became is what became of a message of receipts; what is worse is greater.
type became int

const (
	taken       became = iota
	interrupted        // by the end of the connection, or of the inbox: nothing is known
	tooLarge           // sent again in smaller messages
	doubted            // the broker has not said; sent again later
	missing            // there is no queue yet; sent again later
	unmade             // there is none, and one is made now
	refused            // lost: the queue is full, or must not be written to
	unwanted           // lost: there is no queue, and too many were made
)

// judge says what became of a message, and returns the receipts that are to be sent again.
// r.mu is held.
func (r *receipts) judge(a *receiptQueue, p *parcel, isOver bool) (became, []waybill.Receipt) {
	switch p.result.Fate {
	case broker.Confirmed:
		return taken, nil
	case broker.Unknown:
		if isOver {
			return interrupted, p.carried
		}
		return doubted, p.carried
	case broker.Unacceptable:
		if len(p.carried) > 1 {
			a.limit = len(p.message.Body) / 2
			return tooLarge, p.carried
		}
		if short, ok := shortened(p.carried[0]); ok {
			return tooLarge, []waybill.Receipt{short}
		}
	case broker.Refused:
		if p.message.MustExist && errors.Is(p.result.Err, broker.ErrNoQueue) {
			if became := r.judgeMissing(a); became != unwanted {
				return became, p.carried
			}
			return unwanted, nil
		}
	}
	return refused, nil
}

// shortError is how much of an error is sent where the broker does not take more, in bytes.
const shortError = 200

// shortened is a receipt with less of its error; false where there is not more of it.
func shortened(r waybill.Receipt) (waybill.Receipt, bool) {
	if len(r.Error) <= shortError {
		return r, false
	}
	r.Error = strings.ToValidUTF8(r.Error[:shortError], "")
	return r, true
}

// tell has the log tell what went wrong at a queue. r.mu is held.
func (r *receipts) tell(ctx context.Context, a *receiptQueue, worst became, reason error) {
	what, said := "receipts "+a.queue, errorText(reason)
	why := said
	switch worst {
	case taken:
		r.in.repeats.Over(what)
		return
	case doubted, refused:
	case unwanted:
		what, why = "receipts without a queue", "" // whatever the names that strangers make up
	default:
		return
	}
	times, due := r.in.repeats.Due(what, why)
	if !due {
		return
	}
	about := []any{slog.String("queue", a.queue), slog.Int64("times", times), slog.String("error", said)}
	switch worst {
	case doubted:
		r.in.log.WarnContext(ctx, "receipts not taken by the broker; they are sent again", about...)
	case unwanted:
		r.in.log.WarnContext(ctx, "receipts dropped: their queue does not exist, and this inbox has made many; a producer makes its queue before it sends", about...)
	default:
		r.in.log.WarnContext(ctx, "receipts not taken by the broker; the messages' next copies bring new ones", about...)
	}
}

// settle has a queue rest, wait or be sent to again after messages to it. r.mu is held.
func (r *receipts) settle(a *receiptQueue, worst became) {
	defer r.rest() // only now, where there is more to send
	a.state = resting
	switch worst {
	case taken:
		r.setSound(a, true)
		r.known.Set(a.queue, a.limit)
		a.wait.Reset()
		a.isAdmitted, a.missing = !r.mustExist, 0
	case doubted, missing, refused, unwanted:
		r.setSound(a, false)
		r.known.Delete(a.queue)
	}
	switch {
	case len(a.waiting) == 0:
		r.shrink(a, a.size)
		delete(r.queues, a.queue)
	case worst == doubted, worst == missing:
		r.delay(a)
	default:
		r.makeReady(a)
	}
}

// setSound moves a queue to the other lane, where it is not there yet. r.mu is held.
func (r *receipts) setSound(a *receiptQueue, sound bool) {
	if a.sound == sound {
		return
	}
	size := a.size
	r.shrink(a, size)
	a.sound = sound
	r.grow(a, size)
}

// errorText is an error's text, and says so where there is no error.
func errorText(err error) string {
	if err == nil {
		return "no reason given"
	}
	return err.Error()
}

// drain waits until all that can be sent now is sent, or ctx ends. Without a connection
// there is nothing to wait for.
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
