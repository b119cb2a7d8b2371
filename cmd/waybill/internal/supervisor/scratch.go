package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/waybill-go/waybill/broker/nats/embedded"
	"github.com/waybill-go/waybill/internal/test/freeport"
)

// Directory makes the directory for a play's files: dir, which may exist and has to be
// empty, or a temporary one for "", whose name begins with prefix.
func Directory(dir, prefix string) (path string, err error) {
	if dir == "" {
		return os.MkdirTemp("", prefix)
	}
	if path, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(path, 0o750); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("%s is not empty; name a directory for this run alone", path)
	}
	return path, nil
}

// BrokerAddress makes an address for an embedded broker in a process of its own, with a
// password and a port of the loopback interface that stays free while the broker is away.
func BrokerAddress(ctx context.Context) (string, error) {
	listener, err := freeport.Listen(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("nats://play:%s@%s", rand.Text(), listener.Addr()), listener.Close()
}

// StartBroker starts the embedded broker at such an address. The directory's lock, which
// its killed predecessor had a moment ago, may not be free yet: it is waited for.
func StartBroker(ctx context.Context, address, dir string, o embedded.Options) (*embedded.Broker, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the broker's address is no URL")
	}
	o.Listen, o.User = u.Host, u.User.Username()
	o.Password, _ = u.User.Password()
	wait := time.NewTicker(200 * time.Millisecond)
	defer wait.Stop()
	for try := 1; ; try++ {
		b, err := embedded.New(dir, &o)
		if err == nil || try == 20 {
			return b, err
		}
		select {
		case <-wait.C:
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}
