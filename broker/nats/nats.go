// Package nats connects Waybill to NATS JetStream, from server 2.9 on. Call New with an
// address and give the Broker to relays and inboxes:
//
//	b, err := nats.New("nats://user:password@host1,host2", nil)
//
// A queue is a subject of the same name, a topic is the subject "topic#." and its name.
// Where a stream has the subject already, it is used, whatever its settings; otherwise one
// is made, and for each consumer a pull consumer. Headers travel under their own names, and
// the content type is the header Content-Type. docs/operate/brokers.md says what the streams and
// consumers are like, and how names and headers that NATS would not take are written.
package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/dial"
	"github.com/waybill-go/waybill/broker/internal/option"
)

// Options configure a Broker; nil and the zero value hold the defaults.
type Options struct {
	// User and Password, or Token, are used where the address has none.
	User, Password, Token string
	// Credentials is the path of a .creds file; the address's parameter creds goes before
	// it. Default: none.
	Credentials string

	// TLS is the configuration for tls+nats addresses. What the address says, with
	// ca, cert, key and server_name, goes before it. Default: the system's authorities.
	TLS *tls.Config

	// Name is what the server's monitoring shows. Default: waybill.
	Name string
	// Prefix is put before every subject, with a dot, so that Waybill's subjects are no
	// others' on a shared server. It is a subject itself. Default: none.
	Prefix string
	// Domain is the JetStream domain. Default: the server's own.
	Domain string
	// InboxPrefix begins the subjects of answers, for users who may not subscribe to all
	// of _INBOX. Default: _INBOX.
	InboxPrefix string

	// NoCreate makes no streams: a message to a destination without one is Refused,
	// and a subscription an error.
	NoCreate bool
	// Memory keeps the streams that are made in the server's memory.
	Memory bool
	// Replicas is how many servers of a cluster keep each stream that is made, 1 to 5; the
	// address's parameter replicas goes before it. With 3, one of them may be lost and the
	// others go on. Default: 1.
	Replicas int
	// MaxBytes bounds each stream that is made; what comes beyond it is Refused.
	// Default: no limit.
	MaxBytes int64
	// MaxAge is how long a topic that is made keeps a message for the groups that do not
	// receive it. Below 0 means for ever. Default: 7 days.
	MaxAge time.Duration
	// AckWait is how long after a connection has broken its messages come again, 100 ms or
	// more, for the consumers that are made. It does not bound handlers. Default: 30 s.
	AckWait time.Duration

	// MaxMessage is the server's max_payload in bytes, for Capabilities; it bounds the
	// body and the headers together. Default: 1 MiB, which is the server's default too.
	MaxMessage int
	// Window is how many messages a connection may have under way. Default: 1024.
	Window int
	// ConfirmTimeout is how long to wait for the next confirmation before the rest of a
	// batch is Unknown. Default: 10 s.
	ConfirmTimeout time.Duration
	// PingInterval is how often a connection is probed; it has ended when two pings are
	// not answered. Default: 10 s.
	PingInterval time.Duration
	// Dial opens the network connections. Default: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Broker makes connections to a NATS server or cluster. It is safe for concurrent use.
type Broker struct {
	*address // a pointer, so that printing a Broker does not print the password
	options  Options
	tls      func() (*tls.Config, error) // nil without TLS
}

var _ broker.Broker = (*Broker)(nil)

// New returns a Broker for an address such as
//
//	nats://user:password@host1:4222,host2:4222
//	tls+nats://token@host?ca=/etc/ca.pem&cert=/etc/me.pem&key=/etc/me.key
//
// The port is 4222 by default. The parameters creds and replicas go before the options of
// those names. For TLS, ca, cert and key are names of PEM files that are read for each
// connection, and server_name is the name that the certificate must have. New checks the
// address and the options and does not connect.
func New(address string, o *Options) (*Broker, error) {
	b := &Broker{options: *option.Copy(o)}
	o = &b.options
	option.SetDefault(&o.Name, "waybill")
	option.SetDefault(&o.InboxPrefix, "_INBOX")
	option.SetDefault(&o.Replicas, 1)
	option.SetDefault(&o.MaxAge, 7*24*time.Hour)
	option.SetDefault(&o.AckWait, 30*time.Second)
	option.SetDefault(&o.MaxMessage, 1<<20)
	option.SetDefault(&o.Window, 1024)
	option.SetDefault(&o.ConfirmTimeout, 10*time.Second)
	option.SetDefault(&o.PingInterval, 10*time.Second)
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	var query url.Values
	var err error
	b.address, query, err = parse(address, o)
	if err == nil && b.secure {
		b.tls, err = dial.TLS(query, "", o.TLS)
	}
	if err := errors.Join(err, o.check()); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	return b, nil
}

// check says all that is wrong with the options.
func (o *Options) check() error {
	errs := []error{
		option.Between("Replicas", o.Replicas, 1, 5),
		option.NotNegative("MaxBytes", o.MaxBytes),
		option.NotNegative("MaxMessage", o.MaxMessage),
		option.NotNegative("Window", o.Window),
		option.NotNegative("ConfirmTimeout", o.ConfirmTimeout),
		option.NotNegative("PingInterval", o.PingInterval),
	}
	for name, subject := range map[string]string{"Prefix": o.Prefix, "InboxPrefix": o.InboxPrefix, "Domain": o.Domain} {
		if subject != "" && !literal(subject) {
			errs = append(errs, fmt.Errorf("%s %q is no subject: it may not contain spaces, wildcards or empty parts", name, subject))
		}
	}
	if o.AckWait < 100*time.Millisecond {
		errs = append(errs, fmt.Errorf("AckWait is %v, not 100ms or more", o.AckWait))
	}
	return errors.Join(errs...)
}

// Capabilities declares what JetStream can do. NATS has no place for dead letters: a
// message that is terminated is gone, but for an advisory.
func (b *Broker) Capabilities() broker.Capabilities {
	return broker.Capabilities{
		Name:         "NATS JetStream",
		Persistent:   !b.options.Memory,
		Ordered:      true,
		Topics:       true,
		SharedTopics: true,
		Requeue:      true,
		MaxMessage:   b.options.MaxMessage,
		MustExist:    true,
		Unroutable:   b.options.NoCreate,
		Identity:     true,
		Redelivery:   b.options.AckWait,
	}
}

// streamConfig is the stream that is made for a destination.
func (b *Broker) streamConfig(p *place) jetstream.StreamConfig {
	o := &b.options
	config := jetstream.StreamConfig{
		Name:        streamName(p.name, p.topic, o.Prefix),
		Description: "Waybill's queue " + p.name,
		Subjects:    []string{p.subject},
		Retention:   jetstream.WorkQueuePolicy,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    -1,
		MaxMsgs:     -1,
		Replicas:    o.Replicas,
	}
	if p.topic {
		config.Description = "Waybill's topic " + p.name
		config.Retention = jetstream.InterestPolicy
		config.MaxAge = max(o.MaxAge, 0)
	}
	if o.MaxBytes > 0 {
		config.MaxBytes = o.MaxBytes
	}
	if o.Memory {
		config.Storage = jetstream.MemoryStorage
	}
	return config
}
