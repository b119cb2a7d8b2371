package torture

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/nats"
	"github.com/waybill-go/waybill/cmd/waybill/internal/faulty"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/internal/address"
)

// The roles.
const (
	producerRole = "producer"
	relayRole    = "relay"
	consumerRole = "consumer"
	abroadRole   = "abroad"
	brokerRole   = "broker"
)

// command is what a process is told. The first one says who it is and where things are;
// later ones change what goes wrong, or stop it.
type command struct {
	Role         string        `json:"role,omitempty"`
	Name         string        `json:"name,omitempty"`
	Run          string        `json:"run,omitempty"`
	Database     string        `json:"database,omitempty"` // address
	Broker       string        `json:"broker,omitempty"`   // address
	Dir          string        `json:"dir,omitempty"`      // of the embedded broker
	Prefix       string        `json:"prefix,omitempty"`   // of the tables
	Destinations destinations  `json:"destinations"`
	Seed         uint64        `json:"seed,omitempty"`
	Journal      string        `json:"journal,omitempty"`   // a producer's file
	Pace         time.Duration `json:"pace,omitempty"`      // of a worker, between transactions
	Transfers    int           `json:"transfers,omitempty"` // at most, of a transaction
	Foreign      bool          `json:"foreign,omitempty"`   // a producer that writes rows with plain SQL
	Topic        bool          `json:"topic,omitempty"`     // some orders are public
	Skew         time.Duration `json:"skew,omitempty"`      // of a producer's clock
	Group        string        `json:"group,omitempty"`     // of a consumer
	Retention    time.Duration `json:"retention,omitempty"` // of a consumer's records
	Rogue        bool          `json:"rogue,omitempty"`     // a relay that leads whoever else does
	MaxStore     int64         `json:"max_store,omitempty"` // bytes of the embedded broker

	Network     *faulty.Network `json:"network,omitempty"`
	Handlers    *handlerFaults  `json:"handlers,omitempty"`
	Full        *bool           `json:"full,omitempty"` // SQLite's file may not grow
	DieInCommit bool            `json:"die_in_commit,omitempty"`
	Stop        bool            `json:"stop,omitempty"`
}

// stats are what a process tells of itself. Counters count since it was started. They are
// for the report alone: no verdict rests on them.
type stats struct {
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
	Misdeeds   int64 `json:"misdeeds,omitempty"` // what handlers did wrong, on purpose
	Filled     int64 `json:"filled,omitempty"`   // connections whose database's file may not grow

	Faults faulty.Counts `json:"faults"`
}

// Add sums up the stats of two processes.
func (s stats) Add(later stats) stats {
	return stats{
		Ready:   later.Ready,
		Commits: s.Commits + later.Commits, Rollbacks: s.Rollbacks + later.Rollbacks, Uncertain: s.Uncertain + later.Uncertain,
		Published: s.Published + later.Published, Copies: s.Copies + later.Copies,
		Received: s.Received + later.Received, Duplicates: s.Duplicates + later.Duplicates, Superseded: s.Superseded + later.Superseded,
		Failures: s.Failures + later.Failures, Forgotten: s.Forgotten + later.Forgotten, Pruned: s.Pruned + later.Pruned,
		Misdeeds: s.Misdeeds + later.Misdeeds, Filled: s.Filled + later.Filled,
		Faults: s.Faults.Add(later.Faults),
	}
}

// RunRole is the main function of a process that a run starts. It returns when it is told
// to stop, when in ends, or when something goes wrong.
func RunRole(ctx context.Context, in io.Reader, out, log io.Writer) error {
	return supervisor.Main(ctx, in, out, "waybill torture", func(first command) (supervisor.Role[command, stats], error) {
		logger := slog.New(slog.NewTextHandler(log, nil)).With(slog.String("process", first.Name), slog.Int("pid", os.Getpid()))
		role, err := newRole(first, logger)
		if err != nil {
			return nil, err
		}
		role.Handle(first)
		return role, nil
	})
}

func newRole(c command, log *slog.Logger) (supervisor.Role[command, stats], error) {
	switch c.Role {
	case producerRole:
		return newProducer(c, log)
	case relayRole:
		return newRelay(c, log)
	case consumerRole:
		return newConsumer(c, log)
	case abroadRole:
		return newAbroad(c, log)
	case brokerRole:
		return &embeddedBroker{cmd: c, log: log}, nil
	}
	return nil, fmt.Errorf("a run has no role %q", c.Role)
}

// network is the run's broker with faults, as a process reaches it, and its database.
type network struct {
	*faulty.Broker
	database *database
}

// connect opens a process's database and broker.
func connect(c command) (*database, network, error) {
	d, err := openDatabase(c.Database, c.Prefix)
	if err != nil {
		return nil, network{}, err
	}
	b, err := openBroker(c)
	if err != nil {
		return nil, network{}, err
	}
	return d, network{faulty.New(b, &faulty.Options{Seed: c.Seed}), d}, nil
}

// openBroker opens a process's broker. The embedded one delivers again sooner.
func openBroker(c command) (broker.Broker, error) {
	if c.Dir != "" {
		return nats.New(c.Broker, &nats.Options{Name: c.Name, AckWait: ackWait})
	}
	return address.OpenBrokerAs(c.Broker, "waybill torture")
}

// Handle sets the faults of the network and of the database.
func (n network) Handle(c command) (stop bool) {
	n.database.handle(c)
	if c.Network != nil {
		n.Set(*c.Network)
	}
	return c.Stop
}
