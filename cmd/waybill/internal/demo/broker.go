package demo

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/nats/embedded"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/internal/backoff"
)

// brokerProcess is the broker's process: the embedded broker, with a port for the
// other processes.
type brokerProcess struct {
	dir     string
	address string // nats://user:password@127.0.0.1:port
	log     *slog.Logger

	ready              atomic.Bool
	messages, receipts atomic.Int64
}

// countEvery is how often the broker's contents are counted.
const countEvery = 25 * time.Millisecond

// Run serves until ctx ends.
func (p *brokerProcess) Run(ctx context.Context) error {
	b, err := supervisor.StartBroker(ctx, p.address, p.dir, &embedded.Options{AckWait: ackWait, Log: p.log})
	if err != nil {
		return err
	}
	defer func() { _ = b.Shutdown() }()
	p.ready.Store(true)
	for ctx.Err() == nil {
		if err := p.count(b); err != nil {
			return err
		}
		backoff.Sleep(ctx, countEvery)
	}
	return nil
}

// count counts what the broker keeps.
func (p *brokerProcess) count(b *embedded.Broker) error {
	depths, err := b.Depths()
	if err != nil {
		return err
	}
	messages, receipts := 0, 0
	for subject, depth := range depths {
		if strings.HasPrefix(subject, waybill.ReceiptPrefix) {
			receipts += depth
		} else {
			messages += depth
		}
	}
	p.messages.Store(int64(messages))
	p.receipts.Store(int64(receipts))
	return nil
}

// Stats say what the broker keeps.
func (p *brokerProcess) Stats() stats {
	return stats{Ready: p.ready.Load(), Messages: p.messages.Load(), Receipts: p.receipts.Load()}
}

// Handle ends the broker where the command says so. Faults are on the way to it.
func (p *brokerProcess) Handle(c command) (stop bool) { return c.Stop }
