package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/store"
)

var (
	errForgotten        = errors.New(forgotten + "send it again from the outbox under a new id (waybill resend --as-new)")
	errForgottenTopic   = errors.New(forgotten + "send it again under a new id: from the outbox (waybill resend --as-new) if that waits for this consumer of the topic, or else as a new message")
	errForgottenForeign = errors.New(forgotten + "have it handled under a new id (waybill resend --side consumer --as-new)")
	errForgottenDead    = errors.New(forgotten + "send it again as a new message")
)

const forgotten = waybill.ReasonForgotten + "the message is older than what this consumer remembers of its producer: nothing can tell any more whether it took effect; if it did not, "

var errForgottenState = errors.New(waybill.ReasonForgotten + "keys of this destination were forgotten (waybill prune --keys-idle), and this state is not newer than theirs: nothing can tell any more whether a newer one of its key took effect; send the key's present state as a new message")

// apply does the batch's effects in one transaction: the guards of all messages first,
// then the handlers, then the commit. Only once it has committed are the outcomes noted;
// what is forgotten is rejected before that. A failure means that nothing has happened,
// or, where the answer to the commit was lost, that the guards will tell.
func (r *route) apply(ctx context.Context, batch []*item, done *outcomes) *failure {
	for {
		batch = slices.DeleteFunc(slices.Clone(batch), func(x *item) bool { return x.noted })
		if len(batch) == 0 {
			return nil
		}
		subjects := r.subjects(batch)
		verdicts, failed := r.transact(ctx, subjects)
		if failed != nil {
			return failed
		}
		if !slices.Contains(verdicts, store.Forgotten) {
			r.count(batch, subjects, verdicts)
			r.noteAccepted()
			for _, x := range batch {
				r.forgetForeign(x.Message.ID)
				done.note(x, waybill.Receipt{Outcome: waybill.Done})
			}
			return nil
		}
		// It was rolled back: once more without what was forgotten.
		for i, v := range verdicts {
			if v == store.Forgotten {
				r.in.counters.forgotten.Add(1)
				done.reject(ctx, subjects[i], r.whyForgotten(subjects[i]))
			}
		}
	}
}

// whyForgotten is why the guard of the route's level says that a message is forgotten, and
// what a person can do, which depends on who keeps it.
func (r *route) whyForgotten(x *item) error {
	switch {
	case r.level == waybill.Latest:
		return errForgottenState
	case x.ReceiptTo != "" && x.Message.Topic:
		return errForgottenTopic
	case x.ReceiptTo != "":
		return errForgotten
	case r.in.o.DeadLetter && x.kept == nil:
		return errForgottenDead
	}
	return errForgottenForeign
}

// subjects are the messages that need a guard: one for each ID, and with Latest
// only the newest of each key, since it supersedes the others of the batch.
func (r *route) subjects(batch []*item) []*item {
	if r.level == waybill.Once {
		seen := make(map[waybill.ID]bool, len(batch))
		return slices.DeleteFunc(slices.Clone(batch), func(x *item) bool {
			again := seen[x.Message.ID]
			seen[x.Message.ID] = true
			return again
		})
	}
	newest := make(map[string]*item, len(batch))
	for _, x := range batch {
		if y := newest[x.Message.Key]; y == nil || x.newer(y) {
			newest[x.Message.Key] = x
		}
	}
	return slices.DeleteFunc(slices.Clone(batch), func(x *item) bool { return newest[x.Message.Key] != x })
}

// transact runs one transaction: guards, handlers, commit. Where a message turns
// out to be forgotten it rolls back before any handler runs, and says so.
func (r *route) transact(ctx context.Context, subjects []*item) (verdicts []store.Verdict, failed *failure) {
	crash.Point("inbox.begin.before")
	tx, err := r.in.ledger.Begin(ctx)
	crash.Point("inbox.begin.after")
	if err != nil {
		return nil, r.in.newFailure(beforeHandlers, err)
	}
	rollback := func() error {
		crash.Point("inbox.rollback.before")
		lost := tx.Rollback() // does nothing after a commit
		crash.Point("inbox.rollback.after")
		return lost
	}
	defer func() {
		if failed != nil && failed.left {
			tx.Forsake()
			go func() { _ = rollback() }() // it waits while a statement of the handler's runs
			return
		}
		if lost := rollback(); failed != nil && failed.stage == inHandler {
			failed.lost = lost
		}
	}()
	there, err := r.takeKept(ctx, tx, subjects)
	if err != nil {
		return nil, r.in.newFailure(beforeHandlers, err)
	}
	if !there {
		return slices.Repeat([]store.Verdict{store.Duplicate}, len(subjects)), nil
	}
	verdicts, err = r.guard(ctx, tx, subjects)
	if mutant.GuardOutsideTransaction && err == nil {
		if err = tx.Commit(ctx); err == nil {
			tx, err = r.in.ledger.Begin(ctx)
		}
	}
	if err != nil {
		return nil, r.in.newFailure(beforeHandlers, err)
	}
	if slices.Contains(verdicts, store.Forgotten) {
		return verdicts, nil
	}
	if failed := r.handlers(ctx, tx, subjects, verdicts); failed != nil {
		return nil, failed
	}
	crash.Point("inbox.commit.before")
	err = tx.Commit(ctx)
	crash.Point("inbox.commit.after")
	if err != nil {
		return nil, r.in.newFailure(atCommit, fmt.Errorf("waybill: commit: %w", err))
	}
	return verdicts, nil
}

// guard writes the records of the messages and says of each what it is.
func (r *route) guard(ctx context.Context, tx *store.Transaction, subjects []*item) ([]store.Verdict, error) {
	marks := make([]store.Mark, len(subjects))
	for i, x := range subjects {
		marks[i] = x.mark()
	}
	record := r.in.ledger.RecordOnce
	if r.level == waybill.Latest {
		record = r.in.ledger.RecordLatest
	}
	crash.Point("inbox.guard.before")
	verdicts, err := record(ctx, tx, marks)
	crash.Point("inbox.guard.after")
	return verdicts, err
}

// noteOlderInBatch takes a state for which a newer one of the batch was applied.
func (r *route) noteOlderInBatch(x *item, subjects []*item) {
	for _, y := range subjects {
		if y.Message.Key == x.Message.Key {
			r.in.noteSuperseded(x.mark(), y.Message.ID)
			return
		}
	}
}

// count adds what a committed batch came to, where a message without a guard of its own
// is a copy of one that has, or was superseded by it.
func (r *route) count(batch, subjects []*item, verdicts []store.Verdict) {
	var handled, duplicates, superseded int64
	for _, v := range verdicts {
		switch v {
		case store.Fresh:
			handled++
		case store.Duplicate:
			duplicates++
		case store.Superseded:
			superseded++
		case store.Forgotten: // did not commit
		}
	}
	chosen := make(map[*item]bool, len(subjects))
	ids := make(map[waybill.ID]bool, len(subjects))
	for _, x := range subjects {
		chosen[x] = true
		ids[x.Message.ID] = true
	}
	for _, x := range batch {
		switch {
		case chosen[x]:
		case ids[x.Message.ID]:
			duplicates++
		default:
			superseded++
			r.noteOlderInBatch(x, subjects)
			ids[x.Message.ID] = true
		}
	}
	c := &r.in.counters
	c.handled.Add(handled)
	c.duplicates.Add(duplicates)
	c.superseded.Add(superseded)
	r.counts.handled.Add(handled)
	r.counts.duplicates.Add(duplicates)
	r.counts.superseded.Add(superseded)
}
