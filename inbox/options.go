package inbox

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/option"
	"github.com/waybill-go/waybill/store"
)

// Options configure an Inbox; Consumer is required, and the zero value of every other
// field holds its default. A number or time below 0 is refused, but for PruneEvery.
type Options struct {
	// Consumer is the name of the consumer group; waybill.CheckConsumer has its rules.
	// Services that share a database do not see each other's records; processes of one
	// service share their name, and what they remember (see Retention).
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
	// PrefetchBytes bounds the bodies, in bytes, that are received and not settled, all
	// destinations together, as far as the broker lets it: what is under way already comes
	// all the same, and each destination may have one message. How many messages that are
	// within it follows from how long they take: what the workers handle in about twice
	// BatchTime, so that several processes of a consumer share what there is, and at most
	// two batches for each worker. Default 32 MiB.
	PrefetchBytes int
	// Timeout bounds one call of a handler: its context ends then. A handler that does not
	// return all the same is logged and counted (Stats.Overdue), and given up after twice
	// that time; see Handler. Default 1 min.
	Timeout time.Duration
	// MaxTries is the number of failures of a message's handler at which the message is
	// rejected. Default 20: with the relay's default delays (1 s, doubled with each
	// failure up to 10 min, less up to half of it at random) the last try comes about
	// 1 h 20 min after the first, and at most 1 h 47 min after it, besides the time that
	// the tries themselves take. Messages without a receipt address come sooner; see Handler.
	MaxTries int

	// Retention is by how much a record of waybill.Once must be older than its producer's
	// floor, and than the database's clock, before it is removed; so records whose messages
	// the producer may still send again stay longer. What it has to cover is the time from
	// Send to the commit and, where ids are the sender's own, their age of up to 12 hours.
	// A producer's database that is restored from an older backup has messages rejected
	// that had been done. Default 24 hours.
	//
	// Retention and ForeignRetention belong to the consumer, and not to the process: what one
	// process of it has forgotten, or 'waybill prune', is forgotten for all, so that of several
	// that differ the shortest holds. Set them alike.
	Retention time.Duration
	// ForeignRetention is the same for messages of producers that do not wait for receipts
	// as far as can be told: foreign programs, destinations that are set to
	// waybill.Accepted, relays of version 1. Their messages have to arrive within it. Messages
	// from topics have the longer one of both, since a producer waits only for those
	// consumers of a topic that it names. Default Retention where that is set, or else 7 days.
	ForeignRetention time.Duration
	// PruneEvery is the longest time between two looks for such records. A look comes
	// after half of it to all of it, at random, and later where the last look took more
	// than a quarter of it. Below 0 this process never looks; what producers tell of their
	// floors it stores all the same, each minute and when Run ends, for other processes of
	// the consumer and for 'waybill prune'. Default 1 min.
	PruneEvery time.Duration

	// KeptEvery is the time between two looks for messages in n_rejected that are to be
	// handled again. Default 1 s.
	KeptEvery time.Duration
	// PausesEvery is the time between two looks at which destinations are paused. Default 1 s.
	PausesEvery time.Duration
	// DeadLetter has a rejected message that its producer does not keep go to the broker's own
	// place for dead letters, and not to n_rejected. New refuses it where the broker's
	// adapter knows of no such place (broker.Capabilities.DeadLetter).
	DeadLetter bool

	// Breaker pauses a destination, for this consumer, where too many of its messages are
	// rejected here. Each process counts by itself. Default off.
	Breaker waybill.Breaker

	// Receipts says how receipts travel. Durable is the default. A receipt that is
	// lost costs one more copy.
	Receipts waybill.Transport
	// Drain bounds the time from the end of Run's context to its return. What is being
	// handled when nine tenths of it are over is rolled back and comes again. What does not
	// end in time is left behind, and Run's error names it. Default 10 s.
	Drain time.Duration
	// Logger receives what an operator should know. Default slog.Default().
	Logger *slog.Logger
}

// withDefaults notes in check what is wrong with o, and returns it with the defaults
// filled in. A nil dialect is the caller's to report.
func (o *Options) withDefaults(dialect store.Dialect, check *option.Check) Options {
	c := Options{}
	if o != nil {
		c = *o
	}
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
	check.Count("PrefetchBytes", &c.PrefetchBytes, 32<<20, 0)
	check.Duration("BatchTime", &c.BatchTime, 250*time.Millisecond)
	check.Duration("Timeout", &c.Timeout, time.Minute)
	foreign := cmp.Or(c.Retention, store.DefaultForeignRetention)
	check.Duration("Retention", &c.Retention, store.DefaultRetention)
	check.Duration("ForeignRetention", &c.ForeignRetention, foreign)
	check.Duration("Drain", &c.Drain, 10*time.Second)
	if err := c.Breaker.Check(); err != nil {
		check.Problem("Breaker: %w", err)
	}
	check.Duration("KeptEvery", &c.KeptEvery, time.Second)
	check.Duration("PausesEvery", &c.PausesEvery, time.Second)
	if c.PruneEvery == 0 {
		c.PruneEvery = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// HandleOptions configure the handling of one destination; nil and the zero value hold
// the defaults, which but for Topic are what Options say.
type HandleOptions struct {
	Topic    bool          // the destination is a topic; default a queue
	Workers  int           // default Options.Workers
	Batch    int           // default Options.Batch
	Timeout  time.Duration // default Options.Timeout
	MaxTries int           // default Options.MaxTries
	// Breaker is default Options.Breaker, unless it is on.
	Breaker waybill.Breaker
}

// withDefaults notes in check what is wrong with o, and returns it with the inbox's
// own options filled in.
func (o *HandleOptions) withDefaults(destination string, inbox *Options, check *option.Check) HandleOptions {
	c := HandleOptions{}
	if o != nil {
		c = *o
	}
	name := func(field string) string { return fmt.Sprintf("destination %.80q: %s", destination, field) }
	check.Count(name("Workers"), &c.Workers, inbox.Workers, 0)
	check.Count(name("Batch"), &c.Batch, inbox.Batch, 0)
	check.Count(name("MaxTries"), &c.MaxTries, inbox.MaxTries, 0)
	if err := c.Breaker.Check(); err != nil {
		check.Problem("%s: %w", name("Breaker"), err)
	}
	if !c.Breaker.IsOn() {
		c.Breaker = inbox.Breaker
	}
	check.Duration(name("Timeout"), &c.Timeout, inbox.Timeout)
	return c
}
