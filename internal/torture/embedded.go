package torture

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/waybill-go/waybill/broker/nats/embedded"
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
	server, err := b.start(ctx)
	if err != nil {
		return err
	}
	b.ready.Store(true)
	<-ctx.Done()
	return server.Shutdown()
}

// start starts the server. A port that its killed predecessor has left a moment ago
// may not be free yet.
func (b *embeddedBroker) start(ctx context.Context) (*embedded.Broker, error) {
	u, err := url.Parse(b.e.Broker)
	if err != nil {
		return nil, errors.New("the broker's address is no URL")
	}
	password, _ := u.User.Password()
	for try := 1; ; try++ {
		server, err := embedded.New(b.e.Dir, &embedded.Options{
			Listen: u.Host, User: u.User.Username(), Password: password,
			AckWait: ackWait, MaxStore: b.e.MaxStore, Log: b.log,
		})
		if err == nil {
			return server, nil
		}
		if sleep(ctx, 200*time.Millisecond); try == 20 || ctx.Err() != nil {
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

// Tell tells whether it serves.
func (b *embeddedBroker) Tell() word { return word{Ready: b.ready.Load()} }

// Hear hears of the end.
func (b *embeddedBroker) Hear(e errand) (stop bool) { return e.Stop }
