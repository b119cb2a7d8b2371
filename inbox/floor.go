package inbox

import (
	"sync"

	waybill "github.com/waybill-go/waybill"
)

// floors are what producers tell with their messages: each one's highest floor, and the
// one that the database has.
type floors struct {
	mu      sync.Mutex
	highest map[string]waybill.ID
	stored  map[string]waybill.ID
}

// maxProducers bounds the producers that are remembered: their names come with
// messages, which could name any number.
const maxProducers = 10_000

// note takes a floor that came with a message; the zero ID says that the producer
// tells none.
func (f *floors) note(producer string, floor waybill.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.highest == nil {
		f.highest, f.stored = map[string]waybill.ID{}, map[string]waybill.ID{}
	}
	known, ok := f.highest[producer]
	if !ok && len(f.highest) >= maxProducers {
		return
	}
	if !ok || floor.Compare(known) > 0 {
		f.highest[producer] = floor
	}
}

// unsaved returns the floors that the database does not have yet.
func (f *floors) unsaved() map[string]waybill.ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	unsaved := map[string]waybill.ID{}
	for producer, floor := range f.highest {
		if stored, ok := f.stored[producer]; !ok || stored != floor {
			unsaved[producer] = floor
		}
	}
	return unsaved
}

// saved notes that the database has a floor.
func (f *floors) saved(producer string, floor waybill.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stored[producer] = floor
}
