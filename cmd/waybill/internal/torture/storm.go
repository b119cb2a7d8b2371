package torture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/faulty"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
)

// storm breaks things until its time is up. Several things may be broken at a time,
// each of them once.
type storm struct {
	*run
	work sync.WaitGroup

	mu     sync.Mutex
	claims map[string]bool
}

// blow is one thing that breaks: it returns once that is whole again.
type blow struct {
	fault  string
	weight int
	strike func(s *storm, ctx context.Context, dice *rand.Rand)
}

var blows = []blow{
	{"kill", 10, (*storm).kill},
	{"pause", 5, (*storm).pause},
	{"network", 8, (*storm).network},
	{"messages", 3, (*storm).messages},
	{"receipts", 3, (*storm).receipts},
	{"handlers", 3, (*storm).handlers},
	{"leaders", 2, (*storm).leaders},
	{"snapshot", 1, (*storm).snapshot},
	{"broker", 2, (*storm).brokerDies},
	{"wipe", 2, (*storm).brokerLosesAll},
	{"disk", 2, (*storm).diskIsFull},
	{"database", 2, (*storm).databaseDies},
}

// rage breaks things for as long as Options.Duration, and returns once all that it
// broke is whole again.
func (r *run) rage(ctx context.Context) {
	s := &storm{run: r, claims: map[string]bool{}}
	defer s.work.Wait()
	var possible []blow
	for _, b := range blows {
		if !r.chosen[b.fault] || r.missing[b.fault] != "" {
			continue
		}
		for range b.weight {
			possible = append(possible, b)
		}
	}
	raging, calm := context.WithTimeout(ctx, r.o.Duration)
	defer calm()
	live := r.liven(raging)
	defer live()
	s.work.Go(func() {
		for raging.Err() == nil {
			sleep(raging, time.Second)
			_ = r.resendRejected(raging) // a database that is away now will be back
		}
	})
	dice := rand.New(rand.NewPCG(r.o.Seed, 1))
	for n := uint64(0); raging.Err() == nil; n++ {
		sleep(raging, between(dice, r.o.Every/6, r.o.Every*11/6))
		if len(possible) == 0 || raging.Err() != nil {
			continue
		}
		b := possible[dice.IntN(len(possible))]
		own := rand.New(rand.NewPCG(r.o.Seed, 1000+n))
		s.work.Go(func() { b.strike(s, raging, own) })
	}
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
	case "database":
		return needs(r.o.DBKill, r.o.DBStart)
	case "network":
		if len(r.wires) == 0 {
			return "no proxy fits these addresses"
		}
	}
	return ""
}

// claim takes something for one blow alone; release gives it back. It reports whether
// that could be had.
func (s *storm) claim(what string) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claims[what] {
		return nil, false
	}
	s.claims[what] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.claims, what)
	}, true
}

// victims picks parts: mostly one, sometimes all of a kind or all.
func (s *storm) victims(dice *rand.Rand) []*member {
	kinds := [][]*member{s.producers, s.relays, s.consumers}
	kind := kinds[dice.IntN(len(kinds))]
	switch dice.IntN(10) {
	case 0:
		return slices.Concat(kinds...)
	case 1, 2:
		return kind
	}
	return []*member{kind[dice.IntN(len(kind))]}
}

func (s *storm) kill(ctx context.Context, dice *rand.Rand) {
	down := between(dice, 0, 800*time.Millisecond)
	for _, m := range s.victims(dice) {
		release, ok := s.claim(m.Name)
		if !ok {
			continue
		}
		inCommit := slices.Contains(s.producers, m) && dice.IntN(2) == 0
		s.work.Go(func() {
			defer release()
			how := "killed"
			if inCommit && m.Doom(errand{DieInCommit: true}, 2*time.Second) {
				how = "killed inside COMMIT"
			} else if m.Kill() == 0 {
				return
			}
			s.count("kill")
			s.note("%s %s, back in %v", m.Name, how, down)
			sleep(ctx, down)
			if err := m.Start(); err != nil {
				s.fail(err)
			}
		})
	}
}

func (s *storm) pause(ctx context.Context, dice *rand.Rand) {
	span := between(dice, 100*time.Millisecond, 4*time.Second)
	for _, m := range s.victims(dice) {
		release, ok := s.claim(m.Name)
		if !ok {
			continue
		}
		s.work.Go(func() {
			defer release()
			if !m.Pause() {
				return
			}
			s.count("pause")
			s.note("%s paused for %v", m.Name, span)
			sleep(ctx, span)
			m.Resume()
		})
	}
}

func (s *storm) network(ctx context.Context, dice *rand.Rand) {
	w, b := s.wires[dice.IntN(len(s.wires))], badnesses[dice.IntN(len(badnesses))]
	span := between(dice, 200*time.Millisecond, 4*time.Second)
	release, ok := s.claim(w.name)
	if !ok {
		return
	}
	defer release()
	s.count("network")
	s.note("%s: %s for %v", w.name, b.name, span)
	if err := w.Set(b.conditions); err != nil {
		s.fail(fmt.Errorf("the proxy to the %s: %w", w.name, err))
		return
	}
	sleep(ctx, span)
	if err := w.heal(); err != nil {
		s.fail(err)
	}
}

// badWeather is what the faults "messages" and "receipts" do.
var badWeather = faulty.Faults{Lose: 0.3, Repeat: 0.3, Reorder: 0.3, Hold: 0.2, Delay: 500 * time.Millisecond}

func (s *storm) messages(ctx context.Context, dice *rand.Rand) {
	s.whilst(ctx, dice, "messages", relayPart, s.relays,
		func(st *setting) { st.relays.Messages = badWeather },
		func(st *setting) { st.relays = weather{} })
}

func (s *storm) receipts(ctx context.Context, dice *rand.Rand) {
	s.whilst(ctx, dice, "receipts", consumerPart, s.consumers,
		func(st *setting) { st.consumers.Receipts = badWeather },
		func(st *setting) { st.consumers = weather{} })
}

func (s *storm) handlers(ctx context.Context, dice *rand.Rand) {
	s.whilst(ctx, dice, "handlers", consumerPart, s.consumers,
		func(st *setting) { st.mood = badMood },
		func(st *setting) { st.mood = moods{} })
}

// whilst changes what the parts of a kind do, for a while.
func (s *storm) whilst(ctx context.Context, dice *rand.Rand, fault, part string, members []*member, spoil, mend func(*setting)) {
	release, ok := s.claim(fault)
	if !ok {
		return
	}
	defer release()
	span := between(dice, time.Second, 6*time.Second)
	s.count(fault)
	s.note("%s are bad for %v", fault, span)
	s.set(part, members, spoil)
	sleep(ctx, span)
	s.set(part, members, mend)
}

func (s *storm) leaders(ctx context.Context, dice *rand.Rand) {
	release, ok := s.claim("rebel")
	if !ok {
		return
	}
	defer release()
	span := between(dice, time.Second, 5*time.Second)
	s.count("leaders")
	s.note("another relay leads too, for %v", span)
	if err := s.rebel.Start(); err != nil {
		s.fail(err)
		return
	}
	sleep(ctx, span)
	s.rebel.Kill()
}

func (s *storm) snapshot(ctx context.Context, dice *rand.Rand) {
	release, ok := s.claim("snapshot")
	if !ok {
		return
	}
	defer release()
	span := between(dice, 2*time.Second, 8*time.Second)
	s.note("a transaction holds the producer's snapshot for %v", span)
	// The database may go away meanwhile: then the snapshot goes too.
	if err := s.producerBooks.holdSnapshot(ctx, span); err != nil {
		s.note("the snapshot was lost: %v", err)
	}
	s.count("snapshot")
}

// holdSnapshot keeps a transaction open that has read the outbox.
func (b *books) holdSnapshot(ctx context.Context, span time.Duration) error {
	const look = `SELECT count(*) FROM {qmessage}`
	if b.kind == "sqlite" {
		// Not the driver's BEGIN IMMEDIATE, which would shut out all writers.
		conn, err := b.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		var n int64
		if _, err := conn.ExecContext(ctx, "BEGIN DEFERRED"); err != nil {
			return err
		}
		err = conn.QueryRowContext(ctx, b.sql(look)).Scan(&n)
		sleep(ctx, span)
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return err
	}
	tx, err := b.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	var n int64
	err = tx.QueryRowContext(ctx, b.sql(look)).Scan(&n)
	sleep(ctx, span)
	return err
}

func (s *storm) brokerDies(ctx context.Context, dice *rand.Rand) { s.brokerFalls(ctx, dice, false) }

func (s *storm) brokerLosesAll(ctx context.Context, dice *rand.Rand) {
	s.brokerFalls(ctx, dice, true)
}

func (s *storm) brokerFalls(ctx context.Context, dice *rand.Rand, wiped bool) {
	release, ok := s.claim("broker")
	if !ok {
		return
	}
	defer release()
	down := between(dice, 0, 1500*time.Millisecond)
	fault, how := "broker", ""
	if wiped {
		fault, how = "wipe", " and lost all of its data"
	}
	s.count(fault)
	s.note("the broker was killed%s, back in %v", how, down)
	err := s.killBroker(ctx)
	if err == nil && wiped {
		err = s.wipeBroker(ctx)
	}
	sleep(ctx, down)
	// Whatever became of the others, a user's server must not stay down.
	if err = errors.Join(err, s.startBroker(ctx)); err != nil {
		s.troubled(err)
		return
	}
	s.note("the broker is back")
	sleep(ctx, 2*time.Second) // some peace, to have something to lose
}

func (r *run) killBroker(ctx context.Context) error {
	if r.broker != nil {
		r.broker.Kill()
		return nil
	}
	return hook(ctx, r.o.BrokerKill)
}

func (r *run) wipeBroker(ctx context.Context) error {
	if r.broker != nil {
		return os.RemoveAll(r.brokerDir())
	}
	return hook(ctx, r.o.BrokerWipe)
}

func (r *run) startBroker(ctx context.Context) error {
	if r.broker != nil {
		if err := r.broker.Start(); err != nil {
			return err
		}
		_, err := supervisor.Within(context.WithoutCancel(ctx), 20*time.Second, func() bool { return isReady(r.broker) })
		return err
	}
	return r.startHook(ctx, r.o.BrokerStart)
}

func (s *storm) databaseDies(ctx context.Context, dice *rand.Rand) {
	release, ok := s.claim("database")
	if !ok {
		return
	}
	defer release()
	s.count("database")
	s.note("the databases' server was killed")
	err := hook(ctx, s.o.DBKill)
	sleep(ctx, between(dice, 0, time.Second))
	if err = errors.Join(err, s.startHook(ctx, s.o.DBStart)); err != nil {
		s.troubled(err)
		return
	}
	s.note("the databases' server is back")
	sleep(ctx, 2*time.Second)
}

// startHook runs a command that starts a server, three times at most: what is left of
// the one that was killed may be in its way for a moment.
func (r *run) startHook(ctx context.Context, command string) (err error) {
	for try := range 3 {
		if try > 0 {
			r.note("once more: %v", err)
			sleep(context.WithoutCancel(ctx), time.Second)
		}
		if err = hook(ctx, command); err == nil {
			return nil
		}
	}
	return err
}

// hook runs a command of the user's, in a session of its own. The end of the storm does
// not end it, nor does an interrupt: what it has begun it has to finish. What it writes
// goes to a file, since a server that it starts may keep that open.
func hook(ctx context.Context, command string) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
	defer cancel()
	said, err := os.CreateTemp("", "waybill-hook-")
	if err != nil {
		return err
	}
	defer os.Remove(said.Name())
	defer said.Close()
	cmd := exec.CommandContext(limited, "sh", "-c", command)
	cmd.Stdout, cmd.Stderr = said, said
	supervisor.Detach(cmd)
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(said.Name())
		return fmt.Errorf("the command %q failed: %w\n%s", command, err, strings.TrimSpace(string(text)))
	}
	return nil
}

func between(dice *rand.Rand, least, most time.Duration) time.Duration {
	return (least + time.Duration(dice.Int64N(int64(most-least)))).Round(time.Millisecond)
}

func hash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	return h.Sum64()
}
