package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
)

// Report is what a demo came to. Its JSON form is part of Waybill's protocol.
type Report struct {
	supervisor.Figures

	RolledBack   int64    `json:"rolled_back"`   // messages of transactions that were rolled back
	LostMessages int64    `json:"lost_messages"` // copies that the network lost
	LostReceipts int64    `json:"lost_receipts"` // bundles of receipts that the network lost
	DiskMessages int64    `json:"disk_messages"` // in the broker's directory when it was deleted
	DiskReceipts int64    `json:"disk_receipts"` // bundles of receipts that were in it
	Kills        int      `json:"kills"`         // processes killed
	ChargedCents int64    `json:"charged_cents"` // payments committed
	BookedCents  int64    `json:"booked_cents"`  // payments in the account
	Seed         uint64   `json:"seed"`
	Seconds      float64  `json:"seconds"`
	Dir          string   `json:"dir,omitempty"`      // where the files are, if they are kept
	Findings     []string `json:"findings,omitempty"` // the first faults, one by one
	GaveUp       string   `json:"gave_up,omitempty"`  // what still waited when nothing moved any more
}

// report puts together what the verdict and the parts say.
func (p *play) report(v *Verdict) *Report {
	relay, shipping := p.relay.Said(), p.shipping.Said()
	r := &Report{Figures: supervisor.Figures{
		Sent: v.Sent, Applied: v.Applied, Superseded: v.Superseded,
		Lost: v.Lost, Doubled: v.Doubled, Stale: v.Stale, Phantom: v.Phantom, Leftover: v.Leftover,
		OK: v.OK(),

		// A relay that was killed and came back does not know which of its messages are
		// copies; and what a part did in the moment before it was killed it could not tell.
		// So both figures are lower bounds.
		Resent: max(relay.Copies, relay.Published-v.Sent, 0),
		// A copy of a state that was superseded is a duplicate too, as people see it.
		Duplicates: shipping.Duplicates + max(shipping.Superseded-v.Superseded, 0),
	},
		RolledBack:   p.shop.rolledBack.Load(),
		LostMessages: relay.Faults.Messages.Lost, LostReceipts: shipping.Faults.Receipts.Lost,
		DiskMessages: p.disk.Messages, DiskReceipts: p.disk.Receipts,
		Kills:        p.relay.Kills() + p.shipping.Kills() + p.broker.Kills(),
		ChargedCents: v.Charged, BookedCents: v.Booked,
		Seed: p.o.Seed, Seconds: float64(time.Since(p.began).Milliseconds()) / 1000,
		Findings: v.Findings, GaveUp: p.gaveUp,
	}
	if p.o.Dir != "" {
		r.Dir = p.dir
	}
	return r
}

func (p *play) prologue() {
	kept := "removed at the end; --dir keeps them"
	if p.o.Dir != "" {
		kept = "kept"
	}
	p.screen.say("%s  %s, seed %d", p.screen.style(bold, "Waybill demo"), count(p.o.Messages, "message"), p.o.Seed)
	p.screen.say("An order service, a relay, a broker and a shipping service: four processes;")
	p.screen.say("an SQLite file for each of the two services.")
	p.screen.say("%s", p.screen.style(dim, fmt.Sprintf("Files: %s (%s)", p.dir, kept)))
}

// setAct names the act under way.
func (p *play) setAct(name string) { p.act.Store(&name) }

// drawEvery is how often the live figures are drawn.
const drawEvery = 120 * time.Millisecond

// drawUntil draws the live figures until ctx ends.
func (p *play) drawUntil(ctx context.Context) {
	defer p.screen.clear()
	for p.screen.live() {
		if lines, err := p.figures(ctx); err == nil {
			p.screen.draw(lines)
		}
		if sleep(ctx, drawEvery); ctx.Err() != nil {
			return
		}
	}
}

// figures are the live figures.
func (p *play) figures(ctx context.Context) ([]string, error) {
	waiting, err := p.waiting(ctx)
	if err != nil {
		return nil, err
	}
	applied, err := p.applied(ctx)
	if err != nil {
		return nil, err
	}
	row := func(up bool, name string, cells ...string) string {
		mark := p.screen.style(green, "●")
		if !up {
			mark = p.screen.style(red, "○")
		}
		return fmt.Sprintf("   %s %-9s", mark, name) + strings.Join(cells, "")
	}
	cell := func(n int64, what string) string { return fmt.Sprintf("%8s %-12s", number(n), what) }
	committed := p.shop.committed.Load()
	relay, shipping, broker := p.relay.Said(), p.shipping.Said(), p.broker.Said()
	return []string{
		"",
		fmt.Sprintf("   %s  %s of %s, %s, %.0f s", bar(committed, p.o.Messages, 30), number(committed), number(p.o.Messages), *p.act.Load(), time.Since(p.began).Seconds()),
		row(true, "orders", cell(committed, "committed"), cell(p.shop.rolledBack.Load(), "rolled back"), cell(waiting, "unconfirmed")),
		row(p.relay.up(), "relay", cell(relay.Published, "sent"), cell(relay.Copies, "copies"), cell(relay.Faults.Messages.Lost, "lost")),
		row(p.broker.up(), "broker", cell(broker.Messages, "messages"), cell(broker.Receipts, "receipts")),
		row(p.shipping.up(), "shipping", cell(applied, "applied"), cell(shipping.Duplicates, "duplicates"), cell(shipping.Superseded, "stale")),
	}, nil
}

// epilogue says what it came to.
func (p *play) epilogue(r *Report) {
	s := p.screen
	line := func(n int64, what, why string) {
		s.say("   %8s  %-31s %s", number(n), what, s.style(dim, why))
	}
	s.say("\n%s", s.style(bold, "What became of it"))
	line(r.Sent, "committed by the order service", "messages, with their changes")
	line(r.Applied, "applied once", "by the shipping service")
	line(r.Superseded, "stale states skipped", "a newer one was there already")
	s.say("")
	line(r.Resent, "lost on the way and sent again", fmt.Sprintf("%s by the network, %s by the disk", number(r.LostMessages), number(r.DiskMessages)))
	line(r.Duplicates, "duplicates dropped", "copies of what had its effect")
	line(r.RolledBack, "rolled back and never sent", "on purpose")
	line(int64(r.Kills), "processes killed", "and started again")
	line(r.Leftover, "rows left in the outbox", "")

	s.say("\n%s", s.style(bold, "The two databases, compared"))
	verdict := func(bad bool, format string, args ...any) {
		mark := s.style(green, "✓")
		if bad {
			mark = s.style(red, "✗")
		}
		s.say("   %s %s", mark, fmt.Sprintf(format, args...))
	}
	for _, c := range []struct {
		n          int64
		what, good string
	}{
		{r.Lost, "lost", "what was committed took effect, or a newer state did"},
		{r.Doubled, "doubled", "none took effect twice"},
		{r.Stale, "stale", "no older state overwrote a newer one"},
		{r.Phantom, "phantom", "nothing that was rolled back took effect"},
		{r.Leftover, "left over", "the outbox is empty"},
	} {
		if c.n > 0 {
			c.good = "see below"
		}
		verdict(c.n > 0, "%6s %-10s %s", number(c.n), c.what, s.style(dim, c.good))
	}
	verdict(r.ChargedCents != r.BookedCents, "payments: %s committed, %s booked", money(r.ChargedCents), money(r.BookedCents))
	s.say("")
	for _, finding := range r.Findings {
		s.say("   %s", finding)
	}
	if r.GaveUp != "" {
		s.say("   Nothing moved any more for %v. Still waiting: %s.", p.o.Patience, r.GaveUp)
	}
	word := s.style(green, "OK")
	if !r.OK {
		word = s.style(red, "NOT OK")
	}
	s.say("   %s after %.1f s. The same again: --seed %d --messages %d", word, r.Seconds, r.Seed, p.o.Messages)
}
