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
)

// brokerPlayer is the broker's process: the embedded broker, with a port for the
// other parts.
type brokerPlayer struct {
	dir     string
	address string // nats://user:password@127.0.0.1:port
	log     *slog.Logger

	ready              atomic.Bool
	messages, receipts atomic.Int64
}

// countEvery is how often the broker's contents are counted.
const countEvery = 25 * time.Millisecond

func (p *brokerPlayer) Run(ctx context.Context) error {
	b, err := supervisor.StartBroker(ctx, p.address, p.dir, embedded.Options{AckWait: ackWait, Log: p.log})
	if err != nil {
		return err
	}
	defer func() { _ = b.Shutdown() }()
	p.ready.Store(true)
	for ctx.Err() == nil {
		if err := p.count(b); err != nil {
			return err
		}
		sleep(ctx, countEvery)
	}
	return nil
}

// count counts what the broker keeps.
func (p *brokerPlayer) count(b *embedded.Broker) error {
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

func (p *brokerPlayer) Tell() word {
	return word{Ready: p.ready.Load(), Messages: p.messages.Load(), Receipts: p.receipts.Load()}
}

// weather has no faults for the broker: they are on the way to it.
func (p *brokerPlayer) weather(weather) {}
