package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/waybill-go/waybill/broker/internal/dial"
)

// address is what an address says.
type address struct {
	seeds          []string // host:port of the brokers that are asked first
	user, password string
	hasUser        bool
	query          url.Values
	// tls makes the configuration of a connection to a host; nil where there is no TLS.
	tls func(host string) (*tls.Config, error)
}

// parse reads an address, which may name several hosts.
func parse(text string, config *tls.Config) (*address, error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return nil, errors.New("the address begins with none of kafka://, kafka+tls://")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	user, hosts := "", authority
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, hosts = authority[:at+1], authority[at+1:]
	}
	a := &address{}
	for host := range strings.SplitSeq(hosts, ",") {
		target, err := dial.Parse(scheme+"://"+user+host+tail, map[string]dial.Scheme{
			"kafka": {Port: "9092"}, "kafka+tls": {Port: "9093", TLS: true},
		}, config, "sasl", "partitions", "replication", "create")
		if err != nil {
			return nil, err
		}
		a.seeds = append(a.seeds, target.Address)
		a.user, a.password, a.hasUser, a.query = target.User, target.Password, target.HasUser, target.Query
		if target.TLS != nil {
			a.tls = func(host string) (*tls.Config, error) {
				load, err := dial.TLS(target.Query, host, config)
				if err != nil {
					return nil, err
				}
				return load()
			}
		}
	}
	return a, nil
}

// mechanisms are the SASL mechanisms to log in with, the preferred one first; none without a
// user.
func mechanisms(name string, a *address) ([]sasl.Mechanism, error) {
	all := []struct {
		name      string
		mechanism sasl.Mechanism
	}{
		{"scram-sha-512", scram.Auth{User: a.user, Pass: a.password}.AsSha512Mechanism()},
		{"scram-sha-256", scram.Auth{User: a.user, Pass: a.password}.AsSha256Mechanism()},
		{"plain", plain.Auth{User: a.user, Pass: a.password}.AsMechanism()},
	}
	var chosen []sasl.Mechanism
	for _, m := range all {
		if name == "" || name == m.name {
			chosen = append(chosen, m.mechanism)
		}
	}
	switch {
	case len(chosen) == 0:
		return nil, fmt.Errorf("the SASL mechanism is %.40q, not plain, scram-sha-256 or scram-sha-512", name)
	case !a.hasUser && name != "":
		return nil, errors.New("the address names a SASL mechanism and no user")
	case !a.hasUser:
		return nil, nil
	case a.user == "" || a.password == "":
		return nil, errors.New("the address' user or password is empty")
	}
	return chosen, nil
}

// dial opens a network connection to a broker.
func (b *Broker) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	open := b.options.Dial
	if open == nil {
		open = (&net.Dialer{}).DialContext
	}
	conn, err := open(ctx, network, address)
	if err != nil || b.address.tls == nil {
		return conn, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		conn.Close()
		return nil, err
	}
	config, err := b.address.tls(host)
	if err != nil {
		conn.Close()
		return nil, err
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, dial.Refused(err)
	}
	return secure, nil
}
