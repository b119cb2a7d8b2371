package store

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// passes remembers what a process has pruned, so that it does not walk through it again.
// Of all that it says nothing depends but time.
type passes struct {
	mu sync.Mutex
	// last are the producers' horizons at the last pass, and before at the one before it.
	// A pass begins at those, since a guard that had read the lower horizon may have
	// written a record behind the last pass.
	last, before map[string]waybill.ID
	whole        time.Time // when a pass last began at the lowest id
	walk         walk
	// strange is the highest horizon of sources that were met without one, until the walk
	// has looked below it.
	strange waybill.ID
}

// walk is how far pruneStrays has come: round and round, from anywhere to the end, and from
// the lowest id to where it began.
type walk struct {
	going     bool
	at, begun waybill.ID
	wrapped   bool
	ended     bool
}

const (
	// wholeEvery is the time between two passes that begin at the lowest id, for records
	// that were written later still, or left by another process.
	wholeEvery = 6 * time.Hour
	// strayWindows is how many windows a pass looks for strays in: with 1,000 records each,
	// and a pass a minute, 28 million records a day.
	strayWindows = 20
)

// idRange is the ids from one to below another one.
type idRange struct{ from, to waybill.ID }

// meet notes where the passes of sources begin that this process has not met yet: at the
// horizon that is stored, before this pass raises it, also where this pass then fails. What
// is below, another process has passed, or left behind as it died.
//
// A source without a stored horizon may have records of any age: a new outbox's backlog, or
// whatever nobody has pruned for long. But anybody can make sources up, and who does must not
// have the whole table walked at once. So its passes begin at its first horizon, and below
// that, strays are looked for. Only where nothing was ever forgotten, all begin at the
// lowest id.
func (p *passes) meet(known []Horizon, horizons map[string]waybill.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.before == nil {
		p.before = make(map[string]waybill.ID, len(known))
	}
	first := !slices.ContainsFunc(known, func(h Horizon) bool { return !h.ID.IsZero() })
	for _, h := range known {
		if _, met := p.before[h.Producer]; met {
			continue
		}
		p.before[h.Producer] = h.ID
		if h.ID.IsZero() && !first {
			p.before[h.Producer] = horizons[h.Producer]
			p.strange = higher(p.strange, horizons[h.Producer])
			p.walk.begun, p.walk.wrapped = p.walk.at, false // once round from here
		}
	}
}

// next returns where a pass has to look: between each producer's horizon of the pass before
// the last one and its present one, and where the pass is a whole one, from the lowest id to
// the lowest horizon; sorted and merged. What lies between two producers' horizons is not
// walked: it is a day of records or more where their retentions differ.
func (p *passes) next(horizons map[string]waybill.ID) (due []idRange, whole bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for producer, horizon := range horizons {
		if passed := p.before[producer]; horizon.Compare(passed) > 0 {
			due = append(due, idRange{passed, horizon})
		}
	}
	whole = p.whole.IsZero() || time.Since(p.whole) >= wholeEvery
	if lowest, _ := bounds(horizons); whole && !lowest.IsZero() {
		due = append(due, idRange{to: lowest})
	}
	slices.SortFunc(due, func(a, b idRange) int { return a.from.Compare(b.from) })
	merged := due[:0]
	for _, r := range due {
		if n := len(merged); n > 0 && r.from.Compare(merged[n-1].to) <= 0 {
			if r.to.Compare(merged[n-1].to) > 0 {
				merged[n-1].to = r.to
			}
			continue
		}
		merged = append(merged, r)
	}
	return merged, whole
}

// done notes a pass that has come to its end.
func (p *passes) done(horizons map[string]waybill.ID, whole bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	begun := p.before
	p.before, p.last = p.last, horizons
	if p.before == nil {
		p.before = make(map[string]waybill.ID, len(horizons))
	}
	for producer := range horizons {
		if _, had := p.before[producer]; !had { // this was its first pass
			p.before[producer] = begun[producer]
		}
	}
	if whole {
		p.whole = time.Now()
	}
}

// strays returns where to look for strays, records that are to be forgotten and that no pass
// comes by: from where the last look has ended, and below what; zero: nowhere.
//
// A source that was met without a horizon may have some below its first one. All others go
// with whole passes, unless a floor, or what waits in n_rejected, holds the lowest horizon
// back: for days, or for good where it is the floor of an outbox that is no more. Then they
// are looked for below old, the time of the longer retention. That may be the records of
// weeks, which are to stay, so that each pass reads a part. The first one begins anywhere,
// and so processes that do not live for long come everywhere in the end.
func (p *passes) strays(horizons map[string]waybill.ID, old waybill.ID) (from walk, to waybill.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	to = p.strange
	lowest, highest := bounds(horizons)
	if old.Compare(highest) > 0 {
		old = highest // nothing above is anybody's to forget
	}
	if old.Compare(lowest) > 0 {
		to = higher(to, old)
	}
	if to.IsZero() {
		p.walk = walk{}
		return p.walk, to
	}
	if !p.walk.going {
		p.walk = walk{going: true}
		if span := to.Time().Sub(lowest.Time()); span > 0 {
			p.walk.at = waybill.LowestID(lowest.Time().Add(rand.N(span)))
			p.walk.begun = p.walk.at
		}
	}
	return p.walk, to
}

// strayed notes how far a look has come.
func (p *passes) strayed(w walk) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.walk = w; w.ended {
		p.walk = walk{going: true}
		p.strange = waybill.ID{}
	}
}

// bounds are the lowest and the highest of horizons; zero where there are none.
func bounds(horizons map[string]waybill.ID) (lowest, highest waybill.ID) {
	first := true
	for _, horizon := range horizons {
		if first || horizon.Compare(lowest) < 0 {
			lowest = horizon
		}
		highest = higher(highest, horizon)
		first = false
	}
	return lowest, highest
}

func higher(a, b waybill.ID) waybill.ID {
	if a.Compare(b) > 0 {
		return a
	}
	return b
}

// justBelow is the id before one; of the lowest, itself.
func justBelow(id waybill.ID) waybill.ID {
	if id.IsZero() {
		return id
	}
	for i := len(id) - 1; ; i-- {
		id[i]--
		if id[i] != 0xff {
			return id
		}
	}
}

// justAbove is the id behind one; of the highest, itself.
func justAbove(id waybill.ID) waybill.ID {
	above := id
	for i := len(above) - 1; i >= 0; i-- {
		above[i]++
		if above[i] != 0 {
			return above
		}
	}
	return id
}
