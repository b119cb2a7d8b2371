package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
)

// child is one part as the demo sees it: a process that is started, killed and
// started again, with what holds for all of its lives.
type child struct {
	supervisor.Member[errand, word]

	mu     sync.Mutex
	first  errand
	faults weather
}

// errand is what the next process is told first.
func (c *child) errand(life uint64) errand {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, faults := c.first, c.faults
	first.Seed += life << 32 // each process has faults of its own
	first.Faults = &faults
	return first
}

// setFaults sets the faults of this process and of those that come after it.
func (c *child) setFaults(w weather) {
	c.mu.Lock()
	c.faults = w
	c.mu.Unlock()
	c.Tell(errand{Faults: &w})
}

// pace makes the processes that come after this one take their time for each
// message.
func (c *child) pace(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first.Pace = d
}

// up reports whether the process is there and works.
func (c *child) up() bool {
	now, there := c.Now()
	return there && now.Ready
}

// waitUp waits until the process works.
func (c *child) waitUp(ctx context.Context, patience time.Duration) error {
	up, err := supervisor.Within(ctx, patience, c.up)
	if err == nil && !up {
		err = fmt.Errorf("the %s is not at work after %v\n%s", c.Name, patience, c.Tail())
	}
	return err
}
