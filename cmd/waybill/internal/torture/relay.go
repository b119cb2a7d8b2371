package torture

import (
	"context"
	"log/slog"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// relayProcess moves the producers' messages.
type relayProcess struct {
	network
	r *relay.Relay
}

func newRelay(c command, log *slog.Logger) (*relayProcess, error) {
	d, n, err := connect(c)
	if err != nil {
		return nil, err
	}
	dialect := d.dialect
	if c.Rogue {
		dialect = rogueDialect{dialect}
	}
	special := map[string]relay.Destination{
		c.Destinations.Quick:   {Transport: waybill.Transient},
		c.Destinations.Notices: {Confirm: waybill.Accepted},
	}
	if c.Topic {
		var names []string
		for _, group := range topicGroups {
			names = append(names, consumerName(group))
		}
		// A small window: one of them that is away must not hold it.
		special[c.Destinations.Public] = relay.Destination{Consumers: names, Window: publicWindow}
	}
	r, err := relay.New(d.DB, dialect, n, &relay.Options{
		Producer:     producerName(c.Run),
		Destinations: special,
		TablePrefix:  c.Prefix,
		Poll:         50 * time.Millisecond,
		MinResend:    300 * time.Millisecond,
		FirstResend:  time.Second,
		MaxResend:    4 * time.Second,
		Window:       1500,
		MinRetry:     100 * time.Millisecond,
		MaxRetry:     2 * time.Second,
		Sweep:        2 * time.Second,
		Lease:        time.Second,
		// Rejected messages are not to keep consumers from forgetting.
		RejectedHold: 5 * time.Second,
		Drain:        5 * time.Second,
		Logger:       log,
	})
	return &relayProcess{n, r}, err
}

// publicWindow is the topic's window in messages.
const publicWindow = 100

// producerName is the name of the run's outbox, on the wire.
func producerName(run string) string { return "torture-" + run }

// Run moves messages until ctx ends.
func (p *relayProcess) Run(ctx context.Context) error { return p.r.Run(ctx) }

// Stats say what was sent.
func (p *relayProcess) Stats() stats {
	s := p.r.Stats()
	return stats{Ready: s.Leading && s.Connected, Published: s.Published, Copies: s.Copies, Faults: p.Counts(), Filled: p.database.filled.Load()}
}

// rogueDialect makes a rogue leader: its relay has a lease of its own, and so believes that
// it leads, whoever else does.
type rogueDialect struct{ store.Dialect }

// rogueLease is that lease's row.
const rogueLease = "rogue"

func (d rogueDialect) AcquireLease(n store.Names, _, holder string, ttl int64) []store.Statement {
	return d.Dialect.AcquireLease(n, rogueLease, holder, ttl)
}

func (d rogueDialect) RenewLease(n store.Names, _, holder string, ttl, cursor int64) store.Statement {
	return d.Dialect.RenewLease(n, rogueLease, holder, ttl, cursor)
}

func (d rogueDialect) ReleaseLease(n store.Names, _, holder string, cursor int64) store.Statement {
	return d.Dialect.ReleaseLease(n, rogueLease, holder, cursor)
}

func (d rogueDialect) Lease(n store.Names, _ string) store.Statement {
	return d.Dialect.Lease(n, rogueLease)
}
