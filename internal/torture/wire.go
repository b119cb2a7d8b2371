package torture

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// wire is a TCP proxy between some of the parts and a server.
type wire struct {
	name  string
	proxy *toxiproxy.Proxy
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
func tap(name, addr string) (w *wire, through, reason string, err error) {
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
	zerolog.SetGlobalLevel(zerolog.Disabled) // its toxics have loggers of their own
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, name, "127.0.0.1:0", net.JoinHostPort(u.Hostname(), port))
	if err := p.Start(); err != nil {
		return nil, addr, "", fmt.Errorf("start a proxy for the %s: %w", name, err)
	}
	u.Host = p.Listen
	return &wire{name: name, proxy: p}, u.String(), "", nil
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
	delayed   = badness{"delay", []string{`{"type":"latency","stream":"%s","attributes":{"latency":120,"jitter":100}}`}, both}
	throttled = badness{"throttle", []string{`{"type":"bandwidth","stream":"%s","attributes":{"rate":40}}`}, both}
	blackHole = badness{"black hole", []string{`{"type":"timeout","stream":"%s","attributes":{"timeout":0}}`}, both}
	halfOpen  = badness{"half open", blackHole.toxics, []string{"downstream"}}
	halfDeaf  = badness{"half deaf", blackHole.toxics, []string{"upstream"}}
	resetting = badness{"reset", []string{`{"type":"reset_peer","stream":"%s","attributes":{"timeout":0}}`}, both}
	badnesses = []badness{delayed, throttled, blackHole, halfOpen, halfDeaf, resetting, cut}
	cut       = badness{name: "cut"} // connections break, and for a while there are none
	both      = []string{"upstream", "downstream"}
)

type badness struct {
	name    string
	toxics  []string // as toxiproxy's API takes them, with a place for the stream
	streams []string
}

// worsen makes the wire bad.
func (w *wire) worsen(b badness) error {
	return w.within(func() error {
		if b.name == cut.name {
			w.proxy.Stop()
			return nil
		}
		for _, toxic := range b.toxics {
			for _, stream := range b.streams {
				if _, err := w.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(toxic, stream))); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// heal makes it good again. What was in a black hole is cut.
func (w *wire) heal(ctx context.Context) error {
	return w.within(func() error {
		w.proxy.Toxics.ResetToxics(ctx)
		w.proxy.Lock()
		enabled := w.proxy.Enabled
		w.proxy.Unlock()
		if enabled {
			return nil
		}
		return w.proxy.Start()
	})
}

// within bounds what the proxy's library does: it waits for its own connections with a
// lock held that they may need.
func (w *wire) within(do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		return fmt.Errorf("the proxy to the %s hangs", w.name)
	}
}

// close ends the proxy.
func (w *wire) close() {
	_ = w.within(func() error {
		w.proxy.Stop()
		return nil
	})
}
