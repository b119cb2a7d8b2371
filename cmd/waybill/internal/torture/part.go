package torture

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/nats"
	"github.com/waybill-go/waybill/cmd/waybill/internal/faulty"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// The parts' kinds.
const (
	producerPart = "producer"
	relayPart    = "relay"
	consumerPart = "consumer"
	brokerPart   = "broker"
)

// errand is what a part is told. The first one says who it is and where things are;
// later ones change what goes wrong, or stop it.
type errand struct {
	Part         string        `json:"part,omitempty"`
	Name         string        `json:"name,omitempty"`
	Life         uint64        `json:"life,omitempty"`
	Run          string        `json:"run,omitempty"`
	Database     string        `json:"database,omitempty"` // address
	Broker       string        `json:"broker,omitempty"`   // address
	Dir          string        `json:"dir,omitempty"`      // of the embedded broker
	Prefix       string        `json:"prefix,omitempty"`   // of the tables
	Destinations destinations  `json:"destinations"`
	Seed         uint64        `json:"seed,omitempty"`
	Journal      string        `json:"journal,omitempty"`   // a producer's file
	Pace         time.Duration `json:"pace,omitempty"`      // of a clerk, between transactions
	Transfers    int           `json:"transfers,omitempty"` // at most, of a transaction
	Topic        bool          `json:"topic,omitempty"`     // some orders are public
	Skew         time.Duration `json:"skew,omitempty"`      // of a producer's clock
	Group        string        `json:"group,omitempty"`     // of a consumer
	Retain       time.Duration `json:"retain,omitempty"`    // retention of a consumer's records
	Rebel        bool          `json:"rebel,omitempty"`     // a relay that leads whoever else does
	MaxStore     int64         `json:"max_store,omitempty"` // bytes of the embedded broker

	Weather     *weather `json:"weather,omitempty"`
	Mood        *moods   `json:"mood,omitempty"`
	DieInCommit bool     `json:"die_in_commit,omitempty"`
	Stop        bool     `json:"stop,omitempty"`
}

// weather is what the network does to messages and receipts.
type weather struct {
	Messages faulty.Faults `json:"messages"`
	Receipts faulty.Faults `json:"receipts"`
}

// word is what a part tells of itself. Counters count since it was started. They are
// for the report alone: no verdict rests on them.
type word struct {
	Ready bool `json:"ready"`

	Commits   int64 `json:"commits,omitempty"`
	Rollbacks int64 `json:"rollbacks,omitempty"`
	Uncertain int64 `json:"uncertain,omitempty"`

	Published int64 `json:"published,omitempty"`
	Copies    int64 `json:"copies,omitempty"`

	Received   int64 `json:"received,omitempty"`
	Duplicates int64 `json:"duplicates,omitempty"`
	Superseded int64 `json:"superseded,omitempty"`
	Failures   int64 `json:"failures,omitempty"`
	Forgotten  int64 `json:"forgotten,omitempty"`
	Pruned     int64 `json:"pruned,omitempty"`

	Faults faulty.Counts `json:"faults"`
}

// Add sums up what two processes of one part have told.
func (w word) Add(v word) word {
	return word{
		Ready:   v.Ready,
		Commits: w.Commits + v.Commits, Rollbacks: w.Rollbacks + v.Rollbacks, Uncertain: w.Uncertain + v.Uncertain,
		Published: w.Published + v.Published, Copies: w.Copies + v.Copies,
		Received: w.Received + v.Received, Duplicates: w.Duplicates + v.Duplicates, Superseded: w.Superseded + v.Superseded,
		Failures: w.Failures + v.Failures, Forgotten: w.Forgotten + v.Forgotten, Pruned: w.Pruned + v.Pruned,
		Faults: faulty.Counts{Messages: w.Faults.Messages.Add(v.Faults.Messages), Receipts: w.Faults.Receipts.Add(v.Faults.Receipts)},
	}
}

// Part is the main function of a process that a run starts. It returns when it is
// told to stop, when in ends, or when something goes wrong.
func Part(ctx context.Context, in io.Reader, out, log io.Writer) error {
	return supervisor.Play(ctx, in, out, "waybill torture", func(first errand) (supervisor.Player[errand, word], error) {
		logger := slog.New(slog.NewTextHandler(log, nil)).With(slog.String("part", first.Name), slog.Int("pid", os.Getpid()))
		p, err := newPlayer(first, logger)
		if err != nil {
			return nil, err
		}
		p.Hear(first)
		return p, nil
	})
}

func newPlayer(e errand, log *slog.Logger) (supervisor.Player[errand, word], error) {
	switch e.Part {
	case producerPart:
		return newProducer(e, log)
	case relayPart:
		return newRelay(e, log)
	case consumerPart:
		return newConsumer(e, log)
	case brokerPart:
		return &embeddedBroker{e: e, log: log}, nil
	}
	return nil, fmt.Errorf("a run has no part %q", e.Part)
}

// network is the run's broker with faults, as a part reaches it.
type network struct{ *faulty.Broker }

func openNetwork(e errand) (network, error) {
	var b, err = address.OpenBroker(e.Broker)
	if e.Dir != "" { // the embedded broker, which has a shorter patience
		b, err = nats.New(e.Broker, &nats.Options{Name: e.Name, AckWait: ackWait})
	}
	if err != nil {
		return network{}, err
	}
	return network{faulty.New(b, &faulty.Options{Seed: e.Seed})}, nil
}

// Hear sets the faults.
func (n network) Hear(e errand) (stop bool) {
	if e.Weather != nil {
		n.Set(e.Weather.Messages, e.Weather.Receipts)
	}
	return e.Stop
}

// relayer is a relay's process.
type relayer struct {
	network
	r *relay.Relay
}

func newRelay(e errand, log *slog.Logger) (*relayer, error) {
	b, err := openBooks(e.Database, e.Prefix)
	if err != nil {
		return nil, err
	}
	n, err := openNetwork(e)
	if err != nil {
		return nil, err
	}
	dialect := b.dialect
	if e.Rebel {
		dialect = rebel{dialect}
	}
	special := map[string]relay.Destination{
		e.Destinations.Quick:   {Transport: waybill.Transient},
		e.Destinations.Notices: {Confirm: waybill.Accepted},
	}
	if e.Topic {
		var names []string
		for _, group := range topicGroups {
			names = append(names, consumerName(group))
		}
		special[e.Destinations.Public] = relay.Destination{Consumers: names}
	}
	r, err := relay.New(b.DB, dialect, n, &relay.Options{
		Producer:     producerName(e.Run),
		Destinations: special,
		TablePrefix:  e.Prefix,
		Poll:         50 * time.Millisecond,
		MinResend:    300 * time.Millisecond,
		FirstResend:  time.Second,
		MaxResend:    4 * time.Second,
		Window:       1500,
		MinRetry:     100 * time.Millisecond,
		MaxRetry:     2 * time.Second,
		Sweep:        2 * time.Second,
		Lease:        time.Second,
		Drain:        5 * time.Second,
		Logger:       log,
	})
	return &relayer{n, r}, err
}

// producerName is the run's outbox, on the wire.
func producerName(run string) string { return "torture-" + run }

// Run moves messages until ctx ends.
func (r *relayer) Run(ctx context.Context) error { return r.r.Run(ctx) }

// Tell tells what was sent.
func (r *relayer) Tell() word {
	s := r.r.Stats()
	return word{Ready: s.Leading && s.Connected, Published: s.Published, Copies: s.Copies, Faults: r.Counts()}
}

// rebel is a dialect whose relay has a lease of its own, and so believes that it leads
// whoever else does.
type rebel struct{ store.Dialect }

const rebels = "rebels"

func (d rebel) AcquireLease(n store.Names, _, holder string, ttl int64) []store.Statement {
	return d.Dialect.AcquireLease(n, rebels, holder, ttl)
}

func (d rebel) RenewLease(n store.Names, _, holder string, ttl, cursor int64) store.Statement {
	return d.Dialect.RenewLease(n, rebels, holder, ttl, cursor)
}

func (d rebel) ReleaseLease(n store.Names, _, holder string, cursor int64) store.Statement {
	return d.Dialect.ReleaseLease(n, rebels, holder, cursor)
}

func (d rebel) Lease(n store.Names, _ string) store.Statement { return d.Dialect.Lease(n, rebels) }

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
