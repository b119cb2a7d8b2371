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

// proxy is a TCP proxy between some of the processes and a server.
type proxy struct {
	name string // of what is behind it, for a person
	*badnet.Proxy
}

// proxied are the schemes of addresses that a proxy can stand in for, with their
// usual ports. With TLS the server's certificate would not fit the proxy, and Kafka's
// clients go where the servers tell them.
var proxied = map[string]string{
	"postgres": "5432", "postgresql": "5432", "mysql": "3306", "mariadb": "3306",
	"amqp1": "5672", "stomp": "61613", "rabbitmq": "5672", "nats": "4222",
}

// newProxy puts a proxy before a server and returns the address through it; where that
// cannot be, no proxy, the server's own address, and the reason.
func newProxy(ctx context.Context, name, addr string) (p *proxy, through, reason string, err error) {
	scheme, _, _ := strings.Cut(addr, ":")
	port, ok := proxied[scheme]
	if !ok {
		return nil, addr, "no proxy for " + scheme, nil
	}
	u, err := url.Parse(addr)
	if err != nil || strings.Contains(u.Host, ",") {
		return nil, addr, "no proxy for several hosts", nil
	}
	if u.Host == "" || bypasses(u.Query()) {
		return nil, addr, "no proxy where the address names a socket or checks a certificate", nil
	}
	if u.Port() != "" {
		port = u.Port()
	}
	listening, err := badnet.Listen(ctx, net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, addr, "", fmt.Errorf("start a proxy for the %s: %w", name, err)
	}
	u.Host = listening.Addr()
	return &proxy{name, listening}, u.String(), "", nil
}

// bypasses says whether an address's parameters lead elsewhere than to its host, or make
// the client check a certificate, which would not fit the proxy.
func bypasses(q url.Values) bool {
	for _, name := range []string{"host", "hostaddr", "port"} {
		if q.Has(name) {
			return true
		}
	}
	tls := strings.ToLower(q.Get("tls"))
	return strings.HasPrefix(q.Get("sslmode"), "verify") || tls != "" && !slices.Contains([]string{"false", "0", "skip-verify", "preferred"}, tls)
}

// networkConditions are what the fault "network" chooses from.
var (
	slow   = badnet.Way{Delay: 120 * time.Millisecond, Jitter: 100 * time.Millisecond}
	narrow = badnet.Way{Rate: 40 << 10}
	dead   = badnet.Way{Lose: true}

	networkConditions = []struct {
		name       string
		conditions badnet.Conditions
	}{
		{"delay", badnet.Conditions{Up: slow, Down: slow}},
		{"throttle", badnet.Conditions{Up: narrow, Down: narrow}},
		{"black hole", badnet.Conditions{Up: dead, Down: dead}},
		{"half open", badnet.Conditions{Down: dead}},
		{"half deaf", badnet.Conditions{Up: dead}},
		{"reset", badnet.Conditions{Reset: true}},
		{"cut", badnet.Conditions{Away: true}},
	}
)

// heal makes the network good again. Connections that have lost something are reset.
func (p *proxy) heal() error { return p.set(badnet.Conditions{}) }

func (p *proxy) set(c badnet.Conditions) error {
	if err := p.Set(c); err != nil {
		return fmt.Errorf("the proxy to the %s: %w", p.name, err)
	}
	return nil
}
