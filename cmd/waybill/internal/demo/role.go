package demo

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/waybill-go/waybill/broker/nats"
	"github.com/waybill-go/waybill/cmd/waybill/internal/faulty"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// The roles.
const (
	brokerRole   = "broker"
	relayRole    = "relay"
	shippingRole = "shipping"
)

// command is what a process is told. The first one says who it is and where things are;
// later ones change the faults, or stop it.
type command struct {
	Role     string `json:"role,omitempty"`
	Database string `json:"database,omitempty"` // path of the SQLite file
	Broker   string `json:"broker,omitempty"`   // address
	Dir      string `json:"dir,omitempty"`      // of the broker
	Seed     uint64 `json:"seed,omitempty"`
	// Pace is how long the shipping service takes for each message; then it takes few
	// at a time.
	Pace time.Duration `json:"pace,omitempty"`

	Network *faulty.Network `json:"network,omitempty"`
	Stop    bool            `json:"stop,omitempty"`
}

// stats are what a process tells of itself. Counters count since it was started.
type stats struct {
	Ready bool `json:"ready"`

	Published int64 `json:"published,omitempty"` // copies handed to the broker by the relay
	Copies    int64 `json:"copies,omitempty"`    // of these, those that it knows to be further copies

	Applied    int64 `json:"applied,omitempty"` // by the shipping service
	Duplicates int64 `json:"duplicates,omitempty"`
	Superseded int64 `json:"superseded,omitempty"`

	Faults faulty.Counts `json:"faults"`

	Messages int64 `json:"messages,omitempty"` // in the broker, now
	Receipts int64 `json:"receipts,omitempty"`
}

// Add sums up the stats of two processes.
func (s stats) Add(later stats) stats {
	return stats{
		Ready:     later.Ready,
		Published: s.Published + later.Published, Copies: s.Copies + later.Copies,
		Applied: s.Applied + later.Applied, Duplicates: s.Duplicates + later.Duplicates, Superseded: s.Superseded + later.Superseded,
		Faults:   s.Faults.Add(later.Faults),
		Messages: later.Messages, Receipts: later.Receipts,
	}
}

// RunRole is the main function of a process that the demo starts. It returns when it
// is told to stop, when in ends, or when something goes wrong.
func RunRole(ctx context.Context, in io.Reader, out, log io.Writer) error {
	return supervisor.Main(ctx, in, out, "waybill demo", func(first command) (supervisor.Role[command, stats], error) {
		role, err := newRole(first, slog.New(slog.NewTextHandler(log, nil)).With(slog.Int("pid", os.Getpid())))
		if err != nil {
			return nil, err
		}
		role.Handle(first)
		return role, nil
	})
}

func newRole(c command, log *slog.Logger) (supervisor.Role[command, stats], error) {
	if c.Role == brokerRole {
		return &brokerProcess{dir: c.Dir, address: c.Broker, log: log}, nil
	}
	db, dialect, err := address.OpenDatabase("sqlite:" + c.Database)
	if err != nil {
		return nil, err
	}
	adapter, err := nats.New(c.Broker, &nats.Options{Name: c.Role, AckWait: ackWait})
	if err != nil {
		return nil, err
	}
	n := network{faulty.New(adapter, &faulty.Options{Seed: c.Seed})}
	switch c.Role {
	case relayRole:
		return newRelay(db, dialect, n, log)
	case shippingRole:
		return newShipping(db, dialect, n, c.Pace, log)
	}
	return nil, fmt.Errorf("the demo has no role %q", c.Role)
}

const (
	// producerName is the name of the order service's outbox, on the wire.
	producerName = "shop"
	// ackWait is how soon the broker delivers again what a killed process had taken.
	ackWait = time.Second
)

// network is a broker with faults, as a process reaches it.
type network struct{ *faulty.Broker }

// Handle sets the network's faults.
func (n network) Handle(c command) (stop bool) {
	if c.Network != nil {
		n.Set(*c.Network)
	}
	return c.Stop
}

// relayProcess is the relay's process.
type relayProcess struct {
	network
	r *relay.Relay
}

func newRelay(db *sql.DB, dialect store.Dialect, n network, log *slog.Logger) (*relayProcess, error) {
	r, err := relay.New(db, dialect, n, &relay.Options{
		Producer:    producerName,
		Poll:        50 * time.Millisecond,
		MinResend:   300 * time.Millisecond,
		FirstResend: 700 * time.Millisecond,
		MaxResend:   700 * time.Millisecond,
		Sweep:       2 * time.Second,
		Lease:       800 * time.Millisecond,
		Drain:       3 * time.Second,
		Logger:      log,
	})
	return &relayProcess{n, r}, err
}

// Run moves messages until ctx ends.
func (p *relayProcess) Run(ctx context.Context) error { return p.r.Run(ctx) }

// Stats say what was sent.
func (p *relayProcess) Stats() stats {
	s := p.r.Stats()
	return stats{Ready: s.Leading && s.Connected, Published: s.Published, Copies: s.Copies, Faults: p.Counts()}
}
