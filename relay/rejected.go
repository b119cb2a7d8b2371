package relay

import (
	"context"
	"maps"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/store"
)

// A rejected row holds the floor for Options.RejectedHold from its rejection, and not from its
// id's time alone: a message may have waited for its consumer for longer than that. No index has
// the rows in the order of their rejections (each message would pay for it), so the relay
// remembers the lowest id of what was rejected in each part of that time. It reads that from the
// table now and then, and adds what it rejects itself.

const (
	// holdParts is how many parts the time has in which rejected rows hold the floor: an hour
	// each by default. A row holds it for up to a part longer.
	holdParts = 72
	// rejectionsSoon and rejectionsLate bound the time between two readings, which doubles: the
	// first ones come soon for what a relay has rejected that led until this term began, and the
	// others for what was sent again or discarded since, and holds the floor no more.
	rejectionsSoon, rejectionsLate = 10 * time.Second, time.Hour
	// rejectionsLimit bounds a reading: there may be millions of rejected rows, and as long as
	// none has come to its end no floor is told.
	rejectionsLimit = 5 * time.Minute
)

// rejections are the lowest ids of what was rejected lately, by parts of time.
type rejections struct {
	width int64 // of a part, in µs; 0: rejected rows hold no floor

	mu       sync.Mutex
	underway map[waybill.ID]int   // of what is being rejected: how often
	known    map[int64]waybill.ID // by part, the highest number being the latest; nil until the table was read
	since    map[int64]waybill.ID // what was added since the last reading began
}

func newRejections(hold time.Duration) rejections {
	var width int64
	if hold >= 0 {
		width = max(hold/holdParts, time.Millisecond).Microseconds()
	}
	return rejections{width: width, underway: map[waybill.ID]int{}, since: map[int64]waybill.ID{}}
}

// begin notes that a row is about to be rejected: it holds the floor from now on, since it is
// not pending any more before anybody here knows.
func (r *rejections) begin(id waybill.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.underway[id]++
}

// end notes whether a row has been rejected, as of a time in µs, or may have been.
func (r *rejections) end(id waybill.ID, at int64, rejected bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.underway[id]--; r.underway[id] == 0 {
		delete(r.underway, id)
	}
	if !rejected || r.width == 0 {
		return
	}
	lower(r.since, at/r.width, id)
	if r.known != nil {
		lower(r.known, at/r.width, id)
	}
}

// lower takes an id for a part, where that has none that is lower.
func lower(parts map[int64]waybill.ID, part int64, id waybill.ID) {
	if have, ok := parts[part]; !ok || id.Compare(have) < 0 {
		parts[part] = id
	}
}

// reading notes that the table is about to be read: what is added from now on may not be in
// what is read.
func (r *rejections) reading() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = map[int64]waybill.ID{}
}

// read takes what the table has in place of what was known before.
func (r *rejections) read(found []store.Rejection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known = maps.Clone(r.since)
	for _, f := range found {
		lower(r.known, f.At/r.width, f.Lowest)
	}
}

// lowest returns the lowest id of what was rejected at a time, in µs, or later, or is being
// rejected; the zero ID where there is none. It is not known until the table was read.
func (r *rejections) lowest(from int64) (lowest waybill.ID, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.width == 0 {
		return lowest, true
	}
	maps.DeleteFunc(r.known, func(part int64, _ waybill.ID) bool { return part < from/r.width })
	for _, id := range r.known {
		lowest = lowerOf(lowest, id)
	}
	for id := range r.underway {
		lowest = lowerOf(lowest, id)
	}
	return lowest, r.known != nil
}

// lowerOf is the lower of two ids, of which the zero ID is none.
func lowerOf(a, b waybill.ID) waybill.ID {
	if a.IsZero() || !b.IsZero() && b.Compare(a) < 0 {
		return b
	}
	return a
}

// readRejections reads when rows were rejected.
func (p *pump) readRejections(ctx context.Context) (bool, error) {
	r, began := &p.t.rejections, time.Now()
	if r.width == 0 {
		p.nextRejections = began.Add(rejectionsLate)
	}
	if began.Before(p.nextRejections) {
		return false, nil
	}
	now := p.databaseNow()
	r.reading()
	crash.Point("relay.rejections.before")
	// A part beyond the clock is for a clock that was set back.
	found, err := p.t.r.queue.Rejections(ctx, now-p.t.r.o.RejectedHold.Microseconds(), now+r.width, r.width)
	crash.Point("relay.rejections.after")
	if err != nil {
		return false, err
	}
	r.read(found)
	p.nextRejections = began.Add(max(backoff.Doubled(rejectionsSoon, p.rejectionsRead, rejectionsLate), 100*time.Since(began)))
	p.rejectionsRead++
	return false, nil
}
