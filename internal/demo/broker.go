package demo

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/nats/embedded"
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
	b, err := p.start(ctx)
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

// start starts the server. A port that its killed predecessor has left a moment ago
// may not be free yet.
func (p *brokerPlayer) start(ctx context.Context) (*embedded.Broker, error) {
	u, err := url.Parse(p.address)
	if err != nil {
		return nil, errors.New("the broker's address is no URL")
	}
	password, _ := u.User.Password()
	for try := 1; ; try++ {
		b, err := embedded.New(p.dir, &embedded.Options{
			Listen: u.Host, User: u.User.Username(), Password: password, AckWait: ackWait, Log: p.log,
		})
		if err == nil {
			return b, nil
		}
		if sleep(ctx, 200*time.Millisecond); try == 20 || ctx.Err() != nil {
			return nil, errors.Join(err, ctx.Err())
		}
	}
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
