package torture

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/waybill-go/waybill/internal/fault/badnet"
)

// wire is a TCP proxy between some of the parts and a server.
type wire struct {
	name string
	*badnet.Proxy
}

// tappable are the schemes of addresses that a proxy can stand in for, with their
// usual ports. With TLS the server's certificate would not fit the proxy, and Kafka's
// clients go where the servers tell them.
var tappable = map[string]string{
	"postgres": "5432", "postgresql": "5432", "mysql": "3306", "mariadb": "3306",
	"amqp1": "5672", "stomp": "61613", "rabbitmq": "5672", "nats": "4222",
}

// tap puts a proxy before a server and returns the address through it; a nil wire
// and the reason where that cannot be.
func tap(ctx context.Context, name, addr string) (w *wire, through, reason string, err error) {
	scheme, _, _ := strings.Cut(addr, ":")
	port, ok := tappable[scheme]
	if !ok {
		return nil, addr, "no proxy for " + scheme, nil
	}
	u, err := url.Parse(addr)
	if err != nil || strings.Contains(u.Host, ",") {
		return nil, addr, "no proxy for several hosts", nil
	}
	if u.Host == "" || checksName(u.Query()) {
		return nil, addr, "no proxy where the address names a socket or checks a certificate", nil
	}
	if u.Port() != "" {
		port = u.Port()
	}
	p, err := badnet.Listen(ctx, net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, addr, "", fmt.Errorf("start a proxy for the %s: %w", name, err)
	}
	u.Host = p.Addr()
	return &wire{name, p}, u.String(), "", nil
}

// checksName says whether a database's parameters lead elsewhere than its host, or to a
// certificate that has to fit it.
func checksName(q url.Values) bool {
	for _, name := range []string{"host", "hostaddr", "port"} {
		if q.Has(name) {
			return true
		}
	}
	tls := strings.ToLower(q.Get("tls"))
	return strings.HasPrefix(q.Get("sslmode"), "verify") || tls != "" && !slices.Contains([]string{"false", "0", "skip-verify", "preferred"}, tls)
}

// The ways in which a wire goes bad.
var (
	slow      = badnet.Way{Delay: 120 * time.Millisecond, Jitter: 100 * time.Millisecond}
	narrow    = badnet.Way{Rate: 40 << 10}
	dead      = badnet.Way{Lose: true}
	badnesses = []badness{
		{"delay", badnet.Conditions{Up: slow, Down: slow}},
		{"throttle", badnet.Conditions{Up: narrow, Down: narrow}},
		{"black hole", badnet.Conditions{Up: dead, Down: dead}},
		{"half open", badnet.Conditions{Down: dead}},
		{"half deaf", badnet.Conditions{Up: dead}},
		{"reset", badnet.Conditions{Reset: true}},
		{"cut", badnet.Conditions{Away: true}},
	}
)

type badness struct {
	name       string
	conditions badnet.Conditions
}

// heal makes the wire good again. What has lost something is reset.
func (w *wire) heal() error {
	if err := w.Set(badnet.Conditions{}); err != nil {
		return fmt.Errorf("the proxy to the %s: %w", w.name, err)
	}
	return nil
}
