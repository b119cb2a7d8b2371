package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/faulty"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
)

// process is one of the demo's: it is started, killed and started again, with what holds
// for all of its lives.
type process struct {
	supervisor.Process[command, stats]

	mu      sync.Mutex
	first   command
	network faulty.Network
}

// firstCommand is what a life is told first.
func (p *process) firstCommand(life uint64) command {
	p.mu.Lock()
	defer p.mu.Unlock()
	first, network := p.first, p.network
	first.Seed += life << 32 // each life has faults of its own
	first.Network = &network
	return first
}

// setFaults sets the network's faults for this life and for those that come after it.
func (p *process) setFaults(n faulty.Network) {
	p.mu.Lock()
	p.network = n
	p.mu.Unlock()
	p.Send(command{Network: &n})
}

// setPace makes the lives that come after this one wait so long for each message.
func (p *process) setPace(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.first.Pace = d
}

// up reports whether the process is there and works.
func (p *process) up() bool {
	now, there := p.Current()
	return there && now.Ready
}

// waitUp waits until the process works, for as long as patience.
func (p *process) waitUp(ctx context.Context, patience time.Duration) error {
	up, err := supervisor.Within(ctx, patience, p.up)
	if err == nil && !up {
		err = fmt.Errorf("the %s is not at work after %v\n%s", p.Name, patience, p.Tail())
	}
	return err
}
