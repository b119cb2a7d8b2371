package torture

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/waybill-go/waybill/store"
)

// clock is what is known of the clock of the producers' database.
type clock struct {
	began, ended int64         // µs: it showed this before the first message and after the last one
	ahead        time.Duration // of this host's clock
}

// readClock asks the producers' database what its clock shows.
func (r *run) readClock(ctx context.Context) (us int64, err error) {
	queue, err := store.NewQueue(r.producerDB.DB, r.producerDB.dialect, r.prefix)
	if err != nil {
		return 0, err
	}
	return queue.Clock(ctx)
}

// stamp is what one effect's message said of its place in the order.
type stamp struct {
	violation
	place
	key                 string // "" for none
	sequence, timeStamp int64
	happened, due       int64 // by a consumer's clock, and by its producer's
}

// checkStamps: at every consumer, a message has the place in its key's order in which it was
// committed: the sequence counts from 1 without gaps, and time stamps rise. All consumers see
// the same. Where the producers' database was restored, the sequence counts again from where it
// was then, and time stamps go on. A message without a key has no sequence. Every time stamp is of the run, by the
// database's clock. Nothing takes effect before its time.
func (c *checker) checkStamps(ctx context.Context) error {
	keys := map[string]map[place]stamp{}
	err := c.consumerDB.each(ctx, `SELECT kind, ref, version, token, sequence, time_stamp, happened, due FROM {effect} ORDER BY n`, func(rows *sql.Rows) error {
		var s stamp
		var version int64
		var token string
		if err := rows.Scan(&s.kind, &s.ref, &version, &token, &s.sequence, &s.timeStamp, &s.happened, &s.due); err != nil {
			return err
		}
		known := true
		switch s.kind {
		case foreignKind:
			return nil
		case transferKind, noticeKind:
		case parcelKind:
			var of state
			if of, known = c.committed.parcels[s.ref]; !known {
				of, known = c.undone.messages.parcels[s.ref]
			}
			s.key, version = of.id, of.version
		case errandKind:
			var of state
			if of, known = c.committed.errands[s.ref]; !known {
				of, known = c.undone.messages.errands[s.ref]
			}
			s.key, version = of.id, of.version
		case auditGroup:
			s.key, version = auditedState(s.ref)
		case latestGroup, mirrorGroup:
			s.key = s.ref
		default:
			known = false
		}
		if !known {
			return nil // it is a phantom
		}
		s.violation.version, s.place = version, c.undone.place(version, token)
		c.checkStamp(s)
		if s.key == "" {
			return nil
		}
		if keys[s.key] == nil {
			keys[s.key] = map[place]stamp{}
		}
		if other, seen := keys[s.key][s.place]; seen && other.timeStamp != s.timeStamp {
			c.misplaced(s, fmt.Sprintf("has the time stamp %d, and at %s %d", s.timeStamp, other.kind, other.timeStamp))
		}
		keys[s.key][s.place] = s
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		var last stamp
		for _, at := range slices.SortedFunc(maps.Keys(keys[key]), place.compare) {
			s := keys[key][at]
			if s.timeStamp <= last.timeStamp {
				c.misplaced(s, fmt.Sprintf("has the time stamp %d, and version %d has %d", s.timeStamp, last.place.version, last.timeStamp))
			}
			last = s
		}
	}
	return nil
}

// clockSlack is for a clock that is corrected during the run.
const clockSlack = time.Minute

// checkStamp checks what one effect shows by itself.
func (c *checker) checkStamp(s stamp) {
	if s.sequence != s.place.version {
		c.misplaced(s, fmt.Sprintf("has the sequence %d", s.sequence))
	}
	slack := clockSlack.Microseconds()
	if c.clock.ended != 0 && (s.timeStamp < c.clock.began-slack || s.timeStamp > c.clock.ended+slack) {
		c.misplaced(s, fmt.Sprintf("has the time stamp %d, and the run was from %d to %d", s.timeStamp, c.clock.began, c.clock.ended))
	}
	// It is due by the clock of the database.
	const rounding = 100 * time.Millisecond
	if early := time.Duration(s.due-s.happened)*time.Microsecond - max(c.clock.ahead, 0); early > rounding {
		s.check, s.text = "early", fmt.Sprintf("%s took effect %v before its time", s.name(), early)
		c.add(s.violation)
	}
}

// misplaced adds a violation of the order.
func (c *checker) misplaced(s stamp, text string) {
	s.check, s.text = "sequence", fmt.Sprintf("%s %s (%s)", s.name(), text, s.kind)
	c.add(s.violation)
}

func (s *stamp) name() string {
	if s.key == "" {
		return s.ref
	}
	return fmt.Sprintf("version %d of %s", s.place.version, s.key)
}

// parcelKey names a code among the keys; "" for parcels without one.
func parcelKey(code int64) string {
	if code < 0 {
		return ""
	}
	return "parcel code " + strconv.FormatInt(code, 10)
}
