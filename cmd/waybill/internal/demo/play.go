package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
)

// play is one demo under way.
type play struct {
	o      Options
	dir    string
	began  time.Time
	screen *screen
	dice   *rand.Rand

	ordersDB, shippingDB    *sql.DB
	shop                    *shop
	desk                    *desk
	brokerDir               string
	broker, relay, shipping *child

	act    atomic.Pointer[string] // the act under way
	disk   word                   // what the broker's disk held when it was lost
	gaveUp string                 // what still waited when patience was at its end
}

// run plays all acts and judges.
func (p *play) run(ctx context.Context, fail context.CancelCauseFunc) (*Report, error) {
	p.dice = rand.New(rand.NewPCG(p.o.Seed, 1))
	p.desk = &desk{shop: p.shop, dice: rand.New(rand.NewPCG(p.o.Seed, 2)), want: p.o.Messages, span: p.o.Span}
	p.prologue()
	if err := p.startAll(ctx); err != nil {
		return nil, reason(ctx, err)
	}

	business := make(chan struct{})
	go func() {
		defer close(business)
		if err := p.desk.run(ctx); err != nil {
			fail(err)
		}
	}()
	quiet, hush := context.WithCancel(ctx)
	drawing := make(chan struct{})
	go func() {
		defer close(drawing)
		p.drawUntil(quiet)
	}()
	err := p.playActs(ctx)
	hush()
	<-drawing
	if err != nil {
		fail(err)
	}
	<-business
	if err != nil {
		return nil, reason(ctx, err)
	}
	for _, c := range []*child{p.relay, p.shipping, p.broker} {
		if err := c.Stop(p.o.Patience, errand{Stop: true}); err != nil {
			return nil, reason(ctx, err)
		}
	}

	verdict, err := Check(ctx, p.ordersDB, p.shippingDB)
	if err != nil {
		return nil, reason(ctx, err)
	}
	r := p.report(verdict)
	p.epilogue(r)
	return r, nil
}

// reason is why ctx ended, where it did, and else err.
func reason(ctx context.Context, err error) error {
	switch why := context.Cause(ctx); {
	case why == nil:
		return err
	case errors.Is(why, context.Canceled):
		return ErrInterrupted
	default:
		return why
	}
}

// startAll starts the parts that are down and waits until each works.
func (p *play) startAll(ctx context.Context) error {
	for _, c := range []*child{p.broker, p.relay, p.shipping} {
		if err := c.Start(); err != nil {
			return err
		}
		if err := c.waitUp(ctx, p.o.Patience); err != nil {
			return err
		}
	}
	return nil
}

// playActs plays one act after the other. Each has its share of the messages: the
// order service goes on when the act begins, and the act ends when they are
// committed.
func (p *play) playActs(ctx context.Context) error {
	for i, a := range p.o.acts {
		from, to := a.from, 1.0
		if i+1 < len(p.o.acts) {
			to = p.o.acts[i+1].from
		}
		p.screen.say("\n%s", p.screen.style(bold, fmt.Sprintf("%d. %s", i+1, a.title)))
		for line := range strings.SplitSeq(a.text, "\n") {
			p.screen.say("   %s", line)
		}
		p.setAct(fmt.Sprintf("act %d of %d", i+1, len(p.o.acts)))
		p.desk.goOn(p.messages(to))
		if err := a.perform(ctx, p, from, to); err != nil {
			return err
		}
		if err := p.until(ctx, to); err != nil {
			return err
		}
	}
	return nil
}

// messages is a share of all messages.
func (p *play) messages(share float64) int64 { return int64(share * float64(p.o.Messages)) }

// until waits until a share of all messages is committed.
func (p *play) until(ctx context.Context, share float64) error {
	for p.shop.committed.Load() < p.messages(share) {
		if sleep(ctx, 5*time.Millisecond); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// between is a random time.
func (p *play) between(least, most time.Duration) time.Duration {
	return least + time.Duration(p.dice.Int64N(int64(most-least)))
}

// killed kills a part, says so, and starts it again after a random while.
func (p *play) killed(ctx context.Context, c *child) error {
	pid, wait := c.Kill(), p.between(100*time.Millisecond, 500*time.Millisecond)
	p.event("%s killed (process %d); back in %d ms", c.Name, pid, wait.Milliseconds())
	if sleep(ctx, wait); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return c.Start()
}

// event says that something has happened.
func (p *play) event(format string, args ...any) {
	p.screen.say("   %s %s", p.screen.style(dim, fmt.Sprintf("%5.1f s", time.Since(p.began).Seconds())), fmt.Sprintf(format, args...))
}

// loseDisk kills the broker and deletes everything that it keeps.
func (p *play) loseDisk(ctx context.Context) error {
	p.disk = p.broker.Said()
	p.broker.Kill()
	if err := os.RemoveAll(p.brokerDir); err != nil {
		return fmt.Errorf("delete the broker's directory: %w", err)
	}
	p.event("broker's disk lost: %s, %s of receipts were in it", count(p.disk.Messages, "message"), count(p.disk.Receipts, "bundle"))
	if sleep(ctx, p.between(200*time.Millisecond, 600*time.Millisecond)); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return p.startAll(ctx)
}

// waiting counts the rows of the outbox.
func (p *play) waiting(ctx context.Context) (n int64, err error) {
	err = p.ordersDB.QueryRowContext(ctx, `SELECT count(*) FROM qmessage`).Scan(&n)
	return n, err
}

// applied counts the effects.
func (p *play) applied(ctx context.Context) (n int64, err error) {
	err = p.shippingDB.QueryRowContext(ctx, `SELECT coalesce(max(n), 0) FROM history`).Scan(&n)
	return n, err
}

// settle waits until the outbox is empty. Where nothing moves any more for as long
// as patience lasts, it gives up; the verdict says what that means.
func (p *play) settle(ctx context.Context) error {
	var before [2]int64
	moved := time.Now()
	for {
		waiting, err := p.waiting(ctx)
		if err != nil {
			return err
		}
		applied, err := p.applied(ctx)
		if err != nil {
			return err
		}
		if waiting == 0 {
			p.event("the outbox is empty")
			break
		}
		if now := [2]int64{waiting, applied}; now != before {
			before, moved = now, time.Now()
		}
		if time.Since(moved) > p.o.Patience {
			p.gaveUp, err = p.whatWaits(ctx)
			return err
		}
		if sleep(ctx, 20*time.Millisecond); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	// Copies that were held back may still come, and have to do no harm.
	if sleep(ctx, storm.Messages.Delay+4*countEvery); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, err := supervisor.Within(ctx, 5*time.Second, func() bool { return p.broker.Said().Messages == 0 })
	return err
}

// whatWaits describes the rows that are left in the outbox.
func (p *play) whatWaits(ctx context.Context) (string, error) {
	var parts []string
	err := each(ctx, p.ordersDB, `
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
		part := fmt.Sprintf("%s to %s (status %d, up to %d copies sent again", count(n, "message"), destination, status, copies)
		if reason != "" {
			part += ", last error: " + reason
		}
		parts = append(parts, part+")")
		return nil
	})
	return strings.Join(parts, "; "), err
}
