package torture

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/faulty"
	"github.com/waybill-go/waybill/internal/backoff"
)

// activeFaults are what processes are told to do wrong for a while. They hold for those,
// too, that are killed and come back meanwhile.
type activeFaults struct {
	relays, consumers faulty.Network
	handlers          handlerFaults
	full              bool // the databases' files may not grow
}

// networkFaults are what the faults "messages" and "receipts" do.
var networkFaults = faulty.Faults{Lose: 0.3, Repeat: 0.3, Reorder: 0.3, Hold: 0.2, Delay: 500 * time.Millisecond}

func (n *nemesis) messages(ctx context.Context, dice *rand.Rand) {
	n.forAWhile(ctx, dice, "messages", relayRole, n.relays, func(s stats) int64 { return harmed(s.Faults.Messages) },
		func(f *activeFaults) { f.relays.Messages = networkFaults },
		func(f *activeFaults) { f.relays = faulty.Network{} })
}

func (n *nemesis) receipts(ctx context.Context, dice *rand.Rand) {
	n.forAWhile(ctx, dice, "receipts", consumerRole, n.consumers, func(s stats) int64 { return harmed(s.Faults.Receipts) },
		func(f *activeFaults) { f.consumers.Receipts = networkFaults },
		func(f *activeFaults) { f.consumers = faulty.Network{} })
}

func (n *nemesis) handlers(ctx context.Context, dice *rand.Rand) {
	n.forAWhile(ctx, dice, "handlers", consumerRole, n.consumers, func(s stats) int64 { return s.Misdeeds },
		func(f *activeFaults) { f.handlers = allHandlerFaults },
		func(f *activeFaults) { f.handlers = handlerFaults{} })
}

// harmed is how many messages of a tally something was done to.
func harmed(t faulty.Tally) int64 { return t.Lost + t.Repeated + t.Reordered + t.Held }

// forAWhile changes the active faults of a role's processes, and heals them after a while. The
// fault has struck where the processes tell that it did, by a figure of theirs that has grown.
func (n *nemesis) forAWhile(ctx context.Context, dice *rand.Rand, fault, role string, processes []*process, figure func(stats) int64, inject, heal func(*activeFaults)) {
	release, ok := n.claim(fault)
	if !ok {
		return
	}
	defer release()
	span := between(dice, time.Second, 6*time.Second)
	n.note("%s are bad for %v", fault, span)
	before := figure(total(processes))
	n.setFaults(role, processes, inject)
	backoff.Sleep(ctx, span)
	n.setFaults(role, processes, heal)
	if figure(total(processes)) > before {
		n.count(fault)
	} else {
		n.note("no %s were there to be bad", fault)
	}
}

// setFaults changes the active faults, and tells the processes of a role.
func (r *run) setFaults(role string, processes []*process, change func(*activeFaults)) {
	r.sending.Lock() // or a process might be told of older faults last
	defer r.sending.Unlock()
	r.mu.Lock()
	change(&r.active)
	r.mu.Unlock()
	c := r.withActiveFaults(command{Role: role})
	for _, p := range processes {
		p.Send(c)
	}
}

// withActiveFaults adds to a command the active faults of its role.
func (r *run) withActiveFaults(c command) command {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.onSQLite() {
		full := r.active.full
		c.Full = &full
	}
	switch c.Role {
	case relayRole:
		network := r.active.relays
		c.Network = &network
	case consumerRole, abroadRole:
		network, handlers := r.active.consumers, r.active.handlers
		c.Network, c.Handlers = &network, &handlers
	}
	return c
}
