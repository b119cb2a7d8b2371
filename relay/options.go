package relay

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/option"
)

// Options configure a Relay; Producer is required, and the zero value of every other field
// holds its default. Numbers and durations below 0 are errors, but for RejectedHold, and 0
// stands for the default.
type Options struct {
	// Producer is the name of this outbox, such as that of the service: the header
	// "producer" of each message. Receipts come back on the queue
	// "ack.<Producer>.<identity>", where identity is what the outbox's tables have drawn
	// at random, so that outboxes that have one name do not take each other's.
	// waybill.CheckProducer has the rules.
	Producer string
	// TablePrefix is the prefix or schema of the tables; see store.NewNames. Default
	// none.
	TablePrefix string
	// Destinations are the exceptions from Default, by the names of queues and topics.
	Destinations map[string]Destination
	// Topics are those of topics alone: what it has for a topic counts before what
	// Destinations have for its name, so that a queue and a topic of one name can differ.
	Topics map[string]Destination
	// Default is how all other destinations are handled.
	Default Destination

	// Window is the greatest number of messages of one destination that the relay
	// has read and that have no receipt yet; further ones wait in the table. 1 to
	// 10,000,000. Default 10,000.
	Window int
	// Batch is the greatest number of messages read or published at once, 1 to
	// 10,000. Default 500.
	Batch int
	// BatchBytes bounds the bodies, in bytes, that are read at once, and those that
	// wait for one destination's broker; the last message may go beyond it. 1 to
	// 1 GiB. Default 4 MiB.
	BatchBytes int

	// InFlight is the greatest number of messages of all destinations together that the
	// relay has read and that have no receipt yet, each named consumer's of its own
	// included. One destination has as many at most as are left for the others, so a
	// consumer that is away does not take it all. 1 to 100,000,000. Default 200,000, or
	// twice the greatest Window if that is more; one costs about 300 bytes.
	InFlight int
	// InFlightBytes bounds the messages, in bytes of their bodies and headers, of all
	// destinations together that wait for the broker or are being published; what is read
	// at once (BatchBytes) may go beyond it. It is shared like InFlight. Default 64 MiB, or eight
	// times BatchBytes if that is more.
	InFlightBytes int

	// Poll is the longest time between two looks at the table when nothing wakes
	// the relay. Default 500 ms.
	Poll time.Duration
	// Wake wakes the relay with each value that it receives: outbox.Outbox.Committed
	// of the same process. Default none.
	Wake <-chan struct{}
	// Listen calls notify whenever another process says that messages were committed.
	// It blocks until ctx ends or listening does not work any more; the relay calls it
	// again after 50 ms to 30 s, unless its error matches errors.ErrUnsupported. pgxdriver.Listener makes one. Default none.
	Listen func(ctx context.Context, notify func()) error

	// MinResend and MaxResend bound the time after which a message without a
	// receipt is sent again; between them it follows from how long receipts take.
	// FirstResend is that time before there was any receipt. Defaults 1 s, 1 min, and
	// 5 s or the nearest that lies between the other two.
	MinResend, MaxResend, FirstResend time.Duration
	// MinRetry and MaxRetry bound the delay before the next copy of a message whose
	// consumer asked for a retry without saying when. It doubles with each failure, and
	// up to half of it is taken off by chance. Defaults 1 s and 10 min.
	MinRetry, MaxRetry time.Duration
	// Sweep is the time between two looks over all pending rows for those that
	// everything else has missed: a quarter of it where there is reason to think that
	// some were, and longer where a sweep is slow. Default 30 s.
	Sweep time.Duration
	// RejectedHold is for how long a message that is rejected holds the floor that
	// consumers are told, and a 72nd part longer at most, so that they remember what they know
	// of it: until then, and for their retention after it, 'waybill resend' has it handled as if
	// it had never been rejected. It counts from the rejection, by the database's clock, however
	// old the message was then. (Of what an older program has rejected, or a person by SQL, it
	// counts from the id's time.) Consumers keep the records of as long a time as the
	// oldest such message is old. One that is sent again or discarded holds it for an hour
	// longer at most. Below 0: rejected messages hold no floor. Default 72 h.
	RejectedHold time.Duration
	// PausesEvery is the time between two looks at which destinations are paused. Default 1 s.
	PausesEvery time.Duration
	// Lease is the time after which a relay that does not renew its lease has lost it.
	// When a relay dies another one takes its place within four thirds of that.
	// Default 15 s.
	Lease time.Duration
	// Drain bounds the time that Run takes to stop, all in all: to finish what is under
	// way, close the connection and give the lease back. Default 5 s.
	Drain time.Duration

	// Observer hears what the relay does, for traces and figures. Default none.
	Observer Observer
	// Logger receives what an operator should know. Default slog.Default().
	Logger *slog.Logger
}

// Destination is how the messages to one destination are handled. The zero value
// holds the defaults.
type Destination struct {
	// Confirm says when a row may go; Consumed by default.
	Confirm waybill.Confirmation
	// Transport says how messages travel; Durable by default. Accepted needs Durable.
	Transport waybill.Transport
	// Window is the greatest number of messages read and without a receipt; 0 means
	// Options.Window.
	Window int
	// Consumers are the names of consumers that must each confirm a message before
	// its row goes: for topics with several consumers. One that is down or rejects takes
	// nothing from the others: the row waits for it, and they go on. A name that is taken
	// out is not waited for any more; a new one has to confirm what is pending. Empty: the
	// first confirmation suffices, whoever it comes from. At most 64, and only with
	// Consumed.
	Consumers []string
	// PerSecond is the greatest number of messages a second that are sent, further copies
	// included, above 0; a tenth of it may be sent at once. It holds up no other
	// destination. 0: no limit.
	PerSecond float64
	// Breaker pauses the destination where too many of its messages are rejected, by the
	// consumer or as the broker never takes them. Default off.
	Breaker waybill.Breaker
}

// withDefaults notes in check what is wrong with o, and returns a copy with the defaults
// filled in.
func (o *Options) withDefaults(check *option.Check) Options {
	c := Options{}
	if o != nil {
		c = *o
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}

	if c.Producer == "" {
		check.Problem("Producer is required: the name of this outbox, such as that of the service")
	} else if err := waybill.CheckProducer(c.Producer); err != nil {
		check.Problem("Producer %.80q %w", c.Producer, err)
	}
	check.Count("Window", &c.Window, 10_000, 10_000_000)
	check.Count("Batch", &c.Batch, 500, 10_000)
	check.Count("BatchBytes", &c.BatchBytes, 4<<20, 1<<30)
	greatest := c.Window
	c.hasDestination(func(d Destination) bool {
		greatest = max(greatest, d.Window)
		return false
	})
	check.Count("InFlight", &c.InFlight, max(200_000, 2*greatest), 100_000_000)
	check.Count("InFlightBytes", &c.InFlightBytes, max(64<<20, min(c.BatchBytes, math.MaxInt/8)*8), 0)
	check.Duration("Poll", &c.Poll, 500*time.Millisecond)
	check.Duration("MinResend", &c.MinResend, time.Second)
	check.Duration("MaxResend", &c.MaxResend, max(time.Minute, c.MinResend))
	check.Order("MinResend", c.MinResend, "MaxResend", c.MaxResend)
	check.Duration("FirstResend", &c.FirstResend, min(max(5*time.Second, c.MinResend), c.MaxResend))
	check.Duration("MinRetry", &c.MinRetry, time.Second)
	check.Duration("MaxRetry", &c.MaxRetry, max(10*time.Minute, c.MinRetry))
	check.Order("MinRetry", c.MinRetry, "MaxRetry", c.MaxRetry)
	check.Duration("Sweep", &c.Sweep, 30*time.Second)
	if c.RejectedHold == 0 {
		c.RejectedHold = defaultRejectedHold
	}
	check.Duration("PausesEvery", &c.PausesEvery, time.Second)
	check.Duration("Lease", &c.Lease, 15*time.Second)
	check.Duration("Drain", &c.Drain, 5*time.Second)

	c.Default.check("Default", check)
	checkDestinations("Destinations", c.Destinations, check)
	checkDestinations("Topics", c.Topics, check)
	return c
}

// checkDestinations reports what is wrong with the field of Options that name is.
func checkDestinations(field string, exceptions map[string]Destination, check *option.Check) {
	for _, name := range slices.Sorted(maps.Keys(exceptions)) {
		if err := waybill.CheckDestination(name); err != nil {
			check.Problem("%s: %.80q %w", field, name, err)
		}
		exceptions[name].check(fmt.Sprintf("%s[%q]", field, name), check)
	}
}

// check reports what is wrong with the options of the destinations that name stands for.
func (d Destination) check(name string, check *option.Check) {
	if d.Confirm == waybill.Accepted && d.Transport == waybill.Transient {
		check.Problem("%s: Accepted needs Durable: a broker that confirms a transient message may still lose it", name)
	}
	if d.Confirm == waybill.Accepted && len(d.Consumers) > 0 {
		check.Problem("%s: Consumers need Consumed: with Accepted nobody waits for receipts", name)
	}
	if d.Window < 0 {
		check.Problem("%s: Window is %d, below 0", name, d.Window)
	}
	if !(d.PerSecond >= 0 && d.PerSecond <= 1e9) { // nor NaN
		check.Problem("%s: PerSecond is %v; use a number above 0, or 0 for no limit", name, d.PerSecond)
	}
	if err := d.Breaker.Check(); err != nil {
		check.Problem("%s: Breaker: %w", name, err)
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

// destination returns how the messages to a destination are handled.
func (o *Options) destination(name string, topic bool) Destination {
	if d, known := o.Topics[name]; known && topic {
		return d
	}
	if d, known := o.Destinations[name]; known {
		return d
	}
	return o.Default
}

// hasDestination reports whether a destination may be handled in such a way.
func (o *Options) hasDestination(such func(Destination) bool) bool {
	if such(o.Default) {
		return true
	}
	for _, exceptions := range []map[string]Destination{o.Destinations, o.Topics} {
		for _, d := range exceptions {
			if such(d) {
				return true
			}
		}
	}
	return false
}

// wantsReceipts reports whether any destination waits for receipts.
func (o *Options) wantsReceipts() bool {
	return o.hasDestination(func(d Destination) bool { return d.Confirm == waybill.Consumed })
}

// namesConsumers reports whether any destination needs the receipts of named consumers.
func (o *Options) namesConsumers() bool {
	return o.hasDestination(func(d Destination) bool { return len(d.Consumers) > 0 })
}
