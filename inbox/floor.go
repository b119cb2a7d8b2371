package inbox

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/recent"
)

// floors are what producers tell with their messages: each one's highest floor, and the
// one that the database has.
type floors struct {
	mu    sync.Mutex
	known recent.Map[string, producerFloor]
}

// producerFloor is what one producer has told.
type producerFloor struct {
	highest  waybill.ID
	stored   waybill.ID
	isStored bool // stored is what the database has
}

// maxProducers is how many producers are remembered at least: those whose messages came
// last. Their names come with messages, which could name any number.
const maxProducers = 5000

// note takes a floor that came with a message; the zero ID says that the producer
// tells none.
func (f *floors) note(producer string, floor waybill.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known.Most = maxProducers
	known, ok := f.known.Get(producer)
	if !ok || floor.Compare(known.highest) > 0 {
		known.highest = floor
		f.known.Set(producer, known)
	}
}

// unsaved returns the floors that the database does not have yet.
func (f *floors) unsaved() map[string]waybill.ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	unsaved := map[string]waybill.ID{}
	for producer, known := range f.known.All() {
		if !known.isStored || known.stored != known.highest {
			unsaved[producer] = known.highest
		}
	}
	return unsaved
}

// saved notes that the database has a floor.
func (f *floors) saved(producer string, floor waybill.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ok := f.known.Get(producer); ok {
		known.stored, known.isStored = floor, true
		f.known.Set(producer, known)
	}
}

const (
	// floorsEvery is the longest time between two looks for floors that are to be stored.
	floorsEvery = time.Minute
	// lastFloors bounds the storing of floors at a stop.
	lastFloors = time.Second
)

// saveFloorsRepeatedly stores floors until ctx ends. Whoever prunes needs them: this
// process, others of its consumer, or 'waybill prune'.
func (in *Inbox) saveFloorsRepeatedly(ctx context.Context) {
	every := floorsEvery
	if in.o.PruneEvery > 0 {
		every = min(every, in.o.PruneEvery)
	}
	for {
		// With jitter, so that the processes of one consumer do not write in step.
		backoff.Sleep(ctx, backoff.Jittered(every))
		if ctx.Err() != nil {
			return
		}
		if err := in.saveFloors(ctx); err != nil && ctx.Err() == nil {
			if times, due := in.repeats.Due("floors", err.Error()); due {
				in.log.WarnContext(ctx, "producers' floors not stored; trying again later", slog.Int64("times", times), slog.Any("error", err))
			}
		}
	}
}

// saveLastFloors stores what a process has been told since the last look, which for one that
// runs for seconds is all. It takes no more than lastFloors; what is not stored then, a
// later process is told.
func (in *Inbox) saveLastFloors(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastFloors)
	defer cancel()
	if err := in.saveFloors(ctx); err != nil {
		in.log.DebugContext(ctx, "producers' floors not stored at the stop", slog.Any("error", err))
	}
}

// saveFloors stores the floors that the database does not have. One that cannot be stored
// does not keep the others from it.
func (in *Inbox) saveFloors(ctx context.Context) error {
	var problems []error
	for producer, floor := range in.floors.unsaved() {
		if ctx.Err() != nil {
			return errors.Join(append(problems, ctx.Err())...)
		}
		crash.Point("inbox.floor.before")
		err := in.ledger.SaveFloor(ctx, producer, floor)
		crash.Point("inbox.floor.after")
		if err != nil {
			problems = append(problems, err)
			continue
		}
		in.floors.saved(producer, floor)
	}
	return errors.Join(problems...)
}
