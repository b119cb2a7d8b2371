// Package relay moves messages from the outbox's table to a broker and removes
// them when they are receipted.
//
// What has to hold rests on the table alone: a row stays until its confirmation.
// The lease, the cursor, the windows and every timer of this package exist for
// speed. If all of them fail, or two relays run at once, the result is extra
// copies, which consumers drop, and never a wrong effect.
//
// The files: relay.go (options, Run), lease.go (one relay leads), term.go (what
// the leader knows while it leads), link.go (the connection to the broker),
// pump.go (what reads rows), gaps.go (rows that commit late), lane.go (one
// destination's window and publishing), resend.go and estimator.go (when to send
// again), receipts.go (what consumers say), stats.go.
package relay

import (
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
	"github.com/waybill-go/waybill/internal/option"
	"github.com/waybill-go/waybill/store"
)

// Destination is how messages to one destination are handled. The zero value
// holds the defaults.
type Destination struct {
	// Confirm says when a row may go; Consumed by default.
	Confirm waybill.Confirmation
	// Transport says how messages travel; Durable by default. Accepted needs Durable.
	Transport waybill.Transport
	// Window is the greatest number of messages sent and not confirmed;
	// 0 means Options.Window.
	Window int
	// Consumers are the names of consumers that must each confirm a message before
	// its row goes: for topics with several consumers. Empty: the first
	// confirmation suffices, whoever it comes from. At most 64.
	Consumers []string
}

// Options configure a Relay. The zero value holds the defaults.
type Options struct {
	// Producer is the name of this outbox: the header "producer" of each message,
	// and receipts come back on the queue "ack.<Producer>". Outboxes that share a
	// broker need different names. Default "waybill".
	Producer string
	// TablePrefix is the prefix or schema of the tables; see store.NewNames.
	TablePrefix string
	// Destinations are the exceptions from Default, by name.
	Destinations map[string]Destination
	// Default is how all other destinations are handled.
	Default Destination

	// Window is the greatest number of messages per destination that are sent and
	// not confirmed. Default 10,000.
	Window int
	// Batch is the greatest number of messages read or published at once. Default 500.
	Batch int
	// BatchBytes bounds the bodies, in bytes, that are read at once, and that wait
	// for one destination's broker. Default 4 MiB.
	BatchBytes int

	// Poll is the longest time between two looks at the table when nothing wakes
	// the relay. Default 500 ms.
	Poll time.Duration
	// Wake wakes the relay: outbox.Outbox.Committed of the same process.
	Wake <-chan struct{}
	// Listen blocks, calls notify whenever another process says that messages were
	// committed, and returns when it cannot any more; the relay calls it again.
	// pgxdriver.Listener makes one.
	Listen func(ctx context.Context, notify func()) error

	// MinResend and MaxResend bound the time after which a message without a
	// receipt is sent again; between them it follows from how long receipts take.
	// FirstResend is that time before any receipt was seen. Defaults 1 s, 1 min, 5 s.
	MinResend, MaxResend, FirstResend time.Duration
	// MinRetry and MaxRetry bound the delay before the next copy of a message whose
	// consumer asked for a retry without saying when; it doubles with each failure.
	// Defaults 1 s and 10 min.
	MinRetry, MaxRetry time.Duration
	// Sweep is the least time between two looks over all unconfirmed rows for those
	// that everything else has missed. Default 30 s; the relay takes longer where a
	// sweep is slow.
	Sweep time.Duration
	// Lease is how long a relay that died keeps others waiting. Default 15 s.
	Lease time.Duration
	// Drain bounds the time that Run takes to stop. Default 5 s.
	Drain time.Duration

	// Logger receives what an operator should know. Default slog.Default().
	Logger *slog.Logger
}

// withDefaults checks o, reports everything that is wrong with it at once, and
// returns it with the defaults filled in.
func (o *Options) withDefaults() (Options, error) {
	c := Options{}
	if o != nil {
		c = *o
	}
	var check option.Check
	if c.Producer == "" {
		c.Producer = "waybill"
	}
	if err := waybill.CheckProducer(c.Producer); err != nil {
		check.Problem("Producer %.80q %w", c.Producer, err)
	}
	check.Count("Window", &c.Window, 10_000, 10_000_000)
	check.Count("Batch", &c.Batch, 500, 10_000)
	check.Count("BatchBytes", &c.BatchBytes, 4<<20, 1<<30)
	check.Duration("Poll", &c.Poll, 500*time.Millisecond)
	check.Duration("MinResend", &c.MinResend, time.Second)
	check.Duration("MaxResend", &c.MaxResend, max(time.Minute, c.MinResend))
	check.Order("MinResend", c.MinResend, "MaxResend", c.MaxResend)
	check.Duration("FirstResend", &c.FirstResend, min(max(5*time.Second, c.MinResend), max(c.MaxResend, c.MinResend)))
	check.Duration("MinRetry", &c.MinRetry, time.Second)
	check.Duration("MaxRetry", &c.MaxRetry, max(10*time.Minute, c.MinRetry))
	check.Order("MinRetry", c.MinRetry, "MaxRetry", c.MaxRetry)
	check.Duration("Sweep", &c.Sweep, 30*time.Second)
	check.Duration("Lease", &c.Lease, 15*time.Second)
	check.Duration("Drain", &c.Drain, 5*time.Second)
	c.Default.check("Default", &check)
	for name, d := range c.Destinations {
		if err := waybill.CheckDestination(name); err != nil {
			check.Problem("Destinations: %.80q %w", name, err)
		}
		d.check(fmt.Sprintf("Destinations[%q]", name), &check)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, check.Err("relay options")
}

// check reports what is wrong with the options of the destinations that name stands for.
func (d Destination) check(name string, check *option.Check) {
	if d.Confirm == waybill.Accepted && d.Transport == waybill.Transient {
		check.Problem("%s: Accepted needs Durable: a broker's word on a transient message is worth nothing", name)
	}
	if d.Confirm == waybill.Accepted && len(d.Consumers) > 0 {
		check.Problem("%s: Consumers need Consumed: with Accepted nobody waits for receipts", name)
	}
	if d.Window < 0 {
		check.Problem("%s: Window is %d, below 0", name, d.Window)
	}
	if len(d.Consumers) > 64 {
		check.Problem("%s: %d Consumers; there can be 64", name, len(d.Consumers))
	}
	seen := map[string]bool{}
	for _, consumer := range d.Consumers {
		if err := waybill.CheckConsumer(consumer); err != nil {
			check.Problem("%s: consumer %.80q %w", name, consumer, err)
		}
		if seen[consumer] {
			check.Problem("%s: consumer %.80q is named twice", name, consumer)
		}
		seen[consumer] = true
	}
}

// Relay moves one outbox's messages to one broker. Its methods are safe for
// concurrent use.
type Relay struct {
	o       Options
	queue   *store.Queue
	broker  broker.Broker
	holder  string
	log     *slog.Logger
	wake    chan struct{}
	running atomic.Bool
	// connected says that the broker has let us in before: a later refusal is then
	// waited out.
	wasConnected atomic.Bool

	counters counters
	mu       sync.Mutex
	term     *term // the current one; nil while another relay leads
}

// New returns a relay for the outbox in db. All faults of its options are
// reported at once. It does no I/O.
func New(db *sql.DB, dialect store.Dialect, b broker.Broker, o *Options) (*Relay, error) {
	options, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, errors.New("waybill: relay.New needs a broker")
	}
	queue, err := store.NewQueue(db, dialect, options.TablePrefix)
	if err != nil {
		return nil, err
	}
	return &Relay{
		o:      options,
		queue:  queue,
		broker: b,
		holder: holderName(),
		log:    options.Logger.With(slog.String("producer", options.Producer)),
		wake:   make(chan struct{}, 1),
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

// Wake tells the relay that messages have been committed. It never blocks.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run leads the outbox, or waits while another relay does, until ctx is cancelled.
// It then finishes what is under way within Options.Drain, gives its lease back
// and returns nil. A database or broker that is away is waited for, at start and
// at any time. It returns an error where waiting cannot help: tables that are
// missing or of another version (waybill.ErrSchema), or a broker that refuses our
// credentials at the very first connection (broker.ErrRefused).
func (r *Relay) Run(ctx context.Context) error {
	if r.running.Swap(true) {
		return errors.New("waybill: this relay runs already")
	}
	defer r.running.Store(false)

	work, stop := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer stop()
	if r.o.Wake != nil {
		helpers.Go(func() { r.passOn(work, r.o.Wake) })
	}
	if r.o.Listen != nil {
		helpers.Go(func() { r.listen(work) })
	}

	wait := backoff.Backoff{Least: 100 * time.Millisecond, Most: 10 * time.Second}
	checked := false
	for ctx.Err() == nil {
		var err error
		if !checked {
			crash.Point("relay.schema.before")
			err = r.queue.CheckSchema(ctx)
			crash.Point("relay.schema.after")
			checked = err == nil
		}
		led := false
		if checked {
			led, err = r.lead(ctx)
		}
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, waybill.ErrSchema), errors.Is(err, broker.ErrRefused):
			return err
		case err != nil:
			r.log.ErrorContext(ctx, "relay interrupted", slog.Any("error", err))
			if led {
				wait.Reset()
			}
			wait.Sleep(ctx)
		default:
			wait.Reset()
			backoff.Sleep(ctx, r.o.Lease/3)
		}
	}
	return nil
}

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

func (r *Relay) listen(ctx context.Context) {
	wait := backoff.Backoff{Least: 100 * time.Millisecond, Most: 30 * time.Second}
	for ctx.Err() == nil {
		began := time.Now()
		err := r.o.Listen(ctx, r.Wake)
		if ctx.Err() != nil {
			return
		}
		r.log.WarnContext(ctx, "listening for commits interrupted; polling goes on", slog.Any("error", err))
		if time.Since(began) > wait.Most {
			wait.Reset()
		}
		wait.Sleep(ctx)
	}
}
