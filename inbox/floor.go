package inbox

import (
	"sync"

	waybill "github.com/waybill-go/waybill"
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
