package torture

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/waybill-go/waybill/broker/nats/embedded"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
)

// ackWait is how soon the embedded broker delivers again what a killed process had
// taken.
const ackWait = 2 * time.Second

// embeddedBroker is the embedded broker in a process of its own, with a port for the
// other processes, for runs that name no server.
type embeddedBroker struct {
	cmd   command
	log   *slog.Logger
	ready atomic.Bool
}

// Run serves until ctx ends.
func (b *embeddedBroker) Run(ctx context.Context) error {
	server, err := supervisor.StartBroker(ctx, b.cmd.Broker, b.cmd.Dir, &embedded.Options{AckWait: ackWait, MaxStore: b.cmd.MaxStore, Log: b.log})
	if err != nil {
		return err
	}
	b.ready.Store(true)
	<-ctx.Done()
	return server.Shutdown()
}

// Stats say whether it serves.
func (b *embeddedBroker) Stats() stats { return stats{Ready: b.ready.Load()} }

// Handle ends it where the command says so.
func (b *embeddedBroker) Handle(c command) (stop bool) { return c.Stop }
