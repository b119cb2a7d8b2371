// Package dial is how adapters read an address and open a network connection: Parse takes
// the address apart, Target.Dial connects, with TLS where the address says so, and Refused
// marks errors that another try cannot help. No error shows the address's user or password.
package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// Scheme is a scheme that an adapter's addresses may have.
type Scheme struct {
	Port string // the default
	TLS  bool
}

// Target is what an address says.
type Target struct {
	Host     string // name or IP address, without the port
	Address  string // host:port
	User     string
	Password string
	HasUser  bool // the address has a user, which may be empty
	Query    url.Values
	// TLS makes the configuration of a new connection; nil where there is no TLS.
	TLS func() (*tls.Config, error)
}

// Parse takes an address apart. A parameter other than those of TLS (ca, cert, key,
// server_name) and those in known is an error. config is the caller's own TLS
// configuration, or nil; it is not changed.
func Parse(address string, schemes map[string]Scheme, config *tls.Config, known ...string) (*Target, error) {
	u, err := url.Parse(address)
	if err != nil {
		// The parser's own error quotes the address or a part of it, which may be the
		// password.
		return nil, errors.New("the address is not a valid URL: write it as scheme://user:password@host:port, with special characters of the user and password percent-encoded")
	}
	scheme, ok := schemes[u.Scheme]
	if !ok {
		var known []string
		for name := range schemes {
			known = append(known, name+"://")
		}
		slices.Sort(known)
		return nil, fmt.Errorf("the address begins with none of %s", strings.Join(known, ", "))
	}
	if u.Hostname() == "" || u.Opaque != "" {
		return nil, errors.New("the address names no host")
	}
	if u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return nil, errors.New("the address has a path or a fragment after its host: percent-encode special characters of the user and password")
	}
	if strings.Contains(u.RawQuery, "@") {
		// The parameters may be a part of a password with a '?' in it.
		return nil, errors.New("the address has an '@' after its '?': percent-encode special characters of the user and password, and of parameters")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the address's parameters are not percent-encoded as a URL's have to be")
	}
	t := &Target{Host: u.Hostname(), Query: query}
	port := u.Port()
	if port == "" {
		port = scheme.Port
	}
	t.Address = net.JoinHostPort(t.Host, port)
	if u.User != nil {
		t.HasUser = true
		t.User = u.User.Username()
		t.Password, _ = u.User.Password()
	}
	for name := range t.Query {
		if !tlsParameters[name] && !slices.Contains(known, name) {
			if t.Query.Get(name) == "" {
				return nil, ErrNoValue
			}
			return nil, fmt.Errorf("the address has the unknown parameter %.40q", name)
		}
	}
	if !scheme.TLS {
		for name := range t.Query {
			if tlsParameters[name] {
				return nil, fmt.Errorf("the parameter %q needs a scheme with TLS", name)
			}
		}
		return t, nil
	}
	t.TLS, err = TLS(t.Query, t.Host, config)
	return t, err
}

// ErrNoValue says that an address has an unknown parameter without a value, whose name it
// does not show: that may be a part of a password with a '?' in it.
var ErrNoValue = errors.New("the address has an unknown parameter without a value: percent-encode special characters of the user and password")

// Dial opens a network connection, with its TLS handshake where there is TLS. An error that
// another try cannot help matches broker.ErrRefused.
func (t *Target) Dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	if t.TLS == nil {
		return dialer.DialContext(ctx, "tcp", t.Address)
	}
	config, err := t.TLS()
	if err != nil {
		return nil, err
	}
	conn, err := (&tls.Dialer{NetDialer: &dialer, Config: config}).DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return nil, Refused(err)
	}
	return conn, nil
}

// Redact returns text that a broker has sent without the password.
func (t *Target) Redact(text string) string {
	if len(t.Password) < 4 {
		return text // so short a password may be a part of other words
	}
	return strings.ReplaceAll(text, t.Password, "***")
}
