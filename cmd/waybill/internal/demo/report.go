package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
	"github.com/waybill-go/waybill/cmd/waybill/internal/verdict"
	"github.com/waybill-go/waybill/internal/backoff"
)

// Report is what a demo came to. Its JSON form is part of Waybill's protocol.
type Report struct {
	verdict.Figures

	RolledBack   int64    `json:"rolled_back"`   // messages of transactions that were rolled back
	LostMessages int64    `json:"lost_messages"` // copies that the network lost
	Repeated     int64    `json:"repeated"`      // copies that the network passed on twice
	LostReceipts int64    `json:"lost_receipts"` // bundles of receipts that the network lost
	DiskMessages int64    `json:"disk_messages"` // in the broker's directory when it was deleted
	DiskReceipts int64    `json:"disk_receipts"` // bundles of receipts that were in it
	Kills        int      `json:"kills"`         // processes killed
	ChargedCents int64    `json:"charged_cents"` // payments committed
	BookedCents  int64    `json:"booked_cents"`  // payments in the account
	Seed         uint64   `json:"seed"`
	Seconds      float64  `json:"seconds"`
	Dir          string   `json:"dir,omitempty"`      // where the files are, if they are kept
	Violations   []string `json:"findings,omitempty"` // the first ones, one by one
	GaveUp       string   `json:"gave_up,omitempty"`  // what still waited when nothing moved any more
}

// report puts together what the checker and the processes say.
func (s *scenario) report(v *Verdict) *Report {
	relay, shipping := s.relay.Stats(), s.shipping.Stats()
	r := &Report{Figures: verdict.Figures{
		Sent: v.Sent, Applied: v.Applied, Superseded: v.Superseded,
		Lost: v.Lost, Doubled: v.Doubled, Stale: v.Stale, Phantom: v.Phantom, Leftover: v.Leftover,
		OK: v.OK(),

		// A relay that was killed and came back does not know which of its messages are
		// copies, and a process that is killed has not told what it did last. So both
		// figures are lower bounds.
		Resent: max(relay.Copies, relay.Published-v.Sent, 0),
		// A copy of a state that was superseded is a duplicate too, as people see it.
		Duplicates: shipping.Duplicates + max(shipping.Superseded-v.Superseded, 0),
	},
		RolledBack:   s.orders.rolledBack.Load(),
		LostMessages: relay.Faults.Messages.Lost, Repeated: relay.Faults.Messages.Repeated, LostReceipts: shipping.Faults.Receipts.Lost,
		DiskMessages: s.disk.Messages, DiskReceipts: s.disk.Receipts,
		Kills:        s.relay.Kills() + s.shipping.Kills() + s.broker.Kills(),
		ChargedCents: v.Charged, BookedCents: v.Booked,
		Seed: s.o.Seed, Seconds: float64(time.Since(s.began).Milliseconds()) / 1000,
		Violations: v.Violations, GaveUp: s.gaveUp,
	}
	if s.o.Dir != "" {
		r.Dir = s.dir
	}
	return r
}

// printHeader says what is about to happen.
func (s *scenario) printHeader() {
	kept := "removed at the end; --dir keeps them"
	if s.o.Dir != "" {
		kept = "kept"
	}
	s.display.say("%s  %s, seed %d", s.display.style(bold, "Waybill demo"), count(s.o.Messages, "message"), s.o.Seed)
	s.display.say("An order service, a relay, a broker and a shipping service: four processes;")
	s.display.say("an SQLite file for each of the two services.")
	s.display.say("%s", s.display.style(dim, fmt.Sprintf("Files: %s (%s)", s.dir, kept)))
}

// drawEvery is how often the live figures are drawn.
const drawEvery = 120 * time.Millisecond

// drawUntil draws the live figures until ctx ends.
func (s *scenario) drawUntil(ctx context.Context) {
	defer s.display.clear()
	for s.display.live() {
		if lines, err := s.figures(ctx); err == nil {
			s.display.draw(lines)
		}
		if backoff.Sleep(ctx, drawEvery); ctx.Err() != nil {
			return
		}
	}
}

// figures are the live figures.
func (s *scenario) figures(ctx context.Context) ([]string, error) {
	waiting, err := s.waiting(ctx)
	if err != nil {
		return nil, err
	}
	applied, err := s.applied(ctx)
	if err != nil {
		return nil, err
	}
	row := func(up bool, name string, cells ...string) string {
		mark := s.display.style(green, "●")
		if !up {
			mark = s.display.style(red, "○")
		}
		return fmt.Sprintf("   %s %-9s", mark, name) + strings.Join(cells, "")
	}
	cell := func(n int64, what string) string { return fmt.Sprintf("%8s %-12s", terminal.Number(n), what) }
	committed := s.orders.committed.Load()
	relay, shipping, broker := s.relay.Stats(), s.shipping.Stats(), s.broker.Stats()
	return []string{
		"",
		fmt.Sprintf("   %s  %s of %s, %s, %.0f s", bar(committed, s.o.Messages, 30), terminal.Number(committed), terminal.Number(s.o.Messages), *s.phase.Load(), time.Since(s.began).Seconds()),
		row(true, "orders", cell(committed, "committed"), cell(s.orders.rolledBack.Load(), "rolled back"), cell(waiting, "unconfirmed")),
		row(s.relay.up(), "relay", cell(relay.Published, "sent"), cell(relay.Copies, "sent again"), cell(relay.Faults.Messages.Lost, "lost")),
		row(s.broker.up(), "broker", cell(broker.Messages, "messages"), cell(broker.Receipts, "receipts")),
		row(s.shipping.up(), "shipping", cell(applied, "applied"), cell(shipping.Duplicates, "duplicates"), cell(shipping.Superseded, "stale")),
	}, nil
}

// printResult says what it came to.
func (s *scenario) printResult(r *Report) {
	d := s.display
	heading := func(text string) { d.say("\n%s", d.style(bold, text)) }
	line := func(sign string, n int64, what, why string) {
		d.say(" %1s %8s  %-30s %s", sign, terminal.Number(n), what, d.style(dim, why))
	}
	heading("What the order service committed")
	line("", r.Applied, "messages took effect", "at the shipping service")
	line("+", r.Superseded, "were out of date, and skipped", "a newer state had taken effect")
	if lost := r.Sent - r.Applied - r.Superseded; lost != 0 {
		line("+", lost, "took no effect", "see below")
	}
	line("=", r.Sent, "messages committed", "each with its change")
	heading("What went wrong on the way, on purpose")
	line("", r.LostMessages, "messages lost", "by the network")
	line("", r.Repeated, "messages came twice", "by the network")
	line("", r.DiskMessages, "messages deleted", "with the broker's disk")
	line("", r.LostReceipts+r.DiskReceipts, "bundles of receipts lost", "by the network, or with the disk")
	line("", int64(r.Kills), "processes killed", "and started again")
	line("", r.RolledBack, "messages rolled back", "with their changes; never sent")
	heading("What Waybill did about it")
	line("", r.Resent, "times it sent a message again", "no receipt for it had come in time")
	line("", r.Duplicates, "times it dropped a message", "it had taken effect before")

	s.printVerdict(r)
	conclusion := d.style(green, "OK")
	if !r.OK {
		conclusion = d.style(red, "NOT OK")
	}
	d.say("   %s after %.1f s. The same again: --seed %d --messages %d", conclusion, r.Seconds, r.Seed, s.o.Messages)
}

// printVerdict says what comparing the databases has found.
func (s *scenario) printVerdict(r *Report) {
	d := s.display
	d.say("\n%s", d.style(bold, "The verdict: the two databases, compared"))
	check := func(bad bool, format string, args ...any) {
		mark := d.style(green, "✓")
		if bad {
			mark = d.style(red, "✗")
		}
		d.say("   %s %s", mark, fmt.Sprintf(format, args...))
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
		check(c.n > 0, "%6s %-10s %s", terminal.Number(c.n), c.what, d.style(dim, c.good))
	}
	check(r.ChargedCents != r.BookedCents, "payments: %s committed, %s booked", money(r.ChargedCents), money(r.BookedCents))
	d.say("")
	for _, violation := range r.Violations {
		d.say("   %s", violation)
	}
	if r.GaveUp != "" {
		d.say("   Nothing moved any more for %v. Still waiting: %s.", s.o.Patience, r.GaveUp)
	}
}
