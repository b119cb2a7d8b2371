package inbox

import (
	"log/slog"
	"strconv"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/recent"
	"github.com/waybill-go/waybill/store"
)

// versions watch for keys whose version has gone back: a producer that stamps its states
// with versions of its own has begun to count anew, and every state from then on is older
// than what was applied.
type versions struct {
	mu   sync.Mutex
	told recent.Map[versionedKey, *backward]
}

type versionedKey struct {
	destination string
	topic       bool
	key         string
}

// backward is a key whose version has gone back.
type backward struct {
	count int64
	next  int64 // the count at which it is told again
}

// maxBackward is how many keys are remembered at least.
const maxBackward = 1000

// ownVersion is how far a time stamp is from the time at which its message was made where
// it is no clock's, but a version of the producer's own.
const ownVersion = 24 * time.Hour

// hasGoneBack says whether a state that was superseded was made after the one that was
// applied. With time stamps by the clock that is two senders at one time, and no more.
func hasGoneBack(m store.Mark, applied waybill.ID) bool {
	distance := m.ID.Time().Sub(time.UnixMicro(m.TimeStamp))
	return distance.Abs() > ownVersion && m.ID.Time().After(applied.Time())
}

// noteSuperseded takes a state that is not applied, and the message that was. It tells of
// a key whose version has gone back at the first, second, fourth, eighth time and so on,
// and of a few keys at a time.
func (in *Inbox) noteSuperseded(m store.Mark, applied waybill.ID) {
	if !hasGoneBack(m, applied) {
		return
	}
	in.counters.wentBack.Add(1)
	key := versionedKey{m.Destination, m.Topic, m.Key}
	in.versions.mu.Lock()
	defer in.versions.mu.Unlock()
	in.versions.told.Most = maxBackward
	b, _ := in.versions.told.Get(key)
	if b == nil {
		b = &backward{next: 1}
		in.versions.told.Set(key, b)
	}
	if b.count++; b.count < b.next {
		return
	}
	b.next *= 2
	if _, due := in.repeats.Due("versions at "+m.Destination, m.Key+" "+strconv.FormatInt(b.next, 10)); !due {
		return
	}
	in.log.Warn("a state is skipped that was made after the one that was applied: its version has gone back; has the producer begun to count anew?",
		slog.String("destination", m.Destination), slog.String("key", m.Key), slog.Int64("time_stamp", m.TimeStamp),
		slog.String("id", m.ID.String()), slog.String("applied", applied.String()), slog.Int64("times", b.count))
}
