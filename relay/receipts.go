package relay

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
)

// receive handles receipts until ctx or the receiver ends; what was received is
// handled for as long as settle lasts.
func (t *term) receive(ctx, settle context.Context, receiver broker.Receiver) error {
	for {
		crash.Point("relay.receive.before")
		deliveries, err := receiver.Receive(ctx, receiptPrefetch)
		crash.Point("relay.receive.after")
		if err != nil {
			return err
		}
		t.link.noteAnswer()
		t.handle(settle, deliveries)
		if settle.Err() != nil {
			return settle.Err()
		}
		// Only now, when the rows of what is done are deleted: a receipt that is lost comes
		// again with the next copy, but that takes its time. Slow receipts are acknowledged
		// before they are written. If the process dies their rows
		// are as they were, and the next copies bring new ones.
		crash.Point("relay.ack.before")
		err = receiver.Settle(settle, deliveries, broker.Ack)
		crash.Point("relay.ack.after")
		if err != nil {
			return err
		}
	}
}

// consumerReceipt is one consumer's receipt.
type consumerReceipt struct {
	waybill.Receipt
	consumer string
}

// slowReceipt is a receipt that costs statements of its own, and its destination's named
// consumers. One that is kept has made its message settle in its window, and no other one
// will; of all others the next copies bring new ones.
type slowReceipt struct {
	consumerReceipt
	consumers []string
	isKept    bool
}

// slowReceipts are those that wait. It is safe for concurrent use.
type slowReceipts struct {
	added chan struct{} // has room for one: there are some

	mu      sync.Mutex
	waiting []slowReceipt
}

const (
	// maxSlowReceipts is how many may wait. Beyond it those that are kept go on waiting, of
	// which there are as many as messages in flight, with maxSlowError bytes of their errors.
	maxSlowReceipts    = 10_000
	maxSlowError       = 100
	slowReceiptWorkers = 4
)

// put adds receipts and does not wait; it returns how many there was no room for.
func (s *slowReceipts) put(all []slowReceipt) (dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range all {
		if len(s.waiting) >= maxSlowReceipts {
			if !c.isKept {
				dropped++
				continue
			}
			c.Error = strings.ToValidUTF8(c.Error[:min(len(c.Error), maxSlowError)], "")
		}
		s.waiting = append(s.waiting, c)
	}
	s.signal()
	return dropped
}

// take returns the one that has waited longest; false where there is none.
func (s *slowReceipts) take() (c slowReceipt, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return c, false
	}
	c, s.waiting[0] = s.waiting[0], c
	if s.waiting = s.waiting[1:]; len(s.waiting) == 0 {
		s.waiting = nil
	}
	s.signal()
	return c, true
}

// signal wakes a worker where there is something to do. mu is held.
func (s *slowReceipts) signal() {
	if len(s.waiting) > 0 {
		signal(s.added)
	}
}

// settlement is what some receipts ask for.
type settlement struct {
	done []waybill.ID // whose rows may go
	// said is to be written, and consumers are those of the destinations.
	said      []store.Answer
	consumers map[waybill.ID][]string
	slow      []slowReceipt
	answers   []Answer // for the Observer
}

// note adds answers on a message.
func (s *settlement) note(consumers []string, said ...store.Answer) {
	s.said = append(s.said, said...)
	for _, a := range said {
		s.consumers[a.MessageID] = consumers
	}
}

// handle does what some receipt messages ask for, but for the slow receipts, which it
// passes on. Nothing in them can stop it.
func (t *term) handle(ctx context.Context, deliveries []broker.Delivery) {
	s := t.classify(ctx, t.decode(ctx, deliveries))
	if len(s.answers) > 0 {
		t.r.observe(ctx, func(o Observer) { o.Answered(ctx, s.answers) })
	}
	if len(s.done) > 0 {
		t.remove(ctx, s.done)
	}
	t.note(ctx, s.said, s.consumers)
	if dropped := t.slowReceipts.put(s.slow); dropped > 0 {
		if times, due := t.r.repeats.Due("slow receipts", ""); due {
			t.log.WarnContext(ctx, "more receipts ask for retries or reject than can be written; some are dropped, and the next copies bring new ones",
				slog.Int("count", dropped), slog.Int64("times", times))
		}
	}
}

var errLongName = fmt.Errorf("the consumer's name is longer than %d characters", waybill.MaxName)

// decode returns the receipts in some receipt messages.
func (t *term) decode(ctx context.Context, deliveries []broker.Delivery) (receipts []consumerReceipt) {
	for i := range deliveries {
		if t.isNoReceipt(ctx, &deliveries[i].Message) {
			continue
		}
		consumer, some, bad, reason := wire.DecodeReceipts(&deliveries[i].Message)
		switch problem := deliveries[i].Problem; {
		case problem != nil:
			some, bad, reason = nil, 1, problem
		case utf8.RuneCountInString(consumer) > waybill.MaxName:
			some, bad, reason = nil, 1, errLongName // it would be kept with each answer
		}
		if bad > 0 {
			t.r.counters.malformed.Add(int64(bad))
			if times, due := t.r.repeats.Due("malformed", ""); due {
				t.log.WarnContext(ctx, "malformed receipts dropped", slog.Int("count", bad), slog.Int64("times", times), slog.Any("reason", reason))
			}
		}
		for _, r := range some {
			receipts = append(receipts, consumerReceipt{r, consumer})
		}
	}
	t.r.counters.receipts.Add(int64(len(receipts)))
	return receipts
}

// settleSlowReceipts does what receipts ask for that cost a statement each, beside the
// receiving of others: a consumer that fails with everything must not hold up the
// receipts of all the others. It ends with lead, after it has written what waits
// then, or with settle.
func (t *term) settleSlowReceipts(lead, settle context.Context) {
	for settle.Err() == nil {
		if c, ok := t.slowReceipts.take(); ok {
			t.settleOne(settle, c)
			continue
		}
		select {
		case <-t.slowReceipts.added:
		case <-lead.Done():
			return
		}
	}
}

// settleOne rejects or postpones the row that a slow receipt is about.
func (t *term) settleOne(ctx context.Context, c slowReceipt) {
	if c.Outcome == waybill.Rejected {
		if len(c.consumers) > 1 {
			t.rejectOf(ctx, c.consumerReceipt, c.consumers)
			return
		}
		t.reject(ctx, c.ID, c.consumer+": "+orElse(c.Error, "rejected"))
		return
	}
	if len(c.consumers) > 1 {
		if t.isAnswered(ctx, c.consumerReceipt) {
			return
		}
		t.note(ctx, t.confirmationsOf(c.ID), map[waybill.ID][]string{c.ID: c.consumers}) // they stay
	}
	failures, delay := 0, c.After
	if c.After == 0 {
		failures, delay = 1, backoff.Jittered(backoff.Doubled(t.r.o.MinRetry, t.failuresOf(c.consumerReceipt), t.r.o.MaxRetry))
	}
	t.r.counters.retries.Add(1)
	t.postpone(ctx, c.ID, delay, failures, c.Tries, c.consumer+": "+orElse(c.Error, "asked for a retry"))
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// classify tells the lanes what was heard, and returns what is to be done. It leaves out
// receipts that do not count, and repeated ones.
func (t *term) classify(ctx context.Context, receipts []consumerReceipt) settlement {
	untracked := t.untrackedReceipts(ctx, receipts)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.now()
	b := &batch{
		settlement: settlement{consumers: map[waybill.ID][]string{}},
		isDone:     make(map[waybill.ID]bool, len(receipts)), isRetried: map[waybill.ID]bool{},
		heard: map[*lane][]*inflight{}, timed: map[*lane][]*inflight{}, now: t.pump.databaseNow(),
	}
	for _, c := range receipts {
		f := t.tracked(c)
		isOpen, done := f != nil && f.state != settling, len(b.done)
		consumers, there := untracked[c.ID]
		if f != nil {
			consumers, there = f.lane.o.Consumers, true
			if f.state != settling {
				f.lane.noteOutcome(c)
			}
		}
		switch {
		case !there && t.r.o.namesConsumers():
			t.r.counters.unknown.Add(1)
		case !there: // a repeated receipt, or one that somebody made up
		case isRetry(c) && f != nil && c.Tries > 0 && c.Tries <= f.failures:
			// of a copy before this one, and counted: it has come a second time
			isOpen = false
		case len(consumers) > 0:
			t.classifyNamed(ctx, b, c, f, consumers)
		default:
			t.classifyAnyone(b, c, f)
		}
		if isOpen {
			t.tell(b, c, f, len(b.done) > done)
		}
	}
	for l, inflights := range b.heard {
		l.noteHeard(inflights, now)
	}
	for l, inflights := range b.timed {
		before := l.timeout()
		l.noteTimes(inflights, now)
		if l.answered > 0 && l.timeout() < before {
			l.nextPark = min(l.nextPark, now+shorterEvery)
			signal(t.parks)
		}
	}
	return b.settlement
}

// batch is what becomes of receipts that came together.
type batch struct {
	settlement
	isDone, isRetried map[waybill.ID]bool
	heard             map[*lane][]*inflight // consumers have said something about these
	timed             map[*lane][]*inflight // of these they have said all
	now               int64                 // of the database's clock, in µs
}

// tell counts a receipt for a message under way, and notes it for the Observer; isLast says
// that the message's row may go. mu is held.
func (t *term) tell(b *batch, c consumerReceipt, f *inflight, isLast bool) {
	if isLast {
		t.r.latency.observe(c.ID, b.now)
		f.lane.latency.observe(c.ID, b.now)
		f.lane.done.confirmed++
	}
	if t.r.o.Observer != nil {
		b.answers = append(b.answers, Answer{
			ID: c.ID, Destination: f.lane.destination, Topic: f.lane.topic, Consumer: c.consumer,
			Outcome: c.Outcome, Error: c.Error, Last: isLast, Took: took(c.ID, b.now),
		})
	}
}

func (b *batch) hear(f *inflight)  { b.heard[f.lane] = append(b.heard[f.lane], f) }
func (b *batch) clock(f *inflight) { b.timed[f.lane] = append(b.timed[f.lane], f) }

// retries notes a consumer's wish for another copy. Copies that failed together are one
// failure.
func (b *batch) retries(c slowReceipt) {
	if !b.isRetried[c.ID] {
		b.isRetried[c.ID] = true
		b.slow = append(b.slow, c)
	}
}

func isRetry(c consumerReceipt) bool { return c.Outcome == waybill.Retry && !mutant.DeleteOnRetry }

// classifyAnyone classifies a receipt for a destination where the first confirmation
// suffices; f is nil for a message in no window. mu is held.
func (t *term) classifyAnyone(b *batch, c consumerReceipt, f *inflight) {
	settled := f != nil && f.state == settling
	slow := slowReceipt{consumerReceipt: c, isKept: f != nil && !settled}
	switch {
	case c.Outcome == waybill.Rejected:
		b.slow = append(b.slow, slow)
	case isRetry(c):
		if !settled {
			b.retries(slow)
		}
	case !b.isDone[c.ID]:
		b.isDone[c.ID] = true
		b.done = append(b.done, c.ID)
	}
	switch {
	case f == nil:
		t.noteOvertaken(c)
	case !settled:
		f.state = settling
		b.hear(f)
		b.clock(f)
	}
}

// classifyNamed classifies a receipt for a destination that names its consumers; f is nil
// for a message that is neither in the destination's window nor in that of the consumer's
// straggler. mu is held.
func (t *term) classifyNamed(ctx context.Context, b *batch, c consumerReceipt, f *inflight, consumers []string) {
	who := t.isOneOf(ctx, consumers, c)
	isOpen := f != nil && f.state != settling
	inWindow := f != nil && !f.lane.isStraggler()
	slow := slowReceipt{c, consumers, isOpen}
	switch {
	case who < 0:
		return
	case isRetry(c):
		if inWindow && (!isOpen || f.has(who)) {
			return
		}
		b.retries(slow)
	case inWindow && isOpen:
		before := f.some()
		if f.lane.hears(f, who, c, &b.settlement) && !before {
			b.hear(f)
		}
		if f.state == settling {
			b.clock(f)
		}
		return
	case c.Outcome == waybill.Rejected:
		b.slow = append(b.slow, slow)
	default:
		b.note(consumers, store.Answer{MessageID: c.ID, Consumer: c.consumer})
	}
	switch {
	case f == nil:
		t.noteOvertaken(c)
	case isOpen:
		f.state = settling
		b.hear(f)
		b.clock(f)
	}
}

// tracked is the message that a receipt is about, in its destination's window or in that
// of the consumer's straggler; nil where it is in neither. mu is held.
func (t *term) tracked(c consumerReceipt) *inflight {
	if f := t.inflights[c.ID]; f != nil || len(t.parked) == 0 {
		return f
	}
	return t.parked[parkedKey{c.ID, c.consumer}]
}

// maxOvertaken bounds what noteOvertaken remembers. A message beyond it is adopted, and
// found to be gone when its time-out is over.
const maxOvertaken = 100_000

// noteOvertaken notes that there is a receipt for a message that is in no window, while
// the first sweep fills the windows. mu is held.
func (t *term) noteOvertaken(c consumerReceipt) {
	said := t.overtaken[c.ID]
	if t.overtaken == nil || said == nil && len(t.overtaken) >= maxOvertaken || slices.Contains(said, c.consumer) {
		return
	}
	t.overtaken[c.ID] = append(said, c.consumer)
}

// untrackedReceipts says which of the messages that are in no window may be settled all
// the same, and which consumers their destinations name: rows that an earlier term sent,
// that wait for room in their window, or that are parked. Most name rows that are gone,
// as repeated receipts do; these are looked for, a batch with one query, where a receipt
// asks for a statement of its own or a destination names consumers.
func (t *term) untrackedReceipts(ctx context.Context, receipts []consumerReceipt) map[waybill.ID][]string {
	var ids []waybill.ID
	untracked := map[waybill.ID][]string{}
	named := t.r.o.namesConsumers()
	t.mu.Lock()
	for _, c := range receipts {
		switch {
		case t.tracked(c) != nil:
		case named || c.Outcome != waybill.Done:
			ids = append(ids, c.ID)
		default:
			untracked[c.ID] = nil // the statement that deletes the others tries it, too
		}
	}
	t.mu.Unlock()
	for page := range slices.Chunk(ids, t.r.o.Batch) {
		t.retryUntilDone(ctx, "look up receipts", func() error {
			crash.Point("relay.find.before")
			rows, err := t.r.queue.FindBriefly(ctx, page)
			crash.Point("relay.find.after")
			if err != nil {
				return err
			}
			for i := range rows {
				untracked[rows[i].MessageID] = t.r.o.destination(rows[i].Destination, rows[i].Topic).Consumers
			}
			return nil
		})
	}
	return untracked
}

// failuresOf is how often a message's handler had failed when its row was read; 0 for
// a message in no window.
func (t *term) failuresOf(c consumerReceipt) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.tracked(c); f != nil {
		return f.failures
	}
	return 0
}
