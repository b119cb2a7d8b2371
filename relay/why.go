package relay

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/store"
)

// Wait is why the messages of one destination, or of all, wait.
type Wait struct {
	Destination string // "" for all
	Topic       bool
	Since       time.Time // when the last receipt came, or when there first was something to wait for
	Why         string    // a sentence, with what to look at
}

// What messages wait for is looked at, told and noted for others to read (store.Wait) as long
// as it lasts. Where all goes well nothing is written.
const (
	whyEvery = 5 * time.Second  // at most; see Relay.whyEvery
	whyAgain = 20 * time.Second // after which a note is written again, or the lease's length if that is more
	whyTimes = 3                // for so many times of that it stands
	whyLimit = 10 * time.Second // for writing one
	maxWhys  = 20               // destinations: those that wait for the longest

	longestWhyPause = time.Minute
)

const noReceipts = "no receipt comes: does a consumer run, and does it send receipts? One that cannot needs the destination to be Accepted (waybill relay --accepted)"

// whyKey names what waits.
type whyKey = laneKey

// whyEvery is how often to look, and whyAfter how long messages have to wait to be told of: by
// then a copy was sent, and nothing came of it.
func (r *Relay) whyEvery() time.Duration { return min(r.o.FirstResend, whyEvery) }
func (r *Relay) whyAfter() time.Duration { return 2 * r.whyEvery() }

// whyAgain is after how long a note is written again.
func (r *Relay) whyAgain() time.Duration { return max(r.o.Lease, whyAgain) }

// tellWhy tells why messages wait until ctx ends.
func (t *term) tellWhy(ctx context.Context) {
	noted := map[whyKey]notedWait{}
	pause := t.r.whyEvery()
	for ctx.Err() == nil {
		backoff.Sleep(ctx, pause)
		now := time.Now()
		if waits, known := t.waits(now); known {
			t.noteWhys(ctx, noted, waits)
			pause = t.r.whyPause(waits, now)
		}
	}
}

// whyPause is after how long to look again: where notes stand for long, less often the longer
// all that waits has waited.
func (r *Relay) whyPause(waits []Wait, now time.Time) time.Duration {
	if len(waits) == 0 {
		return r.whyEvery()
	}
	pause := min(r.whyAgain()/4, longestWhyPause)
	for _, w := range waits {
		pause = min(pause, now.Sub(w.Since)/10)
	}
	return max(pause, r.whyEvery())
}

// notedWait is one that others can read.
type notedWait struct {
	why string
	at  time.Time
}

// noteWhys logs and notes why messages wait, and takes back what is over.
func (t *term) noteWhys(ctx context.Context, noted map[whyKey]notedWait, waits []Wait) {
	now := time.Now()
	still := map[whyKey]bool{}
	for _, w := range waits {
		key := whyKey{w.Destination, w.Topic}
		still[key] = true
		if w.Destination != "" { // that the broker is away the link tells
			if times, due := t.r.repeats.Due("why "+key.String(), w.Why); due {
				t.log.WarnContext(ctx, "messages wait", slog.String("destination", w.Destination), slog.Time("since", w.Since), slog.Int64("times", times), slog.String("why", w.Why))
			}
		}
		if before, known := noted[key]; known && before.why == w.Why && now.Sub(before.at) < t.r.whyAgain() {
			continue
		}
		if t.writeWhy(ctx, func(ctx context.Context) error {
			note := store.Wait{Destination: w.Destination, Topic: w.Topic, Since: now.Sub(w.Since), Why: w.Why}
			crash.Point("relay.why.before")
			err := t.r.queue.NoteWait(ctx, note, whyTimes*t.r.whyAgain())
			crash.Point("relay.why.after")
			return err
		}) {
			noted[key] = notedWait{w.Why, now}
		}
	}
	for key := range noted {
		if still[key] {
			continue
		}
		if key.destination != "" && !still[whyKey{}] { // else they wait for the broker now
			t.log.InfoContext(ctx, "messages do not wait any more", slog.String("destination", key.destination))
			t.r.repeats.Over("why " + key.String())
		}
		if t.writeWhy(ctx, func(ctx context.Context) error {
			crash.Point("relay.whyover.before")
			err := t.r.queue.EndWait(ctx, key.destination, key.topic)
			crash.Point("relay.whyover.after")
			return err
		}) {
			delete(noted, key)
		}
	}
}

// writeWhy reports whether something could be written. What could not is tried again at the
// next look, and a note that nobody writes again is forgotten.
func (t *term) writeWhy(ctx context.Context, write func(context.Context) error) bool {
	limited, cancel := context.WithTimeout(ctx, whyLimit)
	defer cancel()
	err := write(limited)
	if err != nil {
		t.log.DebugContext(ctx, "why messages wait is not noted", slog.Any("error", err))
	}
	return err == nil
}

func (k laneKey) String() string {
	if k.topic {
		return "topic " + k.destination
	}
	return "queue " + k.destination
}

// waits returns why messages wait now: for all, where there is no connection to the broker,
// or else for the destinations that wait for the longest. known is false where that has to show
// yet, as just after a connection has ended.
func (t *term) waits(now time.Time) (all []Wait, known bool) {
	if since, reason, away := t.link.away(); away {
		if now.Sub(since) < t.r.whyAfter() {
			return nil, false
		}
		return []Wait{{Since: since, Why: "there is no connection to the broker: " + cmp.Or(reason, errNoAnswer.Error())}}, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.lanes {
		w := Wait{Destination: l.destination, Topic: l.topic}
		switch {
		case l.paused && (l.hasBacklog() || len(l.window) > 0):
			w.Since, w.Why = t.whyPaused(l.laneKey, now)
		case l.paused, len(l.window) == 0:
			continue
		case l.lastError != "":
			w.Since, w.Why = l.refusedSince, "the broker does not take the messages: "+l.lastError
		case l.o.Confirm == waybill.Consumed && (l.probing || l.quiet):
			w.Since, w.Why = l.quietSince, noReceipts
			l.quiet = now.Sub(w.Since) >= t.r.whyAfter()
		default:
			continue
		}
		if now.Sub(w.Since) >= t.r.whyAfter() {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b Wait) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Destination, b.Destination))
	})
	return all[:min(len(all), maxWhys)], true
}
