package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/waybill-go/waybill/broker/nats/embedded"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/test/freeport"
)

// BrokerAddress makes an address for an embedded broker in a process of its own, with a
// password and a port of the loopback interface that stays free while the broker is away.
func BrokerAddress(ctx context.Context) (string, error) {
	listener, err := freeport.Listen(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("nats://scenario:%s@%s", rand.Text(), listener.Addr()), listener.Close()
}

// How long StartBroker waits for the lock of the broker's directory.
const (
	lockTries = 20
	lockEvery = 200 * time.Millisecond
)

// StartBroker starts the embedded broker at such an address. The directory's lock, which
// its killed predecessor had a moment ago, may not be free yet: it is waited for, for four
// seconds.
func StartBroker(ctx context.Context, address, dir string, o *embedded.Options) (*embedded.Broker, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the broker's address is no URL")
	}
	options := embedded.Options{}
	if o != nil {
		options = *o
	}
	options.Listen, options.User = u.Host, u.User.Username()
	options.Password, _ = u.User.Password()
	for try := 1; ; try++ {
		b, err := embedded.New(dir, &options)
		if err == nil || try == lockTries {
			return b, err
		}
		if backoff.Sleep(ctx, lockEvery); ctx.Err() != nil {
			return nil, errors.Join(err, ctx.Err())
		}
	}
}
