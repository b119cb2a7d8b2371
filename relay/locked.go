package relay

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/store"
)

// A row that somebody else has locked cannot be deleted, rejected or postponed as long as
// that lasts. Its message stays in its window, settling, and the row is written later, in
// a goroutine of its own: nobody else's receipts wait for it. If the term ends before, the
// row is as it was: another copy is sent then, and receipted.

const (
	// maxLocked bounds the messages whose rows wait for locks. What is more is given up,
	// and its next copy brings another receipt.
	maxLocked = 10_000
	// unlockLeast and unlockMost bound the time between two tries for one row.
	unlockLeast, unlockMost = 500 * time.Millisecond, 30 * time.Second
)

// locked is what waits for the locks of others.
type locked struct {
	added chan struct{} // holds a value when there is more
	mu    sync.Mutex
	all   []*lockedWrite
	size  int // messages in all
}

// lockedWrite is something to be written to the rows of some messages.
type lockedWrite struct {
	doing string // for the log
	ids   []waybill.ID
	write func(ctx context.Context, ids []waybill.ID) error
	done  func(ctx context.Context, ids []waybill.ID) // what follows from it
	wait  backoff.Backoff
	at    time.Time // of the next try
}

// write writes to the rows of messages until that is done or ctx ends, and takes the
// messages out of their windows. Rows that others have locked are left to settleLocked. Where
// ctx ends before, with the connection to the broker for one, the messages stay in their
// windows and wait for receipts again.
func (t *term) write(ctx context.Context, doing string, ids []waybill.ID, write func(ctx context.Context, ids []waybill.ID) error) {
	t.writeThen(ctx, doing, ids, write, func(_ context.Context, ids []waybill.ID) { t.forget(ids...) })
}

// writeThen is write, but with done for what follows when some are written.
func (t *term) writeThen(ctx context.Context, doing string, ids []waybill.ID, write func(ctx context.Context, ids []waybill.ID) error, done func(ctx context.Context, ids []waybill.ID)) {
	var waiting []waybill.ID
	written := t.retryUntilDone(ctx, doing, func() error {
		err := write(ctx, ids)
		waiting = lockedOf(err)
		if len(waiting) > 0 {
			if times, due := t.r.repeats.Due("rows locked "+doing, ""); due { // each names other messages
				t.log.WarnContext(ctx, "rows are locked by other transactions; they are written when these have ended, and all else goes on",
					slog.String("doing", doing), slog.Int64("times", times), slog.Any("error", err))
			}
			return nil
		}
		return err
	})
	if !written {
		t.waitAgain(ids)
		return
	}
	if len(waiting) == 0 {
		done(ctx, ids)
		return
	}
	done(ctx, without(ids, waiting))
	w := &lockedWrite{doing: doing, ids: waiting, write: write, done: done, wait: backoff.Backoff{Least: unlockLeast, Most: unlockMost}}
	w.at = time.Now().Add(w.wait.Next())
	if !t.locked.add(w) {
		t.waitAgain(waiting)
	}
}

// lockedOf returns the messages whose rows were locked.
func lockedOf(err error) []waybill.ID {
	var locked *store.LockedError
	if errors.As(err, &locked) {
		return locked.IDs
	}
	return nil
}

func without(ids, those []waybill.ID) []waybill.ID {
	out := make(map[waybill.ID]bool, len(those))
	for _, id := range those {
		out[id] = true
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id waybill.ID) bool { return out[id] })
}

// add adds something to be written; false where there is too much already.
func (l *locked) add(w *lockedWrite) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+len(w.ids) > maxLocked {
		return false
	}
	l.all = append(l.all, w)
	l.size += len(w.ids)
	signal(l.added)
	return true
}

// due takes out what is to be tried now, and returns when the next is.
func (l *locked) due(now time.Time) (due []*lockedWrite, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next = now.Add(unlockMost)
	l.all = slices.DeleteFunc(l.all, func(w *lockedWrite) bool {
		if w.at.After(now) {
			if w.at.Before(next) {
				next = w.at
			}
			return false
		}
		l.size -= len(w.ids)
		due = append(due, w)
		return true
	})
	return due, next
}

// settleLocked writes what waits for locks until ctx ends.
func (t *term) settleLocked(ctx context.Context) {
	for ctx.Err() == nil {
		due, next := t.locked.due(time.Now())
		for _, w := range due {
			t.tryLocked(ctx, w)
		}
		if len(due) > 0 {
			continue
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-t.locked.added:
		}
		timer.Stop()
	}
}

// tryLocked tries once to write.
func (t *term) tryLocked(ctx context.Context, w *lockedWrite) {
	err := w.write(ctx, w.ids)
	if ctx.Err() != nil {
		return
	}
	left := w.ids
	switch waiting := lockedOf(err); {
	case err == nil:
		left = nil
		t.log.InfoContext(ctx, "rows that were locked are written", slog.String("doing", w.doing))
	case len(waiting) > 0:
		left = waiting
	default:
		if times, due := t.r.repeats.Due("locked "+w.doing, err.Error()); due {
			t.log.WarnContext(ctx, "rows that were locked cannot be written; trying again", slog.String("doing", w.doing), slog.Int64("times", times), slog.Any("error", err))
		}
	}
	w.done(ctx, without(w.ids, left))
	if len(left) == 0 {
		return
	}
	w.ids, w.at = left, time.Now().Add(w.wait.Next())
	if !t.locked.add(w) {
		t.waitAgain(left)
	}
}

// waitAgain has messages wait for receipts again whose rows could not be written, also those
// of stragglers. What some have confirmed is parked, which writes its answers again.
func (t *term) waitAgain(ids []waybill.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.now()
	again := func(f *inflight) {
		if f == nil || f.state != settling {
			return
		}
		f.state = waiting
		f.lane.arm(f.sent+f.lane.timeout(), now)
		if f.some() {
			f.lane.nextPark = min(f.lane.nextPark, now)
			signal(t.parks)
		}
	}
	for _, id := range ids {
		again(t.inflights[id])
		for _, l := range t.stragglers {
			again(l.window[id])
		}
	}
}
