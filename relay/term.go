package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/turn"
	"github.com/waybill-go/waybill/store"
)

// term is what a relay knows while it leads. All of it may be forgotten at any
// time: the table has what matters.
//
// Lock order: mu guards all lanes and windows. The package's other locks, link.mu and
// Relay.mu, are never held while it is taken.
type term struct {
	r            *Relay
	log          *slog.Logger
	identity     string // the outbox's
	older        bool   // the tables are of an older version: without an identity, and without a place for answers
	began        int64  // by the database's clock, in µs
	heldUntil    int64  // by the same clock: the last holder has sent nothing that came later
	beganAt      time.Time
	link         *link
	lookers      *turn.Line             // of lanes that ask whether their queue exists
	makers       *turn.Line             // of lanes that may have a queue made
	start        func(*lane)            // starts a lane's goroutine
	slowReceipts slowReceipts           // receipts that cost a statement each; see settleSlowReceipts
	copies       copies                 // to be counted
	rejections   rejections             // what was rejected lately
	locked       locked                 // what waits for the locks of others
	answered     atomic.Int32           // whether there may be anything in qconfirmed; see answersOn
	floor        atomic.Pointer[string] // the header "floor" of the messages sent now: the lowest of all until one is known

	// Each holds a value when a loop of the pump is to look again: for rows, time-outs,
	// messages to park, gaps, and what gaps have missed.
	woken, armed, parks, gapped, missed chan struct{}
	tripped                             chan struct{} // holds a value when there are trips

	// The receiving goroutine's own: when a twin may be noted and logged again.
	twinNoted, twinLogged time.Time
	twinPause             time.Duration

	pump pump

	mu    sync.Mutex
	clock pausableClock
	// connection is the number of the connection to the broker, from 1.
	connection int
	lanes      map[laneKey]*lane
	inflights  map[waybill.ID]*inflight // of all these
	// stragglers are the lanes of consumers that are behind, and parked what is in their
	// windows: a message that several of them lack is there for each.
	stragglers map[stragglerKey]*lane
	parked     map[parkedKey]*inflight
	order      []*lane // all lanes in the order in which they were made
	maxLanes   int
	bytes      int // what all of them have queued or are publishing
	// noLaneUntil: there are as many lanes as there may be, and none can go; see makeRoom.
	noLaneUntil time.Time
	cursor      int64 // rows up to here have been read
	repeated    repeated
	// overtaken holds the messages in no window that receipts were about while the first
	// sweep was reading them, and the consumers that sent these; nil after it. See
	// pump.adopt.
	overtaken map[waybill.ID][]string
	paused    map[laneKey]store.Pause // as it was read last
	trips     map[laneKey]trip        // to be written
	tripping  bool                    // there are some, or were at the last look
}

type laneKey struct {
	destination string
	topic       bool
}

// newTerm begins a term at the last holder's cursor; clock is the database's now, in µs.
func newTerm(r *Relay, identity string, cursor, clock int64) *term {
	again := func() chan struct{} { return make(chan struct{}, 1) }
	t := &term{
		woken: again(), armed: again(), parks: again(), gapped: again(), missed: again(), tripped: again(),
		trips:  map[laneKey]trip{},
		copies: copies{added: again()}, locked: locked{added: again()},
		r:            r,
		log:          r.log,
		identity:     identity,
		began:        clock,
		heldUntil:    clock,
		beganAt:      time.Now(),
		slowReceipts: slowReceipts{added: again()},
		rejections:   newRejections(r.o.RejectedHold),
		lookers:      turn.NewLine(lookersMost, turnTime),
		makers:       turn.NewLine(makersMost, turnTime),
		lanes:        map[laneKey]*lane{},
		inflights:    map[waybill.ID]*inflight{},
		stragglers:   map[stragglerKey]*lane{},
		parked:       map[parkedKey]*inflight{},
		cursor:       cursor,
		repeated:     repeated{Most: maxRepeated},
		maxLanes:     maxLanes,
	}
	if cursor > 0 {
		t.overtaken = map[waybill.ID][]string{}
	}
	none := waybill.LowestID(time.UnixMilli(0)).String()
	t.floor.Store(&none)
	t.pump.begin(t, clock)
	t.link = &link{t: t, up: make(chan struct{}), downSince: time.Now()}
	return t
}

// run leads until ctx ends. What the lanes have queued then and the slow receipts that
// wait are still finished, as far as settle allows, and the connection is closed before
// closing ends. Other receipts that are being handled when all of that is done are
// broken off, and come again. Where the broker refuses us, run ends ctx with that, and returns
// its error at once.
func (t *term) run(ctx, settle, closing context.Context, end context.CancelCauseFunc) error {
	settle, abandon := context.WithCancel(settle)
	defer abandon()
	lead, stop := context.WithCancel(ctx)
	defer stop()
	var work, connection sync.WaitGroup
	t.start = func(l *lane) {
		t.r.parts.Go(&work, fmt.Sprintf("publishing to %q", l.destination), func() { l.run(lead, settle) })
	}
	for range slowReceiptWorkers {
		t.r.parts.Go(&work, "writing receipts to the database", func() { t.settleSlowReceipts(lead, settle) })
	}
	t.r.parts.Go(&work, "writing to rows that were locked", func() { t.settleLocked(lead) })
	t.r.parts.Go(&work, "watching which destinations are paused", func() { t.watchPauses(lead) })
	t.r.parts.Go(&work, "noting why messages wait", func() { t.tellWhy(lead) })
	var refused error
	t.r.parts.Go(&connection, "the connection to the broker", func() {
		defer stop()
		if refused = t.link.run(lead, settle, closing); refused != nil {
			end(refused)
		}
	})

	t.r.parts.Do("reading the outbox", func() { t.pump.run(lead) })

	stop()
	if errors.Is(context.Cause(ctx), broker.ErrRefused) {
		abandon() // nothing can be finished
	}
	work.Wait()
	abandon()
	connection.Wait()
	return refused
}

// wake tells the pump to look for rows again. The caller may hold mu.
func (t *term) wake() { signal(t.woken) }

// laneOf returns the destination's lane. Where there is none it makes one, with the
// destination's options, and starts its goroutine; it returns nil where there are too many.
// mu is held.
func (t *term) laneOf(destination string, topic bool) *lane {
	key := laneKey{destination, topic}
	l := t.lanes[key]
	if l == nil && !t.makeRoom() {
		t.pump.onGaps(func(g *gaps) { g.missed = true }) // the sweep comes back for the row
		return nil
	}
	if l == nil {
		l = newLane(t, key)
		t.lanes[key] = l
		t.order = append(t.order, l)
		t.start(l)
	}
	return l
}

// idleLane is how long a lane stays that has nothing to do.
const idleLane = 10 * time.Minute

// retire ends the lanes that have been idle for long: names of destinations may be
// made up for single messages, as those of reply queues are.
func (t *term) retire(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.order = slices.DeleteFunc(t.order, func(l *lane) bool {
		if !l.isIdle() || now.Sub(l.progressed) < idleLane {
			return false
		}
		t.giveUp(l)
		return true
	})
}

// isIdle says whether a lane has nothing to do. mu is held.
func (l *lane) isIdle() bool {
	return len(l.window) == 0 && len(l.queue) == 0 && !l.hasBacklog()
}

// giveUp ends a lane that is idle; the caller takes it out of order. mu is held.
func (t *term) giveUp(l *lane) {
	if l.isStraggler() {
		delete(t.stragglers, stragglerKey{l.laneKey, l.consumer})
	} else {
		delete(t.lanes, l.laneKey)
	}
	close(l.retired)
}

// isRetired says whether a lane was given up.
func (l *lane) isRetired() bool {
	select {
	case <-l.retired:
		return true
	default:
		return false
	}
}

// safeCursor is the cursor for a successor, which takes the rows up to it as sent.
// Each of them was handed to the broker, or is being handed to it; a few the broker
// has refused; the others wait in the table for room in their window. Rows of which the
// first copy is still queued here are above it.
func (t *term) safeCursor() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	cursor := t.cursor
	for _, l := range t.lanes {
		for _, x := range l.queue {
			if x.f.copies == 0 && x.f.row > 0 {
				cursor = min(cursor, x.f.row-1)
			}
		}
	}
	return max(cursor, 0)
}

// sortedLanes returns the destinations' lanes in order of name, of one name the queue
// first. mu is held.
func (t *term) sortedLanes() []*lane {
	return slices.SortedFunc(maps.Values(t.lanes), func(a, b *lane) int {
		switch byName := cmp.Compare(a.destination, b.destination); {
		case byName != 0 || a.topic == b.topic:
			return byName
		case b.topic:
			return -1
		}
		return 1
	})
}
