package torture

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/outbox"
)

// producer is a process of workers who move money and change orders, in transactions that
// commit, roll back, or take long.
type producer struct {
	cmd     command
	db      *database
	out     *outbox.Outbox
	journal *journal
	log     *slog.Logger

	backlog                        atomic.Int64 // rows in the outbox
	ready, dieInCommit             atomic.Bool
	commits, rollbacks, uncertains atomic.Int64 // transactions
}

const (
	workers    = 4     // of a producer
	maxBacklog = 8_000 // rows in the outbox at which they pause
	// maxPublic is the same where one of the topic's consumers is away, whose rows stay.
	maxPublic = 100_000
)

func newProducer(c command, log *slog.Logger) (*producer, error) {
	d, err := openDatabase(c.Database, c.Prefix)
	if err != nil {
		return nil, err
	}
	d.SetMaxOpenConns(workers + 1)
	out, err := outbox.New(d.dialect, &outbox.Options{TablePrefix: c.Prefix})
	if err != nil {
		return nil, err
	}
	j, err := openJournal(c.Journal)
	return &producer{cmd: c, db: d, out: out, journal: j, log: log}, err
}

// Run lets the workers work until ctx ends.
func (p *producer) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { p.watchBacklog(ctx) })
	all := workers
	if p.cmd.Foreign {
		all = 1
	}
	for i := range all {
		group.Go(func() { newWorker(p, i).run(ctx) })
	}
	return nil
}

// watchBacklog counts the outbox's rows now and then.
func (p *producer) watchBacklog(ctx context.Context) {
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		if n, err := p.countBacklog(limited); err == nil {
			p.backlog.Store(n)
			p.ready.Store(true)
		}
		cancel()
		backoff.Sleep(ctx, 200*time.Millisecond)
	}
}

// countBacklog counts the outbox's rows, and where these are many, of those to the topic
// only what is above maxPublic.
func (p *producer) countBacklog(ctx context.Context) (n int64, err error) {
	n, err = p.db.number(ctx, `SELECT count(*) FROM {qmessage}`)
	if err != nil || n <= maxBacklog {
		return n, err
	}
	public, err := p.db.number(ctx, `SELECT count(*) FROM {qmessage} WHERE destination = ?`, p.cmd.Destinations.Public)
	return n - min(public, maxPublic), err
}

// Stats say how the transactions ended.
func (p *producer) Stats() stats {
	return stats{Ready: p.ready.Load(), Commits: p.commits.Load(), Rollbacks: p.rollbacks.Load(), Uncertain: p.uncertains.Load(), Filled: p.db.filled.Load()}
}

// Handle ends the producer where the command says so: in good order, or by its death inside
// the next COMMIT.
func (p *producer) Handle(c command) (stop bool) {
	p.db.handle(c)
	if c.DieInCommit {
		p.dieInCommit.Store(true)
	}
	return c.Stop
}
