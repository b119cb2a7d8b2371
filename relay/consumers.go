package relay

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/store"
)

// Where a destination names its consumers (Destination.Consumers), a row goes when all
// of them have confirmed, and is rejected when all have answered and one has rejected.
//
// As long as a message is in its destination's window, what some have confirmed is known
// in memory alone: where all confirm in time nothing is written but the deletion. It is
// written to the table qconfirmed where the answers differ: one rejects or asks for
// another copy, or some are late (straggler.go). Whoever writes an answer reads afterwards
// what all have answered. So of two that write at the same time one at least sees that
// all have, and does what follows; to do it twice does no harm. If this process dies in
// between, the next term finds the row with all the answers and does it then. Answers
// that are lost with the memory are given again, with the next copy.

// answers is what a destination's named consumers have said of a message: a bit for
// each, in the order of Destination.Consumers.
type answers struct {
	confirmed, rejected uint64
	// written: some of them may be in qconfirmed.
	written bool
}

// every has the bits of n consumers.
func every(n int) uint64 { return 1<<n - 1 }

// some says whether any has answered.
func (a *answers) some() bool { return a.confirmed|a.rejected != 0 }

// has says whether one has answered.
func (a *answers) has(who int) bool { return (a.confirmed|a.rejected)>>who&1 != 0 }

// complete says whether all of n have answered.
func (a *answers) complete(n int) bool { return a.confirmed|a.rejected == every(n) }

func (a *answers) confirm(who int) {
	a.confirmed |= 1 << who
	a.rejected &^= 1 << who
}

// answersOf is what is known of the consumers that are named now. What others have said,
// that were named once, does not count.
func answersOf(consumers []string, known []store.Answer) answers {
	a := answers{written: len(known) > 0}
	for _, k := range known {
		switch who := slices.Index(consumers, k.Consumer); {
		case who < 0:
		case k.Rejected:
			a.rejected |= 1 << who
		default:
			a.confirmed |= 1 << who
		}
	}
	return a
}

// missing returns the consumers that have not answered.
func (a *answers) missing(consumers []string) (missing []string) {
	for who, consumer := range consumers {
		if !a.has(who) {
			missing = append(missing, consumer)
		}
	}
	return missing
}

// confirmations are the confirmations as qconfirmed has them. The rejections are written
// as they come.
func (a *answers) confirmations(id waybill.ID, consumers []string) (all []store.Answer) {
	for who, consumer := range consumers {
		if a.confirmed>>who&1 != 0 {
			all = append(all, store.Answer{MessageID: id, Consumer: consumer})
		}
	}
	return all
}

// reasonsOf is why a message is rejected that some of its consumers have rejected.
func reasonsOf(consumers []string, known []store.Answer) string {
	var reasons []string
	for _, k := range known {
		if k.Rejected && slices.Contains(consumers, k.Consumer) {
			reasons = append(reasons, k.Consumer+": "+orElse(k.Reason, "rejected"))
		}
	}
	return strings.Join(reasons, "; ")
}

// What is known of qconfirmed. It is empty where all is well, and then nobody looks into
// it.
const (
	answersUnknown = iota // it has not been asked
	answersNone           // it was empty, and nothing was written since
	answersSome
)

// answersOn reads what named consumers have answered of rows that are not in their
// destination's window, by message.
func (p *pump) answersOn(ctx context.Context, rows []store.Row) (map[waybill.ID][]store.Answer, error) {
	if !p.t.r.o.namesConsumers() || p.t.answered.Load() == answersNone {
		return nil, nil
	}
	var ids []waybill.ID
	p.t.mu.Lock()
	for i := range rows {
		if len(p.t.r.o.destination(rows[i].Destination, rows[i].Topic).Consumers) > 0 && p.t.inflights[rows[i].MessageID] == nil {
			ids = append(ids, rows[i].MessageID)
		}
	}
	p.t.mu.Unlock()
	if len(ids) == 0 {
		return nil, nil
	}
	if p.t.answered.Load() == answersUnknown {
		crash.Point("relay.answered.before")
		first, err := p.t.r.queue.Answered(ctx, waybill.ID{}, 1)
		crash.Point("relay.answered.after")
		if err != nil {
			return nil, err
		}
		if len(first) == 0 && p.t.answered.CompareAndSwap(answersUnknown, answersNone) {
			return nil, nil
		}
		p.t.answered.Store(answersSome)
	}
	crash.Point("relay.known.before")
	known, err := p.t.r.queue.Answers(ctx, ids)
	crash.Point("relay.known.after")
	return byMessage(known), err
}

func byMessage(known []store.Answer) map[waybill.ID][]store.Answer {
	all := make(map[waybill.ID][]store.Answer, len(known))
	for _, k := range known {
		all[k.MessageID] = append(all[k.MessageID], k)
	}
	return all
}

// note writes answers and does what follows from them: a row goes when all of its
// consumers have confirmed, and is rejected when all have answered and one has rejected.
// consumers has those of each message's destination.
func (t *term) note(ctx context.Context, said []store.Answer, consumers map[waybill.ID][]string) {
	t.noteThen(ctx, said, consumers, func([]waybill.ID) {})
}

// noteThen is note, but with then for what follows when the answers on some messages are
// written.
func (t *term) noteThen(ctx context.Context, said []store.Answer, consumers map[waybill.ID][]string, then func(ids []waybill.ID)) {
	if len(said) == 0 {
		return
	}
	t.answered.Store(answersSome)
	ids := slices.SortedFunc(maps.Keys(consumers), waybill.ID.Compare)
	t.writeThen(ctx, "note who has confirmed", ids, func(ctx context.Context, ids []waybill.ID) error {
		crash.Point("relay.note.before")
		err := t.r.queue.SaveAnswers(ctx, about(ids, said))
		crash.Point("relay.note.after")
		return err
	}, func(ctx context.Context, ids []waybill.ID) {
		then(ids)
		t.noted(ctx, ids, said, consumers)
	})
}

// about returns those of the answers that are on these messages.
func about(ids []waybill.ID, said []store.Answer) []store.Answer {
	of := make(map[waybill.ID]bool, len(ids))
	for _, id := range ids {
		of[id] = true
	}
	return slices.DeleteFunc(slices.Clone(said), func(a store.Answer) bool { return !of[a.MessageID] })
}

// noted does what follows from answers on these messages that are written.
func (t *term) noted(ctx context.Context, ids []waybill.ID, said []store.Answer, consumers map[waybill.ID][]string) {
	if len(ids) == 0 {
		return
	}
	known, read := t.readAnswers(ctx, ids)
	if !read {
		t.waitAgain(ids) // the last answer may be among them, and nobody has done away with its row
		return
	}
	t.finish(ctx, known, consumers)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range about(ids, said) {
		if f := t.parked[parkedKey{a.MessageID, a.Consumer}]; f != nil {
			f.lane.drop(f)
		}
	}
	t.wake()
}

// readAnswers reads what is known of messages; false where ctx has ended before.
func (t *term) readAnswers(ctx context.Context, ids []waybill.ID) (all map[waybill.ID][]store.Answer, read bool) {
	read = t.retryUntilDone(ctx, "read who has confirmed", func() error {
		crash.Point("relay.answers.before")
		known, err := t.r.queue.Answers(ctx, ids)
		crash.Point("relay.answers.after")
		all = byMessage(known)
		return err
	})
	return all, read
}

// finish does away with those messages of which all consumers have answered.
func (t *term) finish(ctx context.Context, known map[waybill.ID][]store.Answer, consumers map[waybill.ID][]string) {
	var done []waybill.ID
	for id, said := range known {
		a := answersOf(consumers[id], said)
		switch n := len(consumers[id]); {
		case n == 0 || !a.complete(n):
		case a.rejected == 0:
			done = append(done, id)
		default:
			t.reject(ctx, id, reasonsOf(consumers[id], said))
		}
	}
	if len(done) == 0 {
		return
	}
	slices.SortFunc(done, waybill.ID.Compare) // as all lock them
	t.write(ctx, "delete confirmed messages", done, func(ctx context.Context, ids []waybill.ID) error {
		crash.Point("relay.finish.before")
		n, err := t.r.queue.DeleteAnswered(ctx, ids)
		crash.Point("relay.finish.after")
		t.r.counters.confirmed.Add(n)
		return err
	})
}

// hears does in the window what a receipt of one of the named consumers asks for. It
// returns false for a receipt that changes nothing. mu is held.
func (l *lane) hears(f *inflight, who int, c consumerReceipt, s *settlement) (isNew bool) {
	switch n := len(l.o.Consumers); {
	case c.Outcome == waybill.Rejected && n == 1:
		f.state = settling
		s.slow = append(s.slow, slowReceipt{c, l.o.Consumers, true})
	case c.Outcome == waybill.Rejected:
		if f.has(who) {
			return false
		}
		l.notesAnswer(f)
		f.rejected |= 1 << who
		f.written = true
		if f.complete(n) {
			f.state = settling
		}
		s.slow = append(s.slow, slowReceipt{c, l.o.Consumers, true})
	default:
		if f.confirmed>>who&1 != 0 {
			return false
		}
		l.notesAnswer(f)
		f.confirm(who)
		switch {
		case !f.complete(n) && !mutant.FirstConsumer:
		case f.written:
			f.state = settling
			s.note(l.o.Consumers, f.confirmations(f.id, l.o.Consumers)...)
		default:
			f.state = settling
			s.done = append(s.done, f.id)
		}
	}
	return true
}

// notesAnswer notes that a message of the window has an answer that it had not. mu is
// held.
func (l *lane) notesAnswer(f *inflight) {
	if f.some() {
		return
	}
	l.answered++
	if at := f.sent + l.timeout(); at < l.nextPark || l.isCrowded() {
		l.nextPark = min(l.nextPark, at)
		signal(l.t.parks)
	}
}

// recall notes what is known of a message that comes into the window. mu is held.
func (l *lane) recall(f *inflight, known []store.Answer) {
	a := answersOf(l.o.Consumers, known)
	if a.some() {
		l.notesAnswer(f)
	}
	f.answers = a
}

// isOneOf reports which of the consumers has sent a receipt; -1 for one that is none of
// them, which is counted and told now and then. mu may be held.
func (t *term) isOneOf(ctx context.Context, consumers []string, c consumerReceipt) int {
	who := slices.Index(consumers, c.consumer)
	if who < 0 {
		t.r.counters.unknown.Add(1)
		if times, due := t.r.repeats.Due("consumer "+c.consumer, ""); due {
			t.log.WarnContext(ctx, "receipts from a consumer that the destination does not have are dropped; is its name misspelt, there or in Destination.Consumers?",
				slog.String("consumer", c.consumer), slog.Any("consumers", consumers), slog.Int64("times", times), slog.String("id", c.ID.String()))
		}
	}
	return who
}

// rejectOf notes that one of several named consumers has rejected a message. The others
// go on.
func (t *term) rejectOf(ctx context.Context, c consumerReceipt, consumers []string) {
	if t.older { // there is no place for answers
		t.reject(ctx, c.ID, reasonsOf(consumers, []store.Answer{{MessageID: c.ID, Consumer: c.consumer, Rejected: true, Reason: c.Error}}))
		return
	}
	if times, due := t.r.repeats.Due("rejected by "+c.consumer, c.Error); due {
		t.log.WarnContext(ctx, "one of its consumers has rejected a message; the others go on", slog.String("id", c.ID.String()), slog.String("consumer", c.consumer), slog.Int64("times", times), slog.String("reason", c.Error))
	}
	said := append(t.confirmationsOf(c.ID), store.Answer{MessageID: c.ID, Consumer: c.consumer, Rejected: true, Reason: c.Error})
	t.note(ctx, said, map[waybill.ID][]string{c.ID: consumers})
}

// confirmationsOf is what is known in memory alone of a message.
func (t *term) confirmationsOf(id waybill.ID) []store.Answer {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.inflights[id]
	if f == nil {
		return nil
	}
	return f.confirmations(id, f.lane.o.Consumers)
}

// isAnswered reports whether a consumer has answered already, of a message in no window of
// its: a copy that was sent for others, and what it says to that, must not hold up those.
func (t *term) isAnswered(ctx context.Context, c consumerReceipt) bool {
	t.mu.Lock()
	isTracked := t.tracked(c) != nil
	t.mu.Unlock()
	if isTracked || t.answered.Load() == answersNone {
		return false
	}
	known, _ := t.readAnswers(ctx, []waybill.ID{c.ID})
	return slices.ContainsFunc(known[c.ID], func(a store.Answer) bool { return a.Consumer == c.consumer })
}
