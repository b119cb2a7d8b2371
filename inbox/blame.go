package inbox

import (
	"context"
	"errors"
	"log/slog"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/fault/mutant"
	"github.com/waybill-go/waybill/store"
)

// failure is a transaction that did not commit, and how far it came. Only what a handler
// did counts against its message, or a commit that fails because of it: trouble before
// any handler ran rejects nothing.
type failure struct {
	stage  stage
	blames []blame // the messages whose handler failed; none where no handler did, or it is not known whose failure it is
	err    error
	// condition is what the database's error among err says.
	condition store.Condition
	timedOut  bool // the handler took longer than its time
	left      bool // the handler goes on, and nobody waits for it; see calls
	// alive says that the transaction's connection still answered after a handler's
	// error, so an error that looks like a broken connection speaks of another one.
	alive bool
	// full says that the database has no room for what was to be written, which is no
	// message's failure, however often it is tried.
	full bool
	// lost is set where the database had rolled the transaction back before the handler
	// ran that failed, because of another transaction.
	lost error
}

// newFailure is a failure of what is ours.
func (in *Inbox) newFailure(s stage, err error) *failure {
	return &failure{stage: s, err: err, condition: in.ledger.Condition(err), full: in.ledger.Full(err)}
}

type stage int

const (
	beforeHandlers stage = iota
	inHandler
	atCommit
)

// trouble counts what has become of one batch, or one message, so far.
type trouble struct {
	conflicts int // it lost to another transaction
	failures  int // a handler failed, and the others were done again
	deaths    int // the connection died with it, and the database was well
	refusals  int // it failed for a reason of its own, without a handler's error
}

const (
	// maxConflicts is how often a transaction that lost to another is run again as it is.
	maxConflicts = 3
	// maxConflictsAlone is how often one message's transaction may lose.
	maxConflictsAlone = 10
	// maxFailures is how many messages of a batch may fail before each gets a
	// transaction of its own.
	maxFailures = 8
	// maxDeaths is how often a connection may die with a message's handler before that
	// counts as the handler's failure.
	maxDeaths = 2
	// maxRefusals is how often a transaction of one message may fail in its guard or its
	// commit, while the database is well.
	maxRefusals = 3
)

// remedy is what is to be done about a transaction that has failed.
type remedy int

const (
	runAgain    remedy = iota // as it is: the messages may be well
	splitBatch                // into parts with a transaction each; see route.split
	failMessage               // it is one message's failure; the others go on without it
	postpone                  // the message comes again later, and that is no failure of it; see outcomes.postpone
)

// remedy chooses what is to be done about a failed transaction of several messages or of
// one.
func (w *worker) remedy(ctx context.Context, f *failure, seen *trouble, several bool) remedy {
	chosen := w.choose(ctx, f, seen, several)
	if chosen == runAgain && !f.isConflict() {
		// As far as one can tell nothing is wrong with the messages: they wait for the
		// database.
		w.r.in.counters.troubles.Add(1)
		if times, due := w.r.in.repeats.Due("database", f.err.Error()); due {
			w.r.in.log.ErrorContext(ctx, "database trouble; trying again", slog.String("destination", w.r.destination), slog.Int64("times", times), slog.Any("error", f.err))
		}
	}
	return chosen
}

func (w *worker) choose(ctx context.Context, f *failure, seen *trouble, several bool) remedy {
	switch {
	case f.isConflict():
		// Where one transaction writes at a time, this one has only waited too long for its
		// turn, which a smaller batch would not have had sooner.
		w.lostConflict = !w.r.in.ledger.Capabilities().SingleWriter
		seen.conflicts++
		w.tellConflict(ctx, f, seen.conflicts)
		switch {
		case seen.conflicts <= maxConflicts:
			return runAgain
		case several:
			return splitBatch
		case f.stage != beforeHandlers && seen.conflicts > maxConflictsAlone:
			return failMessage
		}
		return runAgain
	case f.stage == inHandler && !f.full && (f.timedOut || f.alive || errors.Is(f.err, waybill.ErrTxEnded)):
		if seen.failures++; len(f.blames) == 0 || several && seen.failures > maxFailures {
			return splitBatch
		}
		return failMessage
	case mutant.BlameBeforeHandler && f.stage == beforeHandlers && several:
		return splitBatch
	case mutant.BlameBeforeHandler && f.stage == beforeHandlers:
		return failMessage
	case w.r.in.probe(ctx, w.r.level) != nil:
		return runAgain
	case several:
		return splitBatch
	}
	// The database is well, and the transaction of this one message is not.
	if !f.full && (f.stage == inHandler || f.condition == store.Unavailable) {
		if seen.deaths++; seen.deaths < maxDeaths {
			return runAgain
		}
	} else if seen.refusals++; seen.refusals < maxRefusals {
		return runAgain
	}
	if f.stage == beforeHandlers || f.full {
		return postpone
	}
	return failMessage
}

// tellConflict logs that a transaction lost to another one, and how often in turn.
// That a handler went on behind its end is worth a warning: it has not returned the error
// that said so. So is losing again and again: the other one may be the handler's own.
func (w *worker) tellConflict(ctx context.Context, f *failure, conflicts int) {
	id := "" // of several messages
	if len(f.blames) == 1 {
		id = f.blames[0].x.Message.ID.String()
	}
	most := maxConflicts
	if w.r.in.ledger.Capabilities().SingleWriter { // which this transaction is: as a rule only its handler can be in its way
		most = 1
	}
	if f.lost == nil && conflicts >= most && f.stage == inHandler {
		if times, due := w.r.in.repeats.Due("conflicts "+w.r.destination, ""); due {
			w.r.in.log.WarnContext(ctx, "a handler has waited in vain for another transaction, and its own runs again; does the handler write through a connection of its own, and not through its tx?",
				slog.String("destination", w.r.destination), slog.String("id", id), slog.Int("conflicts", conflicts), slog.Int64("times", times), slog.Any("error", f.err))
		}
		return
	}
	if f.lost == nil {
		w.r.in.log.DebugContext(ctx, "a transaction lost to another one; it runs again",
			slog.String("destination", w.r.destination), slog.String("id", id), slog.Any("error", f.err))
		return
	}
	if times, due := w.r.in.repeats.Due("went on "+w.r.destination, f.lost.Error()); due {
		w.r.in.log.WarnContext(ctx, "the database had rolled a transaction back, and a handler went on in it; nothing of it is committed, and it runs again",
			slog.String("destination", w.r.destination), slog.String("id", id), slog.Int64("times", times), slog.Any("error", f.lost))
	}
}

// isConflict says whether the transaction lost to another one.
func (f *failure) isConflict() bool {
	if f.timedOut || f.full { // a cancelled statement may look like anything, and SQLite rolls back where it is full
		return false
	}
	return f.lost != nil || f.condition == store.Conflict
}

// probeTime bounds a probe: a database that takes longer does not work.
const probeTime = 5 * time.Second

// probe returns nil where the guards of other messages work.
func (in *Inbox) probe(ctx context.Context, level waybill.Level) error {
	asking, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	crash.Point("inbox.probe.before")
	err := in.ledger.Probe(asking, level)
	crash.Point("inbox.probe.after")
	return err
}
