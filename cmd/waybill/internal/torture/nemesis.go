package torture

import (
	"context"
	"database/sql"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/internal/backoff"
)

// nemesis injects faults until its time is up. Several may be there at a time, but none
// twice.
type nemesis struct {
	*run
	work sync.WaitGroup

	mu     sync.Mutex
	claims map[string]bool
}

// injectFaults injects faults for as long as Options.Duration, and returns once all of
// them are healed.
func (r *run) injectFaults(ctx context.Context) {
	n := &nemesis{run: r, claims: map[string]bool{}}
	defer n.work.Wait()
	possible := r.possibleFaults()
	limited, cancel := context.WithTimeout(ctx, r.o.Duration)
	defer cancel()
	stopProgress := r.showProgress(limited)
	defer stopProgress()
	n.work.Go(func() {
		for limited.Err() == nil {
			backoff.Sleep(limited, time.Second)
			_ = r.resendRejected(limited) // a database that is away now will be back
		}
	})
	if r.chosen["absent"] && r.missing["absent"] == "" {
		n.work.Go(func() { n.absences(limited, rand.New(rand.NewPCG(r.o.Seed, 2))) })
	}
	dice := rand.New(rand.NewPCG(r.o.Seed, 1))
	for i := uint64(0); limited.Err() == nil; i++ {
		backoff.Sleep(limited, between(dice, r.o.Every/6, r.o.Every*11/6))
		if len(possible) == 0 || limited.Err() != nil {
			continue
		}
		f := possible[dice.IntN(len(possible))]
		own := rand.New(rand.NewPCG(r.o.Seed, 1000+i))
		n.work.Go(func() { f.inject(n, limited, own) })
	}
}

// possibleFaults are the chosen faults that can be injected in this run, each as often as
// its weight says.
func (r *run) possibleFaults() []Fault {
	var all []Fault
	for _, f := range Faults {
		if r.chosen[f.Name] && r.missing[f.Name] == "" {
			all = append(all, slices.Repeat([]Fault{f}, f.weight)...)
		}
	}
	return all
}

// impossible says why a fault cannot be in this run; "" where it can.
func (r *run) impossible(fault string) string {
	needs := func(hooks ...string) string {
		if slices.Contains(hooks, "") {
			return "no commands for it were given"
		}
		return ""
	}
	switch fault {
	case "broker":
		if r.broker == nil {
			return needs(r.o.BrokerKill, r.o.BrokerStart)
		}
	case "wipe":
		if r.broker == nil {
			return needs(r.o.BrokerKill, r.o.BrokerStart, r.o.BrokerWipe)
		}
	case "disk":
		if r.broker == nil {
			return needs(r.o.BrokerFill, r.o.BrokerFree)
		}
	case "dbdisk":
		if !r.onSQLite() {
			return needs(r.o.DBFill, r.o.DBFree)
		}
	case "database":
		return needs(r.o.DBKill, r.o.DBStart)
	case "absent":
		if !r.topic() {
			return "an even seed has no topic"
		}
	case "network":
		if len(r.proxies) == 0 {
			return "no proxy fits these addresses"
		}
	}
	return ""
}

// claim takes something for one fault alone, and reports whether it was free; release
// gives it back.
func (n *nemesis) claim(what string) (release func(), ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.claims[what] {
		return nil, false
	}
	n.claims[what] = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.claims, what)
	}, true
}

// victims picks processes: mostly one, sometimes all of a role or all.
func (n *nemesis) victims(dice *rand.Rand) []*process {
	roles := [][]*process{n.producers, n.relays, n.consumers}
	role := roles[dice.IntN(len(roles))]
	switch dice.IntN(10) {
	case 0:
		return slices.Concat(roles...)
	case 1, 2:
		return role
	}
	return []*process{role[dice.IntN(len(role))]}
}

func (n *nemesis) kill(ctx context.Context, dice *rand.Rand) {
	down := between(dice, 0, 800*time.Millisecond)
	for _, p := range n.victims(dice) {
		release, ok := n.claim(p.Name)
		if !ok {
			continue
		}
		inCommit := slices.Contains(n.producers, p) && dice.IntN(2) == 0
		n.work.Go(func() {
			defer release()
			how := "killed"
			if inCommit && p.Crash(command{DieInCommit: true}, 2*time.Second) {
				how = "killed inside COMMIT"
			} else if p.Kill() == 0 {
				return
			}
			n.count("kill")
			n.note("%s %s, back in %v", p.Name, how, down)
			backoff.Sleep(ctx, down)
			if err := p.Start(); err != nil {
				n.fail(err)
			}
		})
	}
}

func (n *nemesis) pause(ctx context.Context, dice *rand.Rand) {
	span := between(dice, 100*time.Millisecond, 4*time.Second)
	for _, p := range n.victims(dice) {
		release, ok := n.claim(p.Name)
		if !ok {
			continue
		}
		n.work.Go(func() {
			defer release()
			if !p.Pause() {
				return
			}
			n.count("pause")
			n.note("%s paused for %v", p.Name, span)
			backoff.Sleep(ctx, span)
			p.Resume()
		})
	}
}

func (n *nemesis) network(ctx context.Context, dice *rand.Rand) {
	p, c := n.proxies[dice.IntN(len(n.proxies))], networkConditions[dice.IntN(len(networkConditions))]
	span := between(dice, 200*time.Millisecond, 4*time.Second)
	release, ok := n.claim(p.name)
	if !ok {
		return
	}
	defer release()
	if err := p.set(c.conditions); err != nil {
		n.fail(err)
		return
	}
	n.count("network")
	n.note("%s: %s for %v", p.name, c.name, span)
	backoff.Sleep(ctx, span)
	if err := p.heal(); err != nil {
		n.fail(err)
	}
}

// leaders lets a rogue relay lead beside the one that does, from when it is at work.
func (n *nemesis) leaders(ctx context.Context, dice *rand.Rand) {
	release, ok := n.claim("rogue")
	if !ok {
		return
	}
	defer release()
	span := between(dice, time.Second, 5*time.Second)
	if err := n.rogue.Start(); err != nil {
		n.fail(err)
		return
	}
	defer n.rogue.Kill()
	// Its database or its broker may be away.
	leads, err := supervisor.Within(ctx, startPatience, func() bool { return isReady(n.rogue) })
	if err != nil || !leads {
		n.note("another relay was to lead, and did not come to that")
		return
	}
	n.count("leaders")
	n.note("another relay leads too, for %v", span)
	backoff.Sleep(ctx, span)
}

func (n *nemesis) snapshot(ctx context.Context, dice *rand.Rand) {
	release, ok := n.claim("snapshot")
	if !ok {
		return
	}
	defer release()
	span := between(dice, 2*time.Second, 8*time.Second)
	err := n.producerDB.holdSnapshot(ctx, func() {
		n.count("snapshot")
		n.note("a transaction holds the producer's snapshot for %v", span)
		// The database may go away meanwhile: then the snapshot goes too.
		backoff.Sleep(ctx, span)
	})
	if err != nil {
		n.note("no transaction holds the producer's snapshot: %v", err)
	}
}

// holdSnapshot keeps a transaction open that has read the outbox, for as long as while takes.
// It returns an error where it could not, and then has not called that.
func (d *database) holdSnapshot(ctx context.Context, while func()) error {
	const look = `SELECT count(*) FROM {qmessage}`
	if d.kind == "sqlite" {
		// Not the driver's BEGIN IMMEDIATE, which would shut out all writers.
		conn, err := d.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		var rows int64
		if _, err := conn.ExecContext(ctx, "BEGIN DEFERRED"); err != nil {
			return err
		}
		if err = conn.QueryRowContext(ctx, d.sql(look)).Scan(&rows); err == nil {
			while()
		}
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return err
	}
	tx, err := d.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	var rows int64
	if err = tx.QueryRowContext(ctx, d.sql(look)).Scan(&rows); err == nil {
		while()
	}
	return err
}

// between is a random time from least to most, in milliseconds.
func between(dice *rand.Rand, least, most time.Duration) time.Duration {
	return (least + time.Duration(dice.Int64N(int64(most-least)))).Round(time.Millisecond)
}

func hash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	return h.Sum64()
}
