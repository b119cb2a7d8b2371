package demo

import (
	"context"
	"slices"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/faulty"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/internal/backoff"
)

// phase is one thing that happens. It has the messages from one share of all to the
// next phase's.
type phase struct {
	from  float64
	title string
	text  string
	run   func(ctx context.Context, s *scenario, from, to float64) error
}

// badNetwork is what the network does from the second phase on.
var badNetwork = faulty.Network{
	Messages: faulty.Faults{Lose: 0.05, Repeat: 0.05, Reorder: 0.10, Hold: 0.05, Delay: 600 * time.Millisecond},
	Receipts: faulty.Faults{Lose: 0.10, Repeat: 0.05},
}

// allPhases are what Run runs.
var allPhases = []phase{
	{0, "A quiet day", `The order service writes each change and its messages in one transaction,
and takes one transaction in ten back at the last moment. A relay carries
the messages to a broker. A shipping service keeps each order's latest
state, and books each payment once.`, quietDay},

	{0.10, "The network turns bad", `1 message in 20 is lost after the broker has confirmed it, 1 in 20 comes
twice, 1 in 10 out of order, 1 in 20 late; of the bundles of receipts 1 in
10 is lost. It stays like this to the end.`, breakNetwork},

	{0.28, "The relay is killed", `Without notice, in the middle of its work. What it knew is gone.`,
		func(ctx context.Context, s *scenario, from, to float64) error {
			return s.killAtRandom(ctx, from, to, s.relay, s.relay)
		}},

	{0.42, "The shipping service is killed", `With it go messages that it has taken from the broker, transactions that
it has begun, and receipts that it has not sent.`,
		func(ctx context.Context, s *scenario, from, to float64) error {
			return s.killAtRandom(ctx, from, to, s.shipping, s.shipping)
		}},

	{0.56, "The broker loses its disk", `Its directory is deleted while it is full of messages and receipts, and
while nobody else is alive who remembers them.`, diskLoss},

	{0.74, "Everything at once", `Relay and shipping service are killed again and again, and so is the
broker, which keeps its disk this time.`,
		func(ctx context.Context, s *scenario, from, to float64) error {
			return s.killAtRandom(ctx, from, to, s.relay, s.shipping, s.broker, s.relay, s.shipping)
		}},

	{1, "The last orders", `Nothing new is ordered, and nobody is killed any more. What was lost is
sent again until its receipt is there.`,
		func(ctx context.Context, s *scenario, _, _ float64) error { return s.drain(ctx) }},
}

func quietDay(ctx context.Context, s *scenario, _, to float64) error {
	if err := s.until(ctx, to); err != nil {
		return err
	}
	// The day is over when the last receipt is there; a slow machine takes its time.
	_, err := supervisor.Within(ctx, 5*time.Second, func() bool {
		waiting, err := s.waiting(ctx)
		return err != nil || waiting == 0
	})
	return err
}

func breakNetwork(_ context.Context, s *scenario, _, _ float64) error {
	s.relay.setFaults(badNetwork)
	s.shipping.setFaults(badNetwork)
	return nil
}

// killAtRandom kills processes, in the order given, at random moments while the phase's
// messages are committed.
func (s *scenario) killAtRandom(ctx context.Context, from, to float64, victims ...*process) error {
	moments := make([]float64, len(victims))
	for i := range moments {
		// Not at the very ends, so that there is work to interrupt.
		moments[i] = from + (to-from)*(0.05+0.85*s.dice.Float64())
	}
	slices.Sort(moments)
	for i, p := range victims {
		if err := s.until(ctx, moments[i]); err != nil {
			return err
		}
		if err := p.waitUp(ctx, s.o.Patience); err != nil {
			return err
		}
		if backoff.Sleep(ctx, s.between(0, 50*time.Millisecond)); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.kill(ctx, p); err != nil {
			return err
		}
	}
	return s.startAll(ctx)
}

// diskLoss sees to it that the broker holds messages and receipts, and that nobody
// else knows of them, before its disk is lost.
func diskLoss(ctx context.Context, s *scenario, from, to float64) error {
	s.shipping.Kill()
	s.event("shipping service killed; messages pile up in the broker")
	if pile := (s.messages(to) - s.messages(from)) / 2; pile > 0 {
		if _, err := supervisor.Within(ctx, 5*time.Second, func() bool { return s.broker.Stats().Messages >= pile }); err != nil {
			return err
		}
	}
	s.relay.Kill()
	s.event("relay killed; receipts pile up in the broker")
	// A slow shipping service leaves some messages where they are.
	s.shipping.setPace(10 * time.Millisecond)
	if err := s.shipping.Start(); err != nil {
		return err
	}
	if _, err := supervisor.Within(ctx, 5*time.Second, func() bool {
		in := s.broker.Stats()
		return in.Receipts >= 2 || in.Messages == 0
	}); err != nil {
		return err
	}
	s.shipping.Kill()
	s.event("shipping service killed again; nobody uses the broker any more")
	s.shipping.setPace(0)
	// Nobody uses the broker any more: after a while what it says of itself is exact.
	if backoff.Sleep(ctx, 2*(countEvery+supervisor.StatsEvery)+100*time.Millisecond); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.loseDisk(ctx)
}
