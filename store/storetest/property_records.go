package storetest

import (
	"cmp"
	"maps"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// destinationKey is a key of a destination, which is a queue or a topic.
type destinationKey struct {
	destination string
	topic       bool
	key         string
}

// records is what one consumer's tables should hold, as maps.
type records struct {
	once      map[waybill.ID]store.Mark
	latest    map[destinationKey]store.Mark
	producers map[string]store.Horizon
	// forgotten are the highest time stamps of states that were forgotten, by destination.
	forgotten map[destinationKey]int64
}

func newRecords() *records {
	return &records{once: map[waybill.ID]store.Mark{}, latest: map[destinationKey]store.Mark{}, producers: map[string]store.Horizon{}, forgotten: map[destinationKey]int64{}}
}

func (r *records) clone() *records {
	return &records{once: maps.Clone(r.once), latest: maps.Clone(r.latest), producers: maps.Clone(r.producers), forgotten: maps.Clone(r.forgotten)}
}

// record is what a guard says of each mark.
func (r *records) record(level waybill.Level, marks []store.Mark) []store.Verdict {
	var verdicts []store.Verdict
	for _, m := range marks {
		verdict := r.recordLatest
		if level == waybill.Once {
			verdict = r.recordOnce
		}
		verdicts = append(verdicts, verdict(m))
	}
	return verdicts
}

func (r *records) recordOnce(m store.Mark) store.Verdict {
	if _, found := r.once[m.ID]; found {
		return store.Duplicate
	}
	r.once[m.ID] = store.Mark{ID: m.ID, Producer: m.Producer, TimeStamp: m.TimeStamp}
	if m.ID.Compare(r.producers[m.Producer].ID) < 0 {
		return store.Forgotten
	}
	return store.Fresh
}

func (r *records) recordLatest(m store.Mark) store.Verdict {
	at := destinationKey{m.Destination, m.Topic, m.Key}
	last, found := r.latest[at]
	switch {
	case found && last.ID == m.ID:
		return store.Duplicate
	case found && cmp.Or(cmp.Compare(m.TimeStamp, last.TimeStamp), m.ID.Compare(last.ID)) < 0:
		return store.Superseded
	}
	r.latest[at] = m
	if stamp, some := r.forgotten[destinationKey{destination: m.Destination, topic: m.Topic}]; some && m.TimeStamp <= stamp {
		return store.Forgotten
	}
	return store.Fresh
}

// saveFloor makes a producer known, with its floor where there is one.
func (r *records) saveFloor(producer string, floor waybill.ID) {
	h := r.producers[producer]
	h.Producer = producer
	if floor.Compare(h.Floor) > 0 {
		h.Floor = floor
	}
	r.producers[producer] = h
}

// prune forgets what is lower by the retention than its producer's floor, or than now; of a
// key's latest state nothing.
func (r *records) prune(now time.Time, retention time.Duration) (deleted int64) {
	for producer, h := range r.producers {
		until := now
		if !h.Floor.IsZero() && h.Floor.Time().Before(until) {
			until = h.Floor.Time()
		}
		if horizon := waybill.LowestID(until.Add(-retention)); horizon.Compare(h.ID) > 0 {
			h.ID = horizon
		}
		r.producers[producer] = h
	}
	old := func(m store.Mark) bool {
		if m.ID.Compare(r.producers[m.Producer].ID) >= 0 {
			return false
		}
		deleted++
		return true
	}
	maps.DeleteFunc(r.once, func(_ waybill.ID, m store.Mark) bool { return old(m) })
	return deleted
}

// forgetStates forgets the states that are older than a time and below their producer's
// horizon, but in destinations where one is stamped with what is no time, or none of now.
func (r *records) forgetStates(before, ahead int64) (deleted int64) {
	old := func(m store.Mark) bool {
		return m.TimeStamp < before && m.ID.Compare(r.producers[m.Producer].ID) < 0
	}
	versions, highest := map[destinationKey]bool{}, map[destinationKey]int64{}
	for at, m := range r.latest {
		at.key = ""
		versions[at] = versions[at] || m.TimeStamp < store.FirstTime || m.TimeStamp > ahead
		if old(m) {
			highest[at] = max(highest[at], m.TimeStamp)
		}
	}
	for at, stamp := range highest {
		if !versions[at] {
			r.forgotten[at] = max(r.forgotten[at], stamp)
		}
	}
	maps.DeleteFunc(r.latest, func(at destinationKey, m store.Mark) bool {
		at.key = ""
		stamp, some := r.forgotten[at]
		gone := some && m.TimeStamp <= stamp && old(m)
		if gone {
			deleted++
		}
		return gone
	})
	return deleted
}

func (r *records) horizons() []store.Horizon {
	return slices.SortedFunc(maps.Values(r.producers), func(a, b store.Horizon) int { return cmp.Compare(a.Producer, b.Producer) })
}
