package inbox

import (
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/backoff"
)

// receiptQueue is a queue for receipts, with what waits for it. The lock of receipts guards it.
type receiptQueue struct {
	queue   string
	waiting []waybill.Receipt
	size    amount // of what waits, and of the name
	limit   int    // of the bytes of a message
	state   queueState
	sound   bool // it has taken receipts, and nothing has gone wrong since
	// isAdmitted says that a message to it may make the queue.
	isAdmitted bool
	hasWaited  bool // to be admitted
	missing    int  // how often there was no such queue
	wait       backoff.Backoff
}

// queueState says whether a queue is sent to.
type queueState int

const (
	resting queueState = iota // nothing is sent to it
	ready                     // it is in its lane
	sending
	delayed // until its delay is over
)

// The delays between tries at a queue at which something is wrong.
const (
	leastQueueDelay = 500 * time.Millisecond
	mostQueueDelay  = time.Minute
)

// newQueue returns a queue for which nothing waits. r.mu is held.
func (r *receipts) newQueue(queue string) *receiptQueue {
	limit, sound := r.known.Get(queue)
	if !sound {
		limit = r.most
	}
	return &receiptQueue{
		queue: queue, limit: limit, sound: sound, isAdmitted: sound && !r.mustExist,
		wait: backoff.Backoff{Least: leastQueueDelay, Most: mostQueueDelay},
	}
}

// missingTimes is how often a queue has to be missing until it is made, where half of those
// that may be made are: whoever sent the message may be about to make it.
const missingTimes = 3

// judgeMissing says what is to be done where there is no queue. r.mu is held.
func (r *receipts) judgeMissing(a *receiptQueue) became {
	if a.missing++; a.missing < missingTimes && r.admission.isScarce() {
		return missing
	}
	if a.isAdmitted = r.admission.take(time.Now()); a.isAdmitted {
		return unmade
	}
	return unwanted
}

// admission bounds the queues that an inbox makes for receipts: so many at once, and after
// that one in each interval.
type admission struct {
	most  int
	every time.Duration
	left  int       // may be made now
	since time.Time // from when on the interval counts
}

// newAdmission is the bound for a broker that can say that a queue is missing, or for one
// that makes a queue for every message. There, every producer's queue counts when its first
// receipt goes, whether it was there or not.
func newAdmission(mustExist bool) admission {
	if mustExist {
		return admission{most: 100, left: 100, every: 10 * time.Minute}
	}
	return admission{most: 1000, left: 1000, every: time.Second}
}

// newcomers is the bound for queues that come for the first time when admission's is used up.
func newcomers() admission { return admission{most: 10, left: 10, every: 500 * time.Millisecond} }

// isScarce reports whether half of what may be made has been made.
func (b *admission) isScarce() bool { return b.left <= b.most/2 }

// take reports whether one more queue may be made.
func (b *admission) take(now time.Time) bool {
	if b.left == b.most {
		b.since = now
	}
	if n := int(now.Sub(b.since) / b.every); n > 0 {
		b.left = min(b.left+n, b.most)
		b.since = b.since.Add(time.Duration(n) * b.every)
	}
	if b.left == 0 {
		return false
	}
	b.left--
	return true
}
