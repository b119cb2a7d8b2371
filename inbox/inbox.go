// Package inbox receives messages, guards against duplicates and stale states, runs
// the handler in the transaction that the guard was written in, and sends receipts.
//
// The order of three steps never changes: commit, acknowledge to the broker, send
// the receipt. Each may be lost after the one before; the relay's next copy finds
// the record, does nothing and is receipted again, which heals it.
//
// The files: inbox.go (options, Handle, Run), session.go (the connection), route.go
// (one destination: what arrives, and to which worker it goes), worker.go (batches
// and what becomes of failures), apply.go (the transaction), receipts.go (what goes
// back), forget.go (pruning), stats.go.
package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
	"github.com/waybill-go/waybill/internal/option"
	"github.com/waybill-go/waybill/store"
)

// Handler does a message's effect through tx, which already holds the guard's
// record: both commit or neither does. It must not commit or roll back tx. What it
// does elsewhere may happen more than once, since a batch with a failure is rolled
// back and run again.
//
// nil: done. waybill.RetryAfter: send it again after a while. waybill.Permanent:
// never send it again; it goes back to its producer. Any other error, a panic, and
// a time-out are failures: the message comes again with a growing delay, up to
// Options.MaxTries.
//
// Messages with one key are handled by one goroutine of this process, one at a
// time; otherwise calls are concurrent. ctx ends with the handler's time-out or the
// inbox's stop.
type Handler func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error

// Options configure an Inbox. Consumer is required; the rest holds the defaults
// where it is zero.
type Options struct {
	// Consumer is the name of the consumer group. Services that share a database do
	// not see each other's records; processes of one service share their name.
	Consumer string
	// TablePrefix is the prefix or schema of the tables; see store.NewNames.
	TablePrefix string

	// Workers is the number of goroutines per destination. Default 4, and 1 on a
	// database that has one writer.
	Workers int
	// Batch is the greatest number of messages in one transaction. Default 200.
	Batch int
	// BatchTime is how long a transaction should take at most: where handlers are
	// slow, batches get smaller, and so they do where transactions lose to others that
	// lock the same rows in another order. Default 250 ms.
	BatchTime time.Duration
	// Timeout bounds one call of a handler. Default 1 min.
	Timeout time.Duration
	// MaxTries is how often a message's handler may fail before the message is
	// rejected. Default 20, which with the relay's default delays is about two hours.
	MaxTries int

	// Retention is the least age of a record that may be forgotten. Default 7 days.
	Retention time.Duration
	// PruneEvery is the time between two looks for such records, longer where a look
	// takes more than a fiftieth of it; below 0 for never. Default 1 min.
	PruneEvery time.Duration

	// Receipts says how receipts travel. Durable is the default. A receipt that is
	// lost costs one more copy.
	Receipts waybill.Transport
	// Drain bounds the time that Run takes to stop. Default 10 s.
	Drain time.Duration
	// Logger receives what an operator should know. Default slog.Default().
	Logger *slog.Logger
}

// HandleOptions are one destination's exceptions from Options.
type HandleOptions struct {
	Topic    bool          // the destination is a topic
	Workers  int           // 0: Options.Workers
	Batch    int           // 0: Options.Batch
	Timeout  time.Duration // 0: Options.Timeout
	MaxTries int           // 0: Options.MaxTries
}

// Inbox consumes from one broker into one database. Its methods are safe for
// concurrent use; Handle is for before Run.
type Inbox struct {
	o       Options
	ledger  *store.Ledger
	broker  broker.Broker
	log     *slog.Logger
	running atomic.Bool

	counters counters
	out      *receipts
	floors   floors

	mu       sync.Mutex
	routes   []*route
	problems []error
	joined   atomic.Bool // a connection has been had
	linked   atomic.Bool // there is one now
}

// New returns an inbox. All faults of its options are reported at once. It does no
// I/O.
func New(db *sql.DB, dialect store.Dialect, b broker.Broker, o *Options) (*Inbox, error) {
	c := Options{}
	if o != nil {
		c = *o
	}
	var check option.Check
	if err := waybill.CheckConsumer(c.Consumer); err != nil {
		check.Problem("Consumer %w; it names the consumer group", err)
	}
	workers := 4
	if dialect != nil && dialect.Capabilities().SingleWriter {
		workers = 1
	}
	check.Count("Workers", &c.Workers, workers, 0)
	check.Count("Batch", &c.Batch, 200, 0)
	check.Count("MaxTries", &c.MaxTries, 20, 0)
	check.Duration("BatchTime", &c.BatchTime, 250*time.Millisecond)
	check.Duration("Timeout", &c.Timeout, time.Minute)
	check.Duration("Retention", &c.Retention, 7*24*time.Hour)
	check.Duration("Drain", &c.Drain, 10*time.Second)
	if c.PruneEvery == 0 {
		c.PruneEvery = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if b == nil {
		check.Problem("a broker is required")
	}
	ledger, err := store.NewLedger(db, dialect, c.TablePrefix, c.Consumer)
	if err != nil {
		check.Problem("%w", err)
	}
	if err := check.Err("inbox options"); err != nil {
		return nil, err
	}
	in := &Inbox{o: c, ledger: ledger, broker: b, log: c.Logger.With(slog.String("consumer", c.Consumer))}
	in.out = newReceipts(in)
	return in, nil
}

// Handle names the handler of a queue and what guards it. A fault, such as a second
// handler for one destination, is reported by Run.
func (in *Inbox) Handle(destination string, level waybill.Level, handler Handler) {
	in.HandleWith(destination, level, handler, nil)
}

// HandleWith is Handle with options of the destination's own.
func (in *Inbox) HandleWith(destination string, level waybill.Level, handler Handler, o *HandleOptions) {
	c := HandleOptions{}
	if o != nil {
		c = *o
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	bad := func(format string, args ...any) {
		in.problems = append(in.problems, fmt.Errorf("destination %.80q: "+format, append([]any{destination}, args...)...))
	}
	if err := waybill.CheckDestination(destination); err != nil {
		bad("%w", err)
	}
	if level != waybill.Once && level != waybill.Latest {
		bad("level %d is neither waybill.Once nor waybill.Latest", level)
	}
	if handler == nil {
		bad("the handler is nil")
	}
	if c.Topic && in.broker != nil && !in.broker.Capabilities().Topics {
		bad("%s has no topics", in.broker.Capabilities().Name)
	}
	if c.Workers < 0 || c.Batch < 0 || c.Timeout < 0 || c.MaxTries < 0 {
		bad("an option is below 0")
	}
	for _, r := range in.routes {
		if r.destination == destination && r.o.Topic == c.Topic {
			bad("it has a handler already")
		}
	}
	orDefault := func(value *int, standard int) {
		if *value == 0 {
			*value = standard
		}
	}
	orDefault(&c.Workers, in.o.Workers)
	orDefault(&c.Batch, in.o.Batch)
	orDefault(&c.MaxTries, in.o.MaxTries)
	if c.Timeout == 0 {
		c.Timeout = in.o.Timeout
	}
	in.routes = append(in.routes, newRoute(in, destination, level, handler, c))
}

// Run consumes until ctx is cancelled. It then finishes what is being handled within
// Options.Drain and returns nil; what was not handled comes again. A database or
// broker that is away is waited for, at start and at any time. It returns an error
// where waiting cannot help: a fault of Handle, tables that are missing or of
// another version (waybill.ErrSchema), or a broker that refuses our credentials at
// the very first connection (broker.ErrRefused).
func (in *Inbox) Run(ctx context.Context) error {
	if in.running.Swap(true) {
		return errors.New("waybill: this inbox runs already")
	}
	defer in.running.Store(false)
	in.mu.Lock()
	routes, problems := in.routes, in.problems
	in.mu.Unlock()
	if len(problems) > 0 {
		return fmt.Errorf("waybill: inbox: %w", errors.Join(problems...))
	}
	if len(routes) == 0 {
		return errors.New("waybill: the inbox has no handler; call Handle before Run")
	}
	if err := in.checkSchema(ctx); err != nil || ctx.Err() != nil {
		return err
	}

	// Settling outlives receiving: a batch that is under way when ctx ends is still
	// committed, acknowledged and receipted, within the bound.
	settle, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	receive, stop := context.WithCancel(ctx)
	defer stop()
	var workers, background sync.WaitGroup
	for _, r := range routes {
		r.start(receive, settle, &workers)
	}
	background.Go(func() { in.forget(receive) })
	var refused error
	background.Go(func() {
		defer stop()
		refused = in.connect(receive, settle)
	})

	<-receive.Done()
	bound := time.AfterFunc(in.o.Drain, abandon)
	defer bound.Stop()
	workers.Wait()
	in.out.drain(settle)
	abandon()
	background.Wait()
	return refused
}

// checkSchema checks the tables as soon as the database answers.
func (in *Inbox) checkSchema(ctx context.Context) error {
	wait := backoff.Backoff{Least: 100 * time.Millisecond, Most: 10 * time.Second}
	for {
		crash.Point("inbox.schema.before")
		err := in.ledger.CheckSchema(ctx)
		crash.Point("inbox.schema.after")
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case errors.Is(err, waybill.ErrSchema):
			return err
		}
		in.log.ErrorContext(ctx, "the database does not answer; trying again", slog.Any("error", err))
		wait.Sleep(ctx)
	}
}
