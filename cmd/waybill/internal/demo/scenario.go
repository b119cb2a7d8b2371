package demo

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/cmd/waybill/internal/verdict"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/backoff"
)

// scenario is one demo under way.
type scenario struct {
	o       Options
	exec    func() (*exec.Cmd, error)
	dir     string
	began   time.Time
	display *display
	dice    *rand.Rand

	ordersDB, shippingDB    *sql.DB
	orders                  *orderService
	workload                *workload
	brokerDir               string
	broker, relay, shipping *process

	phase  atomic.Pointer[string] // the name of the phase under way
	disk   stats                  // what the broker's disk held when it was lost
	gaveUp string                 // what still waited when patience was at its end
}

// setup makes the databases and the processes, which it does not start. fail ends the
// demo.
func (s *scenario) setup(ctx context.Context, fail context.CancelCauseFunc) error {
	orders, shipping := filepath.Join(s.dir, "orders.db"), filepath.Join(s.dir, "shipping.db")
	db, dialect, err := address.OpenDatabase("sqlite:" + orders)
	if err != nil {
		return err
	}
	s.ordersDB = db
	if s.orders, err = newOrderService(ctx, db, dialect); err != nil {
		return err
	}
	if s.shippingDB, _, err = address.OpenDatabase("sqlite:" + shipping); err != nil {
		return err
	}
	if err := createShipping(ctx, s.shippingDB, dialect); err != nil {
		return err
	}
	url, err := supervisor.BrokerAddress(ctx)
	if err != nil {
		return err
	}
	s.brokerDir = filepath.Join(s.dir, "broker")
	setup := func(name string, c command) *process {
		c.Broker, c.Seed = url, s.o.Seed
		p := &process{first: c}
		p.Name, p.Exec, p.First = name, s.exec, p.firstCommand
		p.LogPath, p.Failed = filepath.Join(s.dir, c.Role+".log"), func(err error) { fail(err) }
		return p
	}
	s.broker = setup("broker", command{Role: brokerRole, Dir: s.brokerDir})
	s.relay = setup("relay", command{Role: relayRole, Database: orders})
	s.shipping = setup("shipping service", command{Role: shippingRole, Database: shipping})
	return nil
}

// end ends what is left, in whatever state the demo is.
func (s *scenario) end() {
	s.display.clear()
	for _, p := range []*process{s.relay, s.shipping, s.broker} {
		if p != nil {
			p.Kill()
		}
	}
	for _, db := range []*sql.DB{s.ordersDB, s.shippingDB} {
		if db != nil {
			_ = db.Close()
		}
	}
}

// run runs all phases and compares the databases.
func (s *scenario) run(ctx context.Context, fail context.CancelCauseFunc) (*Report, error) {
	s.dice = rand.New(rand.NewPCG(s.o.Seed, 1))
	s.workload = &workload{orders: s.orders, dice: rand.New(rand.NewPCG(s.o.Seed, 2)), want: s.o.Messages, span: s.o.Span}
	s.printHeader()
	if err := s.startAll(ctx); err != nil {
		return nil, reason(ctx, err)
	}

	business := make(chan struct{})
	go func() {
		defer close(business)
		if err := s.workload.run(ctx); err != nil {
			fail(err)
		}
	}()
	drawing, stopDrawing := context.WithCancel(ctx)
	drawn := make(chan struct{})
	go func() {
		defer close(drawn)
		s.drawUntil(drawing)
	}()
	err := s.runPhases(ctx)
	stopDrawing()
	<-drawn
	if err != nil {
		fail(err)
	}
	<-business
	if err != nil {
		return nil, reason(ctx, err)
	}
	for _, p := range []*process{s.relay, s.shipping, s.broker} {
		if err := p.Stop(s.o.Patience, command{Stop: true}); err != nil {
			return nil, reason(ctx, err)
		}
	}

	v, err := Check(ctx, s.ordersDB, s.shippingDB)
	if err != nil {
		return nil, reason(ctx, err)
	}
	r := s.report(v)
	s.printResult(r)
	return r, nil
}

// startAll starts the processes that are down and waits until each works.
func (s *scenario) startAll(ctx context.Context) error {
	for _, p := range []*process{s.broker, s.relay, s.shipping} {
		if err := p.Start(); err != nil {
			return err
		}
		if err := p.waitUp(ctx, s.o.Patience); err != nil {
			return err
		}
	}
	return nil
}

// runPhases runs one phase after the other. Each has its share of the messages: the
// order service goes on when the phase begins, and the phase ends when they are
// committed.
func (s *scenario) runPhases(ctx context.Context) error {
	for i, phase := range s.o.phases {
		from, to := phase.from, 1.0
		if i+1 < len(s.o.phases) {
			to = s.o.phases[i+1].from
		}
		s.display.say("\n%s", s.display.style(bold, fmt.Sprintf("%d. %s", i+1, phase.title)))
		for line := range strings.SplitSeq(phase.text, "\n") {
			s.display.say("   %s", line)
		}
		s.setPhase(fmt.Sprintf("phase %d of %d", i+1, len(s.o.phases)))
		s.workload.goOn(s.messages(to))
		if err := phase.run(ctx, s, from, to); err != nil {
			return err
		}
		if err := s.until(ctx, to); err != nil {
			return err
		}
	}
	return nil
}

// setPhase names the phase under way.
func (s *scenario) setPhase(name string) { s.phase.Store(&name) }

// messages is a share of all messages.
func (s *scenario) messages(share float64) int64 { return int64(share * float64(s.o.Messages)) }

// until waits until a share of all messages is committed.
func (s *scenario) until(ctx context.Context, share float64) error {
	for s.orders.committed.Load() < s.messages(share) {
		if backoff.Sleep(ctx, 5*time.Millisecond); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// between is a random time.
func (s *scenario) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.dice.Int64N(int64(most-least)))
}

// event says that something has happened.
func (s *scenario) event(format string, args ...any) {
	s.display.say("   %s %s", s.display.style(dim, fmt.Sprintf("%5.1f s", time.Since(s.began).Seconds())), fmt.Sprintf(format, args...))
}

// kill kills a process, says so, and starts it again after a random while.
func (s *scenario) kill(ctx context.Context, p *process) error {
	pid, wait := p.Kill(), s.between(100*time.Millisecond, 500*time.Millisecond)
	s.event("%s killed (process %d); back in %d ms", p.Name, pid, wait.Milliseconds())
	if backoff.Sleep(ctx, wait); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return p.Start()
}

// loseDisk kills the broker and deletes everything that it keeps.
func (s *scenario) loseDisk(ctx context.Context) error {
	s.disk = s.broker.Stats()
	s.broker.Kill()
	if err := os.RemoveAll(s.brokerDir); err != nil {
		return fmt.Errorf("delete the broker's directory: %w", err)
	}
	s.event("broker's disk lost: %s, %s of receipts were in it", count(s.disk.Messages, "message"), count(s.disk.Receipts, "bundle"))
	if backoff.Sleep(ctx, s.between(200*time.Millisecond, 600*time.Millisecond)); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.startAll(ctx)
}

// waiting counts the rows of the outbox.
func (s *scenario) waiting(ctx context.Context) (n int64, err error) {
	err = s.ordersDB.QueryRowContext(ctx, `SELECT count(*) FROM qmessage`).Scan(&n)
	return n, err
}

// applied counts the effects.
func (s *scenario) applied(ctx context.Context) (n int64, err error) {
	err = s.shippingDB.QueryRowContext(ctx, `SELECT coalesce(max(n), 0) FROM history`).Scan(&n)
	return n, err
}

// drain waits until the outbox is empty. Where nothing has moved for as long as patience,
// it gives up; the verdict says what that means.
func (s *scenario) drain(ctx context.Context) error {
	var before [2]int64
	moved := time.Now()
	for {
		waiting, err := s.waiting(ctx)
		if err != nil {
			return err
		}
		applied, err := s.applied(ctx)
		if err != nil {
			return err
		}
		if waiting == 0 {
			s.event("the outbox is empty")
			return s.quiesce(ctx)
		}
		if now := [2]int64{waiting, applied}; now != before {
			before, moved = now, time.Now()
		}
		if time.Since(moved) > s.o.Patience {
			s.gaveUp, err = s.whatWaits(ctx)
			return err
		}
		if backoff.Sleep(ctx, 20*time.Millisecond); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// quiesce waits for copies that were held back: they have to do no harm either.
func (s *scenario) quiesce(ctx context.Context) error {
	if backoff.Sleep(ctx, badNetwork.Messages.Delay+4*countEvery); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, err := supervisor.Within(ctx, 5*time.Second, func() bool { return s.broker.Stats().Messages == 0 })
	return err
}

// whatWaits describes the rows that are left in the outbox.
func (s *scenario) whatWaits(ctx context.Context) (string, error) {
	var groups []string
	err := verdict.EachRow(ctx, s.ordersDB, `
SELECT destination, status, count(*), max(retry), coalesce(max(last_error), '')
FROM qmessage
GROUP BY destination, status
ORDER BY destination, status`, func(rows *sql.Rows) error {
		var destination, reason string
		var status int
		var n, copies int64
		if err := rows.Scan(&destination, &status, &n, &copies, &reason); err != nil {
			return err
		}
		group := fmt.Sprintf("%s to %s (status %d, up to %d copies sent again", count(n, "message"), destination, status, copies)
		if reason != "" {
			group += ", last error: " + reason
		}
		groups = append(groups, group+")")
		return nil
	})
	return strings.Join(groups, "; "), err
}
