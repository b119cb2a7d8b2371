package demo

import (
	"context"
	"slices"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/faulty"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
)

// act is one thing that happens. It has the messages from one share of all to the
// next act's.
type act struct {
	from    float64
	title   string
	text    string
	perform func(ctx context.Context, p *play, from, to float64) error
}

// storm is what the network does from the second act on.
var storm = weather{
	Messages: faulty.Faults{Lose: 0.05, Repeat: 0.05, Reorder: 0.10, Hold: 0.05, Delay: 600 * time.Millisecond},
	Receipts: faulty.Faults{Lose: 0.10, Repeat: 0.05},
}

// wholePlay is what Run plays.
var wholePlay = []act{
	{0, "A quiet day", `The order service writes each change and its messages in one transaction,
and takes one transaction in ten back at the last moment. A relay carries
the messages to a broker. A shipping service keeps each order's latest
state, and books each payment once.`, quietDay},

	{0.10, "The network turns bad", `1 message in 20 is lost after the broker has confirmed it, 1 in 20 comes
twice, 1 in 10 out of order, 1 in 20 late; of the bundles of receipts 1 in
10 is lost. It stays like this to the end.`, badNetwork},

	{0.28, "The relay is killed", `Without notice, in the middle of its work. What it knew is gone.`,
		func(ctx context.Context, p *play, from, to float64) error {
			return p.assault(ctx, from, to, p.relay, p.relay)
		}},

	{0.42, "The shipping service is killed", `With it go messages that it has taken from the broker, transactions that
it has begun, and receipts that it has not sent.`,
		func(ctx context.Context, p *play, from, to float64) error {
			return p.assault(ctx, from, to, p.shipping, p.shipping)
		}},

	{0.56, "The broker loses its disk", `Its directory is deleted in mid-flight, while nobody else is alive who
remembers what was in it.`, diskLoss},

	{0.74, "Everything at once", `Relay and shipping service are killed again and again, and so is the
broker, which keeps its disk this time.`,
		func(ctx context.Context, p *play, from, to float64) error {
			return p.assault(ctx, from, to, p.relay, p.shipping, p.broker, p.relay, p.shipping)
		}},

	{1, "The last orders", `Nothing new is ordered, and nobody is killed any more. What was lost is
sent again until its receipt is there.`,
		func(ctx context.Context, p *play, _, _ float64) error { return p.settle(ctx) }},
}

func quietDay(ctx context.Context, p *play, _, to float64) error {
	if err := p.until(ctx, to); err != nil {
		return err
	}
	// All is quiet when the last receipt is there; a slow machine takes its time.
	_, err := supervisor.Within(ctx, 5*time.Second, func() bool {
		waiting, err := p.waiting(ctx)
		return err != nil || waiting == 0
	})
	return err
}

func badNetwork(_ context.Context, p *play, _, _ float64) error {
	p.relay.setFaults(storm)
	p.shipping.setFaults(storm)
	return nil
}

// assault kills parts, in the order given, at random moments while the act's
// messages are committed.
func (p *play) assault(ctx context.Context, from, to float64, parts ...*child) error {
	moments := make([]float64, len(parts))
	for i := range moments {
		// Not at the very ends, so that there is work to interrupt.
		moments[i] = from + (to-from)*(0.05+0.85*p.dice.Float64())
	}
	slices.Sort(moments)
	for i, c := range parts {
		if err := p.until(ctx, moments[i]); err != nil {
			return err
		}
		if err := c.waitUp(ctx, p.o.Patience); err != nil {
			return err
		}
		if sleep(ctx, p.between(0, 50*time.Millisecond)); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := p.killed(ctx, c); err != nil {
			return err
		}
	}
	return p.startAll(ctx)
}

// diskLoss sees to it that the broker holds messages and receipts, and that nobody
// else knows of them, before its disk is lost.
func diskLoss(ctx context.Context, p *play, from, to float64) error {
	p.shipping.Kill()
	p.event("shipping service killed; messages pile up in the broker")
	if pile := (p.messages(to) - p.messages(from)) / 2; pile > 0 {
		if _, err := supervisor.Within(ctx, 5*time.Second, func() bool { return p.broker.Said().Messages >= pile }); err != nil {
			return err
		}
	}
	p.relay.Kill()
	p.event("relay killed; receipts pile up in the broker")
	// A slow shipping service leaves some messages where they are.
	p.shipping.pace(10 * time.Millisecond)
	if err := p.shipping.Start(); err != nil {
		return err
	}
	if _, err := supervisor.Within(ctx, 5*time.Second, func() bool {
		in := p.broker.Said()
		return in.Receipts >= 2 || in.Messages == 0
	}); err != nil {
		return err
	}
	p.shipping.Kill()
	p.shipping.pace(0)
	// Nobody touches the broker any more: what it says of itself becomes exact.
	if sleep(ctx, 2*(countEvery+supervisor.TellEvery)+100*time.Millisecond); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return p.loseDisk(ctx)
}
