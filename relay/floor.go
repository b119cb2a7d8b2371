package relay

import (
	"context"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
)

const (
	// floorEvery is the least time between two looks for the floor, and emptyEvery
	// where no row was pending: the first one may come at any time.
	floorEvery = 2 * time.Second
	emptyEvery = 200 * time.Millisecond
	// idleEvery bounds that time where nothing is sent meanwhile: it doubles up to there.
	idleEvery = 5 * time.Minute
	// defaultRejectedHold is for how long rejected rows hold the floor: a weekend.
	defaultRejectedHold = 72 * time.Hour
	// emptyMargin is how far below the clock the floor is where no row is pending. It
	// costs a consumer nothing whose retention is longer.
	emptyMargin = 24 * time.Hour
)

// readFloor learns the time of the oldest pending row. The lowest id of that time travels
// with every message: the row's own would tell every consumer what ends that message. An
// old floor is a low one and does no harm, so a slow query is not asked often.
func (p *pump) readFloor(ctx context.Context) (bool, error) {
	began := time.Now()
	if began.Before(p.nextFloor) {
		return false, nil
	}
	// The id of a delayed row is of the time at which it is due: ahead of the clock, and
	// no floor.
	now := time.UnixMicro(p.databaseNow())
	// A row that is sent again meanwhile is found as a rejected one, which are read first, or as
	// a pending one. One that is rejected is found as a pending one, or is noted before.
	heldFrom := now.Add(-p.t.r.o.RejectedHold).UnixMicro()
	rejected, known := p.t.rejections.lowest(heldFrom)
	if !known {
		p.nextFloor = began.Add(emptyEvery) // the last relay may have told of a lower one
		return false, nil
	}
	byID, err := p.t.r.rejectedFloor(ctx, now)
	if err != nil {
		return false, err
	}
	crash.Point("relay.floor.before")
	floor, err := p.t.r.queue.FloorBelow(ctx, waybill.LowestID(now))
	crash.Point("relay.floor.after")
	if err != nil {
		return false, err
	}
	since, _ := p.t.rejections.lowest(heldFrom)
	rejected = lowerOf(lowerOf(rejected, byID), since)
	every := floorEvery
	if floor.IsZero() {
		// A consumer that is told no floor forgets by the clock alone. This one leaves a
		// day for what is about to commit, and for clocks that differ.
		every = emptyEvery
		floor = waybill.LowestID(now.Add(-emptyMargin))
	}
	if !rejected.IsZero() && rejected.Compare(floor) < 0 {
		floor = rejected
	}
	text := waybill.LowestID(floor.Time()).String()
	p.t.floor.Store(&text)
	// What nobody is told need not be new.
	published := p.t.r.counters.published.Load()
	if published == p.floorPublished {
		p.floorIdle++
	} else {
		p.floorPublished, p.floorIdle = published, 0
	}
	p.nextFloor = began.Add(max(backoff.Doubled(every, p.floorIdle, idleEvery), 100*time.Since(began)))
	return false, nil
}

// rejectedFloor is the lowest id of the rejected rows whose ids' time is one in which rejected
// rows hold the floor, so that a person can have them sent again and their consumers still know
// whether they took effect; the zero ID where there are none. That time is the one of Send or,
// of a delayed message, the one for which it was due. It is all that is known of rows that
// others have rejected, as a person by SQL; for all others see rejections.
func (r *Relay) rejectedFloor(ctx context.Context, now time.Time) (waybill.ID, error) {
	if r.o.RejectedHold < 0 {
		return waybill.ID{}, nil
	}
	crash.Point("relay.rejected.before")
	id, err := r.queue.RejectedFloor(ctx, waybill.LowestID(now.Add(-r.o.RejectedHold)))
	crash.Point("relay.rejected.after")
	return id, err
}
