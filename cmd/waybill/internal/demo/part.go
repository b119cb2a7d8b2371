package demo

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/waybill-go/waybill/broker/nats"
	"github.com/waybill-go/waybill/cmd/waybill/internal/faulty"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/relay"
)

// The parts' names.
const (
	brokerPart   = "broker"
	relayPart    = "relay"
	shippingPart = "shipping"
)

// errand is what a part is told. The first one says who it is and where things are;
// later ones change the faults, or stop it.
type errand struct {
	Part     string `json:"part,omitempty"`
	Database string `json:"database,omitempty"` // path of the SQLite file
	Broker   string `json:"broker,omitempty"`   // address
	Dir      string `json:"dir,omitempty"`      // of the broker
	Seed     uint64 `json:"seed,omitempty"`
	// Pace is how long the shipping service takes for each message; then it takes few
	// at a time.
	Pace time.Duration `json:"pace,omitempty"`

	Faults *weather `json:"faults,omitempty"`
	Stop   bool     `json:"stop,omitempty"`
}

// weather is what the network does to messages and receipts.
type weather struct {
	Messages faulty.Faults `json:"messages"`
	Receipts faulty.Faults `json:"receipts"`
}

// word is what a part tells of itself. Counters count since it was started.
type word struct {
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

// Add sums up what two processes of one part have told.
func (w word) Add(v word) word {
	return word{
		Ready:     v.Ready,
		Published: w.Published + v.Published, Copies: w.Copies + v.Copies,
		Applied: w.Applied + v.Applied, Duplicates: w.Duplicates + v.Duplicates, Superseded: w.Superseded + v.Superseded,
		Faults:   faulty.Counts{Messages: w.Faults.Messages.Add(v.Faults.Messages), Receipts: w.Faults.Receipts.Add(v.Faults.Receipts)},
		Messages: v.Messages, Receipts: v.Receipts,
	}
}

// player is the broker, the relay or the shipping service at work; see supervisor.Player.
type player interface {
	Run(ctx context.Context) error
	Tell() word
	weather(w weather) // sets the faults
}

// part is a player that listens.
type part struct{ player }

// Hear sets the faults, or says that the part is to end.
func (p part) Hear(e errand) (stop bool) {
	if e.Faults != nil {
		p.weather(*e.Faults)
	}
	return e.Stop
}

// Part is the main function of a process that the demo starts. It returns when it
// is told to stop, when in ends, or when something goes wrong.
func Part(ctx context.Context, in io.Reader, out, log io.Writer) error {
	return supervisor.Play(ctx, in, out, "waybill demo", func(first errand) (supervisor.Player[errand, word], error) {
		p, err := newPlayer(first, slog.New(slog.NewTextHandler(log, nil)).With(slog.Int("pid", os.Getpid())))
		if err != nil {
			return nil, err
		}
		if first.Faults != nil {
			p.weather(*first.Faults)
		}
		return part{p}, nil
	})
}

func newPlayer(e errand, log *slog.Logger) (player, error) {
	if e.Part == brokerPart {
		return &brokerPlayer{dir: e.Dir, address: e.Broker, log: log}, nil
	}
	db, dialect, err := address.OpenDatabase("sqlite:" + e.Database)
	if err != nil {
		return nil, err
	}
	adapter, err := nats.New(e.Broker, &nats.Options{Name: e.Part, AckWait: ackWait})
	if err != nil {
		return nil, err
	}
	network := network{faulty.New(adapter, &faulty.Options{Seed: e.Seed})}
	switch e.Part {
	case relayPart:
		r, err := relay.New(db, dialect, network, &relay.Options{
			Producer:    producer,
			Poll:        50 * time.Millisecond,
			MinResend:   300 * time.Millisecond,
			FirstResend: 700 * time.Millisecond,
			MaxResend:   700 * time.Millisecond,
			Sweep:       2 * time.Second,
			Lease:       800 * time.Millisecond,
			Drain:       3 * time.Second,
			Logger:      log,
		})
		return &relayPlayer{network, r}, err
	case shippingPart:
		batch := 50
		if e.Pace > 0 {
			batch = 10
		}
		in, err := inbox.New(db, dialect, network, &inbox.Options{
			Consumer: "shipping",
			Batch:    batch,
			Drain:    3 * time.Second,
			Logger:   log,
		})
		if err == nil {
			handleShipping(in, e.Pace)
		}
		return &shippingPlayer{network, in}, err
	}
	return nil, fmt.Errorf("the demo has no part %q", e.Part)
}

const (
	// producer is the order service's name on the wire.
	producer = "shop"
	// ackWait is how soon the broker delivers again what a killed process had taken.
	ackWait = time.Second
)

// network is a broker with faults, as a part reaches it.
type network struct{ *faulty.Broker }

func (n network) weather(w weather) { n.Set(w.Messages, w.Receipts) }

// relayPlayer is the relay's process.
type relayPlayer struct {
	network
	r *relay.Relay
}

func (p *relayPlayer) Run(ctx context.Context) error { return p.r.Run(ctx) }

func (p *relayPlayer) Tell() word {
	s := p.r.Stats()
	return word{Ready: s.Leading && s.Connected, Published: s.Published, Copies: s.Copies, Faults: p.Counts()}
}

// shippingPlayer is the shipping service's process.
type shippingPlayer struct {
	network
	in *inbox.Inbox
}

func (p *shippingPlayer) Run(ctx context.Context) error { return p.in.Run(ctx) }

func (p *shippingPlayer) Tell() word {
	s := p.in.Stats()
	return word{Ready: s.Connected, Applied: s.Handled, Duplicates: s.Duplicates, Superseded: s.Superseded, Faults: p.Counts()}
}
