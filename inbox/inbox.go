// Package inbox receives messages, guards against duplicates and stale states, runs
// the handler in the transaction that the guard was written in, and sends receipts.
//
// The order of three steps never changes: commit, acknowledge to the broker, send the
// receipt. A process may die between any two of them. The relay then sends another
// copy, the inbox finds the record, runs no handler, and acknowledges and receipts the
// message again.
//
// The files: inbox.go (Handler, New, Handle, Run), batch.go (handlers of batches), options.go (Options, HandleOptions
// and their defaults), session.go (the connection to the broker), route.go (one
// destination: its subscription and its workers), item.go (a message that has arrived),
// worker.go (batches, and what to do when a transaction fails), apply.go (the
// transaction: guards, handlers, commit), call.go (the calls of handlers, and those that
// do not return), said.go (what a handler's error says), outcome.go (what became of messages: which
// are acknowledged, receipted, retried or rejected), foreign.go (tries of messages without
// a receipt address), kept.go (messages that nobody else keeps), held.go (those that are held
// for their next try), pause.go (destinations that are paused, by a person
// or by themselves), receipts.go (the sending of receipts), floor.go (what producers
// tell of their oldest messages, and its storing), prune.go (the removal of old records), version.go
// (keys whose version goes back), stats.go.
package inbox

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/leftover"
	"github.com/waybill-go/waybill/internal/option"
	"github.com/waybill-go/waybill/internal/repeat"
	"github.com/waybill-go/waybill/internal/turn"
	"github.com/waybill-go/waybill/store"
)

// Handler does a message's effect through tx, which already holds the guard's
// record: both commit or neither does. It must not commit or roll back tx. What it
// does elsewhere may happen more than once, since a batch with a failure is rolled
// back and run again.
//
// What it returns decides what becomes of the message:
//
//   - nil: the transaction commits, and the producer is told that the message is done.
//   - waybill.RetryAfter: the producer's relay sends the message again after that time
//     (at most 30 days) or later. This does not count towards Options.MaxTries.
//   - waybill.Permanent: the message is rejected at once. Its producer keeps it, with
//     the reason, for a person to look at.
//   - any other error is a failure, and so is a panic, or an error whose methods panic, such
//     as a nil pointer of a type that is an error. The relay sends the message again,
//     after a delay that grows with each failure, and failure number Options.MaxTries
//     rejects the message.
//
// Messages of foreign producers carry no receipt address (header receiptTo), and neither do
// those of destinations that are set to waybill.Accepted, so nobody can be told. This consumer
// keeps those that are rejected itself, in its table n_rejected, before it acknowledges them:
// 'waybill list --side consumer' shows them, and 'waybill resend --side consumer' has them
// handled again. After a failure such a message comes again after 0.1 s, doubled with each
// failure up to a minute, less up to half of it at random, and after RetryAfter when its time
// is over, which counts as no failure. A next try within a minute of the message's arrival
// is awaited with the message held here and not acknowledged; what comes later waits in
// n_rejected, 1,000 messages at most, and the others go on being held. As long as it is held
// this process counts in memory, and begins anew after a restart. Options.DeadLetter leaves
// rejected messages to the broker.
//
// The messages of one destination that have one key are handled by one goroutine of this
// Inbox, one at a time; all other calls may be concurrent. ctx ends after
// Options.Timeout, or nine tenths of Options.Drain after Run was told to stop; what the
// handler returns soon after that counts as ever. A handler that has not returned after
// twice Options.Timeout has failed, whatever it returns: its transaction is rolled back, and
// while it goes on the messages of its key, or copies of its message, are put off by a
// minute each.
//
// It has to return: a call of runtime.Goexit, as by t.FailNow of a test, is a failure too.
type Handler func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error

// Inbox consumes from one broker into one database. Its methods are safe for
// concurrent use, but Handle and the like have to be called before Run.
type Inbox struct {
	o       Options
	ledger  *store.Ledger
	broker  broker.Broker
	log     *slog.Logger
	running atomic.Bool
	parts   leftover.Set // of Run

	counters counters
	repeats  repeat.Filter // what the log has of what goes on
	receipts *receipts
	floors   floors
	versions versions
	pauses   pauses
	// subscribing lets a few routes at a time subscribe: brokers may have to make a queue for
	// each, which takes them long, and do one after another.
	subscribing *turn.Line

	mu       sync.Mutex
	routes   []*route
	problems option.Check // with what Handle, HandleWith and Use were given
	// middleware is put around the handlers that come later, the last one first.
	middleware      []func(Handler) Handler
	batchMiddleware []func(BatchHandler) BatchHandler

	wasConnected atomic.Bool // a connection has been open, now or earlier
	connected    atomic.Bool // one is open now
}

const (
	// subscribingMost is how many routes at a time subscribe, and subscribingTime after how
	// long one that is still at it counts no more.
	subscribingMost = 16
	subscribingTime = time.Second
)

// New returns an inbox. All faults of its arguments and options are reported at once. It
// does no I/O.
func New(db *sql.DB, dialect store.Dialect, b broker.Broker, o *Options) (*Inbox, error) {
	var check option.Check
	c := o.withDefaults(dialect, &check)
	if b == nil {
		check.Problem("a broker is required")
	} else if c.DeadLetter && !b.Capabilities().DeadLetter {
		check.Problem("%w", errNoPlace)
	}
	ledger, err := store.NewLedger(db, dialect, c.TablePrefix, c.Consumer)
	if err != nil {
		check.Problem("%w", err)
	}
	if err := check.Err("inbox options"); err != nil {
		return nil, err
	}
	in := &Inbox{o: c, ledger: ledger, broker: b, log: c.Logger.With(slog.String("consumer", c.Consumer)), subscribing: turn.NewLine(subscribingMost, subscribingTime)}
	in.receipts = newReceipts(in)
	in.pauses.tripped = make(chan struct{}, 1)
	ledger.OnSuperseded(in.noteSuperseded)
	return in, nil
}

// Handle names the handler of a queue and what guards it. A fault, such as a second
// handler for one destination, is reported by Run.
func (in *Inbox) Handle(destination string, level waybill.Level, handler Handler) {
	in.HandleWith(destination, level, handler, nil)
}

// HandleWith is Handle with options of the destination's own, such as for a topic.
func (in *Inbox) HandleWith(destination string, level waybill.Level, handler Handler, o *HandleOptions) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if handler != nil {
		for _, m := range slices.Backward(in.middleware) {
			handler = m(handler)
		}
	}
	in.add(destination, level, handler.alone(), false, o)
}

// add adds a route; several says that its handler takes several messages at a time. in.mu is
// held.
func (in *Inbox) add(destination string, level waybill.Level, handler BatchHandler, several bool, o *HandleOptions) {
	c := o.withDefaults(destination, &in.o, &in.problems)
	in.checkRoute(destination, level, handler, &c)
	r := newRoute(in, destination, level, handler, c)
	r.several = several
	in.routes = append(in.routes, r)
}

// Use puts middleware around the handlers that Handle and HandleWith are given from now on:
// for logs, timing, tenants. The first one given is the outermost. What it does with tx is
// part of the message's transaction, and what it returns is the handler's verdict; see
// Handler. Handlers of batches have their own, UseBatch.
func (in *Inbox) Use(middleware ...func(next Handler) Handler) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.middleware = appendSound(in, in.middleware, middleware)
}

// appendSound appends middleware that is not nil, and notes what is. in.mu is held.
func appendSound[H any](in *Inbox, all, more []func(next H) H) []func(next H) H {
	for _, m := range more {
		if m == nil {
			in.problems.Problem("a middleware is nil")
			continue
		}
		all = append(all, m)
	}
	return all
}

// checkRoute notes what is wrong with a new route. in.mu is held.
func (in *Inbox) checkRoute(destination string, level waybill.Level, handler BatchHandler, o *HandleOptions) {
	if err := waybill.CheckDestination(destination); err != nil {
		in.problems.Problem("destination %.80q: %w", destination, err)
	}
	if level != waybill.Once && level != waybill.Latest {
		in.problems.Problem("destination %.80q: level %d is neither waybill.Once nor waybill.Latest", destination, level)
	}
	if handler == nil {
		in.problems.Problem("destination %.80q: the handler is nil", destination)
	}
	if can := in.broker.Capabilities(); o.Topic && !can.Topics {
		in.problems.Problem("destination %.80q: %s has no topics", destination, can.Name)
	}
	for _, r := range in.routes {
		if r.destination == destination && r.o.Topic == o.Topic {
			in.problems.Problem("destination %.80q: it has a handler already", destination)
		}
	}
}

// Run consumes until ctx is cancelled. It then finishes what is being handled,
// acknowledges and receipts it, closes the connection and returns nil, all within about
// Options.Drain; what was not handled comes again. Where something does not end in time,
// such as a handler that does not look at its context, it returns a *waybill.DrainError that
// names it, and leaves it behind. A database or broker that is away is
// waited for, at start and at any time, and so is a right on the tables that is missing,
// which the log tells. It returns an error where waiting cannot help:
// a fault of Handle or no handler at all, tables that are missing or of another version
// (waybill.ErrSchema), a database (store.ErrRefused) or a broker (broker.ErrRefused) that
// refuses our credentials at the very first connection, or an inbox that runs already. Where
// something does not end in time then, a *waybill.DrainError is joined to it. After it has returned
// it may be called again, but where it has left behind more than handlers, not until that
// has ended.
func (in *Inbox) Run(ctx context.Context) error {
	if in.running.Swap(true) {
		return errors.New("waybill: this inbox runs already")
	}
	ended, late := make(chan error, 1), make(chan error, 1)
	go func() {
		err := in.run(ctx, late)
		in.running.Store(false)
		ended <- err
	}()
	var cause error // where it is not that ctx has ended
	grace := in.o.Drain + in.o.Drain/20
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	case cause = <-late:
		grace = in.o.Drain / 20
	}
	// Everything ends by itself in time, or is to be blamed.
	over := time.NewTimer(grace)
	defer over.Stop()
	select {
	case err := <-ended:
		return err
	case <-over.C:
		return in.leaves(cause, in.parts.Left("the inbox itself", in.stuckNow()...))
	}
}

// leaves is the error of a Run that has left something behind: the cause of its end, where that is
// not its context's, comes first.
func (in *Inbox) leaves(cause error, left []string) error {
	err := &waybill.DrainError{After: in.o.Drain, Left: left}
	if cause == nil {
		return err
	}
	return errors.Join(cause, err)
}

// run is Run, but for the bound of the time for an end. late hears why there is one that ctx has
// not asked for, where it takes longer than Options.Drain.
func (in *Inbox) run(ctx context.Context, late chan<- error) error {
	defer in.parts.Do("closing the connections to the database", in.ledger.CloseIdle)
	in.mu.Lock()
	routes, err := in.routes, in.problems.Err("inbox")
	in.mu.Unlock()
	if err != nil {
		return err
	}
	if len(routes) == 0 {
		return errors.New("waybill: the inbox has no handler; call Handle before Run")
	}
	in.parts.Do("a check of the database", func() { err = in.check(ctx, levels(routes)) })
	if err != nil || ctx.Err() != nil {
		return err
	}

	// Each of three contexts outlives the one before. receive ends when the inbox is told
	// to stop. settle ends once what is being handled by then is committed,
	// acknowledged and receipted, or when nine tenths of Options.Drain are over: what is
	// left then is for handlers to return, and for the end of the connection. finish ends
	// Options.Drain after the stop, and the others with it: no step of the stop, the closing
	// of the connection included, begins a time of its own.
	receive, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer leftover.Late(receive, in.o.Drain, late)()
	finish, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	settle, settled := context.WithCancel(finish)
	defer settled()

	in.parts.Do("reading which destinations are paused", func() { in.lookAtPauses(ctx, firstPauses) })
	var workers, background sync.WaitGroup
	for _, r := range routes {
		r.start(receive, settle, &workers)
	}
	in.parts.Go(&background, "the pruning of old records", func() { in.pruneRepeatedly(receive) })
	in.parts.Go(&background, "the storing of producers' floors", func() { in.saveFloorsRepeatedly(receive) })
	in.parts.Go(&background, "watching which destinations are paused", func() { in.watchPauses(receive) })
	in.parts.Go(&background, "the look for kept messages", func() { in.handleKept(receive) })
	var refused error
	in.parts.Go(&background, "the connection to the broker", func() {
		refused = in.connect(receive, settle, finish)
		stop(refused)
	})

	<-receive.Done()
	defer time.AfterFunc(in.o.Drain-in.o.Drain/10, settled).Stop()
	defer time.AfterFunc(in.o.Drain, abandon).Stop()
	workers.Wait()
	in.parts.Do("sending the last receipts", func() { in.receipts.drain(settle) })
	in.parts.Do("the storing of producers' last floors", func() { in.saveLastFloors(settle) })
	settled()
	background.Wait()
	if left := in.stuckNow(); len(left) > 0 {
		return in.leaves(refused, left)
	}
	return refused
}

// check checks the tables as soon as the database answers, and whether handlers of these
// levels can work with them: what a person has to mend is told, and waited for. It returns
// nil where ctx ends before.
func (in *Inbox) check(ctx context.Context, levels []waybill.Level) error {
	wait := backoff.Backoff{Least: 100 * time.Millisecond, Most: 10 * time.Second}
	for {
		err := in.checkSchema(ctx)
		blocked := err == nil
		if blocked {
			err = in.checkRights(ctx, levels)
		}
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case errors.Is(err, waybill.ErrSchema), errors.Is(err, store.ErrRefused):
			return err
		}
		if times, due := in.repeats.Due("check", err.Error()); due && blocked {
			in.log.ErrorContext(ctx, "the database does not let this inbox work; trying again", slog.Int64("times", times), slog.Any("error", err))
		} else if due {
			in.log.ErrorContext(ctx, "the database does not answer; trying again", slog.Int64("times", times), slog.Any("error", err))
		}
		wait.Sleep(ctx)
	}
}

// checkTime bounds a check: it holds up the start.
const checkTime = 30 * time.Second

// checkRights looks for what would keep the inbox from its work.
func (in *Inbox) checkRights(ctx context.Context, levels []waybill.Level) error {
	checking, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	crash.Point("inbox.check.before")
	findings, err := in.ledger.Check(checking, levels...)
	crash.Point("inbox.check.after")
	if err == nil {
		err = store.Blocked(findings)
	}
	if err != nil {
		return err
	}
	for _, f := range findings {
		in.log.WarnContext(ctx, "about the consumer's database", slog.String("finding", f.Text))
	}
	return nil
}

// levels are the levels that routes have, each once.
func levels(routes []*route) []waybill.Level {
	var found []waybill.Level
	for _, r := range routes {
		if !slices.Contains(found, r.level) {
			found = append(found, r.level)
		}
	}
	return found
}

// checkSchema asks whether the tables are of a version that this program works with.
func (in *Inbox) checkSchema(ctx context.Context) error {
	crash.Point("inbox.schema.before")
	err := in.ledger.CheckSchema(ctx)
	crash.Point("inbox.schema.after")
	return err
}
