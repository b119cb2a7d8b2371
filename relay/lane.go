package relay

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/internal/publish"
	"github.com/waybill-go/waybill/store"
)

// lane is one destination: its window of unconfirmed messages, the queue of those
// to publish, and the goroutine that publishes them. A destination that is stuck
// holds up nobody else. All fields but the constant ones are guarded by term.mu.
type lane struct {
	t           *term
	destination string
	topic       bool
	o           Destination
	receiptTo   string

	window  map[waybill.ID]*inflight // everything from admission to its confirmation
	queue   []outgoing               // to publish, in order
	bytes   int                      // of bodies in queue
	publish chan struct{}            // signals that queue has grown; capacity 1
	retired chan struct{}            // closed when the lane is given up

	// backlogFrom: rows above this id, up to the cursor, wait in the table because the
	// window or queue was full when they were read. noBacklog where there are none.
	backlogFrom int64

	progressed time.Time // when a batch was last begun, or taken by the broker
	lastError  string    // why the last batch was not taken; "" after one that was

	resending // when to send again
}

const noBacklog = math.MaxInt64

// inflight is a message that is in the window: an id and what is known of its way.
// Bodies are not kept.
type inflight struct {
	row  int64
	id   waybill.ID
	lane *lane

	state  state
	copies int           // how many times it was published in this term
	sent   time.Duration // time on term.clock of the last of them
	by     uint64        // which of Destination.Consumers have confirmed it

	failures int  // of its handler, as the row had it
	adopted  bool // an earlier term sent it: when is not known
}

type state uint8

const (
	queued     state = iota // waits to be published
	publishing              // is being published
	sent                    // is with the broker, as far as anyone knows
	unsure                  // may be with the broker: the connection broke
	settling                // its fate is known and being written to the table
)

// outgoing is a message that waits to be published.
type outgoing struct {
	f       *inflight
	message broker.Message
}

func (l *lane) windowSize() int {
	if l.o.Window > 0 {
		return l.o.Window
	}
	return l.t.r.o.Window
}

func (l *lane) room() int { return l.windowSize() - len(l.window) }

// queueFull says whether enough waits for the broker already.
func (l *lane) queueFull() bool {
	return len(l.queue) >= 2*l.t.r.o.Batch || l.bytes >= l.t.r.o.BatchBytes
}

// leaveInTable leaves a row, and those after it, in the table for scanBacklog to find.
func (l *lane) leaveInTable(row int64) { l.backlogFrom = min(l.backlogFrom, row-1) }

func (l *lane) hasBacklog() bool { return l.backlogFrom != noBacklog }

// enqueue puts a message of the window into the publishing queue.
func (l *lane) enqueue(f *inflight, m broker.Message) {
	f.state = queued
	l.queue = append(l.queue, outgoing{f, m})
	l.bytes += len(m.Body)
	select {
	case l.publish <- struct{}{}:
	default:
	}
}

// run publishes what is queued until ctx ends, and then what is left within the
// time that settle allows.
func (l *lane) run(ctx, settle context.Context) {
	wait := backoff.Backoff{Least: 50 * time.Millisecond, Most: 30 * time.Second}
	for {
		batch := l.take()
		if len(batch) == 0 {
			select {
			case <-l.publish:
				continue
			case <-l.retired:
				return
			case <-ctx.Done():
				if batch = l.take(); len(batch) == 0 {
					return
				}
			}
		}
		conn, err := l.t.link.wait(settle)
		if err != nil {
			l.giveUp(batch)
			return
		}
		refused, taken := l.send(settle, conn, batch)
		if 2*taken >= len(batch) {
			wait.Reset() // a few that are refused do not slow down the others
		}
		if refused {
			// The broker does not take them now: a full queue, a missing one. The
			// others of this relay go on.
			select {
			case <-ctx.Done():
				return
			default:
				wait.Sleep(ctx)
			}
		}
	}
}

// take removes the next batch from the queue.
func (l *lane) take() []outgoing {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	n, bytes := 0, 0
	for n < len(l.queue) && n < l.t.r.o.Batch && (n == 0 || bytes+len(l.queue[n].message.Body) <= l.t.r.o.BatchBytes) {
		bytes += len(l.queue[n].message.Body)
		n++
	}
	batch := make([]outgoing, 0, n)
	now := l.t.clock.now()
	for _, x := range l.queue[:n] {
		if x.f.state == settling || l.window[x.f.id] != x.f {
			continue // confirmed by a receipt for an earlier copy, or gone
		}
		x.f.state, x.f.sent = publishing, now
		x.f.copies++
		batch = append(batch, x)
	}
	clear(l.queue[:n])
	l.queue = l.queue[n:]
	l.bytes -= bytes
	if n == 0 {
		return nil
	}
	l.nextCheck = min(l.nextCheck, now+l.timeout())
	l.progressed = time.Now()
	l.t.wake()
	if len(batch) == 0 {
		// All of it was confirmed meanwhile: come again for the rest.
		select {
		case l.publish <- struct{}{}:
		default:
		}
	}
	return batch
}

// giveUp marks a batch that was taken and never published, when the term ends.
func (l *lane) giveUp(batch []outgoing) {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	for _, x := range batch {
		if x.f.state == publishing {
			x.f.state, x.f.copies = queued, x.f.copies-1
		}
	}
	l.queue = append(batch, l.queue...)
}

// send publishes one batch and sorts its messages by their fates. It reports
// whether the broker refused any and may take it later, and how many it did not refuse.
func (l *lane) send(ctx context.Context, conn broker.Conn, batch []outgoing) (refused bool, taken int) {
	messages := make([]broker.Message, len(batch))
	for i := range batch {
		messages[i] = batch[i].message
	}
	began := time.Now()
	crash.Point("relay.publish.before")
	results, timedOut, err := publish.Batch(ctx, conn, messages, l.o.Transport)
	crash.Point("relay.publish.after")
	if slices.ContainsFunc(results, func(r broker.Result) bool { return r.Fate != broker.Unknown }) {
		l.t.link.answered()
	}
	if err != nil || timedOut && !l.t.link.answers(began) {
		l.t.link.broken(conn)
	}
	refused = timedOut // by a destination that blocks its producers, or it makes no difference

	var confirmed []waybill.ID
	var unacceptable []*inflight
	var reasons []string
	var problem error
	l.t.mu.Lock()
	for i, x := range batch {
		f, result := x.f, results[i]
		if result.Fate != broker.Refused && result.Fate != broker.Unacceptable {
			taken++
			if f.copies > 1 {
				l.t.r.counters.copies.Add(1)
			}
		}
		if f.state != publishing {
			continue // its receipt was faster than the broker's confirmation
		}
		switch result.Fate {
		case broker.Confirmed:
			f.state = sent
			if l.o.Confirm == waybill.Accepted || mutant.DeleteOnPublish {
				f.state = settling
				confirmed = append(confirmed, f.id)
			}
		case broker.Unknown:
			f.state = unsure
			problem = result.Err
		case broker.Refused:
			f.state, f.copies = sent, f.copies-1
			l.refuse(f)
			refused, problem = true, result.Err
		case broker.Unacceptable:
			f.state = settling
			unacceptable, reasons = append(unacceptable, f), append(reasons, reasonOf(result.Err))
		}
	}
	if taken > 0 {
		l.progressed = time.Now()
		l.t.r.counters.published.Add(int64(taken))
	}
	before := l.lastError
	l.lastError = ""
	if problem != nil {
		l.lastError = problem.Error()
	}
	changed := l.lastError != before
	l.t.wake()
	l.t.mu.Unlock()

	if problem != nil && changed {
		l.t.r.log.WarnContext(ctx, "messages not taken by the broker; they are sent again", slog.String("destination", l.destination), slog.Bool("refused", refused), slog.Any("error", problem))
	}
	for i, f := range unacceptable {
		l.t.reject(ctx, f.id, "the broker does not take this message: "+reasons[i])
	}
	if len(confirmed) > 0 {
		l.t.remove(ctx, confirmed)
	}
	return refused, taken
}

func reasonOf(err error) string {
	if err == nil {
		return "no reason given"
	}
	return err.Error()
}

// track admits a row to the window.
func (l *lane) track(r *store.Row) *inflight {
	f := &inflight{row: r.ID, id: r.MessageID, lane: l, failures: r.Failures}
	l.window[f.id] = f
	l.t.inflights[f.id] = f
	return f
}

// drop takes a message out of the window.
func (l *lane) drop(f *inflight) {
	if l.window[f.id] != f {
		return
	}
	delete(l.window, f.id)
	delete(l.t.inflights, f.id)
}
