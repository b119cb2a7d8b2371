// Package relay moves messages from the outbox's table to a broker and removes
// them when their receipts have come back.
//
// The promises depend on the table alone: a row stays until its receipt has come or, at a
// destination that is set to Accepted, until the broker has confirmed its message. Here,
// "confirmed" is said of the broker's answer, and "receipted" of the consumer's. The lease,
// the cursor, the windows and every timer of this package exist for speed. If all of them
// fail, or two relays run at once, the result is extra copies, which consumers drop, and
// never a wrong effect.
//
// The files, from the outside in:
//
//   - relay.go, options.go, stats.go: what users see
//   - lease.go: one relay leads, the others stand by
//   - term.go: what the leader knows while it leads
//   - link.go: the connection to the broker
//   - loop.go: what is done again and again, each in a goroutine of its own; pump.go: the
//     loops that read rows; scan.go (rows that are new, due or waited for
//     room), gaps.go (rows that commit late), newest.go (rows whose ids go back), sweep.go
//     (rows that everything else has missed), copies.go (rows that are sent again),
//     floor.go (the oldest pending row), rejected.go (what was rejected lately)
//   - admission.go: which of these rows go into a window
//   - budget.go: what all destinations share
//   - pause.go: destinations that are paused, by a person or by themselves; pace.go: how many
//     messages a second
//   - lane.go: one destination's window and queue; inflight.go: a message in the
//     window; publish.go: from the queue to the broker; first.go: where the broker may have
//     to make a queue first
//   - resend.go: when to send again; estimator.go and clock.go: what that is measured by
//   - receipts.go: what consumers say; consumers.go: what each of a destination's named
//     consumers has said; straggler.go: what those that are late have not confirmed
//   - hello.go: what another relay of the same identity says
//   - why.go: why messages wait, for a person
//   - rows.go: what becomes of a row in the end; locked.go: rows that somebody has locked
package relay

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/guest"
	"github.com/waybill-go/waybill/internal/leftover"
	"github.com/waybill-go/waybill/internal/option"
	"github.com/waybill-go/waybill/internal/repeat"
	"github.com/waybill-go/waybill/store"
)

// Relay moves one outbox's messages to one broker. Its methods are safe for
// concurrent use.
type Relay struct {
	o       Options
	queue   *store.Queue
	broker  broker.Broker
	holder  string
	stoodBy time.Time // when it was last noted that it stands by; Run's own
	log     *slog.Logger
	woken   chan struct{} // holds a value when messages may have been committed
	looks   chan struct{} // the same, for those whose ids have gone back
	running atomic.Bool
	parts   leftover.Set // of Run
	// wasConnected says that the broker has let us in before: a later refusal is then
	// waited out.
	wasConnected atomic.Bool

	counters counters
	latency  latency                // of all messages
	repeats  repeat.Filter          // what the log has of what goes on
	leader   string                 // the other relay that the log has as leading; Run's own
	twin     atomic.Pointer[string] // the last one that was heard
	mu       sync.Mutex
	term     *term         // the current one; nil while this relay does not lead
	pauses   []store.Pause // as they were read last
}

// New returns a relay that moves the messages of the outbox in db to b. A relay needs
// a database, its dialect, a broker and a name (Options.Producer). Everything that is wrong with
// them and the options is reported in one error. New does no I/O: whether database and broker
// can be reached shows in Run. The maps and slices in o must not be changed afterwards.
func New(db *sql.DB, dialect store.Dialect, b broker.Broker, o *Options) (*Relay, error) {
	var check option.Check
	options := o.withDefaults(&check)
	if b == nil {
		check.Problem("a broker is required")
	}
	queue, err := store.NewQueue(db, dialect, options.TablePrefix)
	if err != nil {
		check.Problem("%w", err)
	}
	if err := check.Err("relay options"); err != nil {
		return nil, err
	}
	return &Relay{
		o:      options,
		queue:  queue,
		broker: b,
		holder: holderName(),
		log:    options.Logger.With(slog.String("producer", options.Producer)),
		woken:  make(chan struct{}, 1),
		looks:  make(chan struct{}, 1),
	}, nil
}

// holderName names this relay in the lease: the host and process for the reader,
// and a random part that makes it unique.
func holderName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%.100s/%d/%s", host, os.Getpid(), rand.Text()[:8])
}

// Wake tells the relay that messages have been committed. It never blocks, and may be
// called at any time.
func (r *Relay) Wake() {
	signal(r.woken)
	signal(r.looks)
}

// Run leads the outbox, or waits while another relay does, until ctx is cancelled.
// Then it publishes what it has read, closes its connection to the broker, gives its
// lease back and returns nil; all of that takes no longer than about Options.Drain. Where
// something does not end in time, such as an Options.Listen that does not look at its
// context, it returns a *waybill.DrainError that names it, and leaves it behind: Run can be
// called again when that has ended.
// A database or broker that is away is waited for, at the start and at any time later,
// and so is a right on the tables that is missing, which the log tells.
// Run returns an error where waiting cannot help: tables that are missing or of
// another version (waybill.ErrSchema), or a broker (broker.ErrRefused) or a database
// (store.ErrRefused) that has refused us and has never let us in before. Where something does
// not end in time then, or when the lease is lost, a *waybill.DrainError is joined to the reason.
// A Relay runs once at a time: a second call of
// Run meanwhile is an error. It may run again after it has returned.
func (r *Relay) Run(ctx context.Context) error {
	if r.running.Swap(true) {
		return errors.New("waybill: this relay runs already")
	}
	work, abandon := context.WithCancel(ctx)
	defer abandon()
	ended, late := make(chan error, 1), make(chan error, 1)
	go func() {
		err := r.run(work, late)
		r.running.Store(false)
		ended <- err
	}()
	var cause error // where it is not that ctx has ended
	grace := r.o.Drain + r.o.Drain/20
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	case cause = <-late:
		abandon() // nothing begins anew; and what need not have ended before is not to be blamed
		grace = r.o.Drain / 20
	}
	// Everything ends by itself in time, or is to be blamed.
	over := time.NewTimer(grace)
	defer over.Stop()
	select {
	case err := <-ended:
		return cmp.Or(err, cause)
	case <-over.C:
	}
	left := &waybill.DrainError{After: r.o.Drain, Left: r.parts.Left("the relay itself")}
	if cause == nil {
		return left
	}
	return errors.Join(cause, left)
}

// run is Run, but for the bound of the time for an end. late hears why there is one that ctx has
// not asked for, where it takes longer than Options.Drain.
func (r *Relay) run(ctx context.Context, late chan<- error) (err error) {
	work, end := context.WithCancelCause(ctx)
	defer leftover.Late(work, r.o.Drain, late)()
	defer r.parts.Do("closing the connections to the database", r.queue.CloseIdle)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer func() { end(err) }()
	if r.o.Wake != nil {
		r.parts.Go(&helpers, "passing on Options.Wake", func() { r.passOn(work, r.o.Wake) })
	}
	if r.o.Listen != nil {
		r.parts.Go(&helpers, "Options.Listen", func() { r.listen(work) })
	}

	wait := backoff.Backoff{Least: 100 * time.Millisecond, Most: 10 * time.Second}
	checked := false
	for ctx.Err() == nil {
		err = nil
		if !checked {
			r.parts.Do("a check of the database", func() {
				if err = r.checkSchema(ctx); err == nil {
					err = r.check(ctx)
				}
			})
			checked = err == nil
		} else if r.queue.Older() {
			r.parts.Do("a look whether the tables have been upgraded", func() { err = r.checkSchema(ctx) })
		}
		led := false
		if checked && err == nil {
			led, err = r.lead(ctx, late)
		}
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errUpgraded):
			r.log.InfoContext(ctx, "the tables have been upgraded; this relay begins anew with them")
			wait.Reset()
		case errors.Is(err, waybill.ErrSchema), errors.Is(err, broker.ErrRefused):
			return err
		case !checked && errors.Is(err, store.ErrRefused):
			return err
		case err != nil:
			if times, due := r.repeats.Due("relay", err.Error()); due {
				r.log.ErrorContext(ctx, "the database does not let this relay work; trying again", slog.Int64("times", times), slog.Any("error", err))
			}
			if led {
				wait.Reset()
			}
			r.leader = "" // to be told again
			wait.Sleep(ctx)
		default:
			wait.Reset()
			backoff.Sleep(ctx, r.o.Lease/3)
		}
	}
	return nil
}

func (r *Relay) checkSchema(ctx context.Context) error {
	crash.Point("relay.schema.before")
	err := r.queue.CheckSchema(ctx)
	crash.Point("relay.schema.after")
	return err
}

// checkTime bounds a check: it holds up a start.
const checkTime = 30 * time.Second

// check looks for what would keep this relay from its work, before it takes the lease
// from one that can do it. What a person has to mend is an error, and is waited for.
func (r *Relay) check(ctx context.Context) error {
	checking, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	crash.Point("relay.check.before")
	findings, err := r.queue.Check(checking)
	crash.Point("relay.check.after")
	if err == nil {
		err = store.Blocked(findings)
	}
	if err != nil {
		return err
	}
	for _, f := range findings {
		r.log.WarnContext(ctx, "about the outbox's database", slog.String("finding", f.Text))
	}
	return nil
}

// passOn wakes the relay for each value of wake, until ctx ends or wake is closed.
func (r *Relay) passOn(ctx context.Context, wake <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-wake:
			if !open {
				return
			}
			r.Wake()
		}
	}
}

// listen calls Options.Listen again and again until ctx ends, or until that says that
// there is no listening here.
func (r *Relay) listen(ctx context.Context) {
	wait := backoff.Backoff{Least: 100 * time.Millisecond, Most: 30 * time.Second}
	for ctx.Err() == nil {
		began := time.Now()
		err := r.callListen(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errors.ErrUnsupported) {
			r.log.WarnContext(ctx, "no listening for commits here; polling goes on", slog.Any("reason", err))
			return
		}
		if times, due := r.repeats.Due("listening", reasonOf(err)); due {
			r.log.WarnContext(ctx, "listening for commits interrupted; polling goes on", slog.Int64("times", times), slog.Any("error", err))
		}
		if time.Since(began) > wait.Most {
			wait.Reset()
		}
		wait.Sleep(ctx)
	}
}

// callListen calls Options.Listen, which is not ours: that it panics, or ends its goroutine,
// is an error as any other, and so is an error whose methods panic.
func (r *Relay) callListen(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() {
		why := error(&listenError{text: "it has ended its goroutine with runtime.Goexit, and has to return an error"})
		defer func() { ended <- why }()
		var err error
		panicked := guest.Try(func() { err = r.o.Listen(ctx, r.Wake) })
		switch {
		case panicked != nil:
			why = &listenError{text: fmt.Sprintf("panic: %v\n%s", panicked, panicked.Stack)}
		case err == nil:
			why = nil
		default:
			said := &listenError{}
			said.text, _ = guest.Text(err)
			_ = guest.Try(func() { said.unsupported = errors.Is(err, errors.ErrUnsupported) })
			why = said
		}
	}()
	return <-ended
}

// listenError is why Options.Listen has ended.
type listenError struct {
	text        string
	unsupported bool
}

func (e *listenError) Error() string { return e.text }

func (e *listenError) Is(target error) bool {
	return e.unsupported && target == errors.ErrUnsupported
}
