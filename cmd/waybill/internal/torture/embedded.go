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
// other parts, for runs that name no server.
type embeddedBroker struct {
	e     errand
	log   *slog.Logger
	ready atomic.Bool
}

// Run serves until ctx ends.
func (b *embeddedBroker) Run(ctx context.Context) error {
	server, err := supervisor.StartBroker(ctx, b.e.Broker, b.e.Dir, embedded.Options{AckWait: ackWait, MaxStore: b.e.MaxStore, Log: b.log})
	if err != nil {
		return err
	}
	b.ready.Store(true)
	<-ctx.Done()
	return server.Shutdown()
}

// Tell tells whether it serves.
func (b *embeddedBroker) Tell() word { return word{Ready: b.ready.Load()} }

// Hear hears of the end.
func (b *embeddedBroker) Hear(e errand) (stop bool) { return e.Stop }
