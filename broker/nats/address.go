package nats

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/waybill-go/waybill/broker/internal/dial"
)

// address is where the servers are and how to log in.
type address struct {
	urls                  []string // nats://host:port, without a user
	secure                bool
	user, password, token string
}

// errForm is the error of an address that cannot be read. It repeats nothing of the
// address, since a password that is not encoded may be in any part of it.
var errForm = errors.New("the address is not of the form nats://[user:password@]host[:port][,host...][?parameters]; " +
	"in a user or password the characters / : @ , ? # % have to be percent-encoded")

// parse reads an address, sets the options that it has parameters for, and returns all
// parameters. The credentials of the options move to the address.
func parse(text string, o *Options) (*address, url.Values, error) {
	a := &address{}
	scheme, rest, ok := strings.Cut(text, "://")
	switch {
	case !ok:
		return nil, nil, errForm
	case scheme == "nats":
	case scheme == "tls+nats":
		a.secure = true
	default:
		return nil, nil, fmt.Errorf("the address begins with %.20q, want nats:// or tls+nats://", scheme)
	}
	rest, query, _ := strings.Cut(rest, "?")
	parameters, err := url.ParseQuery(query)
	if err != nil || strings.Contains(query, "@") {
		return nil, nil, errForm // with an '@' the parameters may be a part of a password
	}
	for name := range parameters {
		switch {
		case name == "creds":
			o.Credentials = parameters.Get(name)
		case name == "replicas":
			if o.Replicas, err = strconv.Atoi(parameters.Get(name)); err != nil {
				return nil, nil, errors.New("the parameter replicas is no number")
			}
		case name != "ca" && name != "cert" && name != "key" && name != "server_name" && parameters.Get(name) == "":
			return nil, nil, dial.ErrNoValue
		case name != "ca" && name != "cert" && name != "key" && name != "server_name":
			return nil, nil, fmt.Errorf("the address has the unknown parameter %.40q", name)
		case !a.secure:
			return nil, nil, fmt.Errorf("the parameter %q needs tls+nats://", name)
		}
	}
	login := ""
	for host := range strings.SplitSeq(strings.TrimSuffix(rest, "/"), ",") {
		// As NATS' own tools take it, each host of a list may have the user.
		if at := strings.LastIndexByte(host, '@'); at >= 0 {
			if login != "" && login != host[:at] {
				return nil, nil, errors.New("the address has hosts with different users; all hosts are of one cluster and take the same one")
			}
			login, host = host[:at], host[at+1:]
		}
		u, err := url.Parse("nats://" + host)
		if err != nil || u.Hostname() == "" || u.Path != "" || u.Fragment != "" {
			return nil, nil, errForm
		}
		port := u.Port()
		if port == "" {
			port = "4222"
		}
		a.urls = append(a.urls, "nats://"+net.JoinHostPort(u.Hostname(), port))
	}
	return a, parameters, a.login(login, o)
}

// login sets the credentials, from the address or else the options.
func (a *address) login(text string, o *Options) error {
	if text == "" {
		a.user, a.password, a.token = o.User, o.Password, o.Token
	}
	o.User, o.Password, o.Token = "", "", "" // they are in one place only
	if text == "" {
		return nil
	}
	user, password, both := strings.Cut(text, ":")
	user, err := url.PathUnescape(user)
	if err != nil {
		return errForm
	}
	if password, err = url.PathUnescape(password); err != nil {
		return errForm
	}
	if both {
		a.user, a.password = user, password
	} else {
		a.token = user
	}
	return nil
}

// hosts is what errors call the servers.
func (a *address) hosts() string {
	return strings.ReplaceAll(strings.Join(a.urls, ","), "nats://", "")
}
