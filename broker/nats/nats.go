// Package nats is the adapter for NATS JetStream, from server 2.9 on.
//
// # What a foreign producer or consumer needs to know
//
// A queue is a subject of the same name: to send to "orders.eu", publish to the
// subject orders.eu with the headers of Waybill's protocol as NATS headers. The
// names that are no subjects, or belong to the server, are escaped with %XX, the
// hexadecimal value of a byte, which no destination contains by itself: a dot at
// the beginning, at the end or after another dot is %2E, a leading '$' is %24 and
// a leading '_' is %5F. A topic is the subject "topic#." and its name. A
// connection with a Prefix puts the prefix and a dot before either.
//
// A header travels under its name and with its value. Where NATS would change it,
// as it trims spaces at the ends of a value, or would take it for its own, as it
// does with Nats-Msg-Id, the name has a '*' appended and the value is
// percent-encoded (the way of RFC 8187). The content type is the header
// Content-Type.
//
// No Nats-Msg-Id is set: JetStream would swallow the second copy of a message
// within its window of two minutes, and a copy is sent again exactly because the
// first one or its receipt may be lost. It has to reach the consumer.
//
// # Streams and consumers
//
// Where a stream has the subject already, it is used, whatever its name and
// settings; make the streams beforehand to have them your way. Otherwise one is
// made on demand. A queue's is named "waybill-queue-" and the name, with
// work-queue retention and without limits, since the relay bounds what is under
// way; its consumer is "waybill" and shared by all subscribers. A topic's is named
// "waybill-topic-" and the name, with interest retention and an age limit of
// MaxAge; its consumers are named after their groups and begin with what is
// published after they were made. A consumer that exists is used as it is. In the
// names of streams and consumers, what is no lower-case letter, digit, '-' or '_'
// is =XX, and some names end in a hash (name.go has the rules).
//
// Messages that are received and not settled are kept from coming again with a
// heartbeat for each, every third of AckWait, so handlers may take any time; when
// a connection breaks they come again after AckWait.
//
// A stream has one kind of storage, so Transient messages go to the same file.
// They are cheaper all the same: only the last of a few hundred is confirmed.
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
)

// Options are the settings of a Broker. The zero value has every default.
type Options struct {
	// User and Password, or Token, are used where the address has none.
	User, Password, Token string
	// Credentials is the path of a .creds file.
	Credentials string

	// TLS is the configuration for tls+nats addresses. What the address says, with
	// ca, cert, key and server_name, goes before it. Default: the system's authorities.
	TLS *tls.Config

	// Name is what the server's monitoring shows. Default "waybill".
	Name string
	// Prefix goes before every subject, with a dot, so that Waybill's do not meet
	// others on a shared server. It is a subject itself. Default none.
	Prefix string
	// Domain is the JetStream domain. Default the server's own.
	Domain string
	// InboxPrefix is what the subjects of answers begin with, for users who may not
	// subscribe to all of _INBOX. Default "_INBOX".
	InboxPrefix string

	// NoCreate makes no streams: a message to a destination without one is Refused,
	// and a subscription an error.
	NoCreate bool
	// Memory keeps the streams that are made in the server's memory.
	Memory bool
	// Replicas of the streams that are made, 1 to 5: the servers of a cluster that each
	// keep them. With 3, one of them may be lost and the others go on. Default 1.
	Replicas int
	// MaxBytes bounds each stream that is made; what comes beyond it is Refused.
	// Default no limit.
	MaxBytes int64
	// MaxAge is how long a topic that is made keeps messages for groups that do not
	// come to take them. Default 7 days; below 0 for ever.
	MaxAge time.Duration
	// AckWait is how long after the connection broke messages come again, for the
	// consumers that are made. Default 30 s.
	AckWait time.Duration

	// MaxMessage is the server's max_payload in bytes, for Capabilities; it bounds
	// body and headers together. Default 1 MiB, which is the server's too.
	MaxMessage int
	// Window is the number of messages that a connection has under way at a time.
	// Default 1024.
	Window int
	// ConfirmTimeout is how long to wait for the next confirmation before the rest
	// of a batch is Unknown. Default 10 s.
	ConfirmTimeout time.Duration
	// PingInterval is how often an idle connection is tried; it has ended when two
	// pings are not answered. Default 10 s.
	PingInterval time.Duration
	// Dial opens the connections. Default a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Broker makes connections to a NATS server or cluster. It is safe for concurrent use.
type Broker struct {
	*address // a pointer, so that printing a Broker does not print the password
	options  Options
	tls      func() (*tls.Config, error) // nil without TLS
}

var _ broker.Broker = (*Broker)(nil)

// New makes a Broker for an address such as
//
//	nats://user:password@host1:4222,host2:4222
//	tls+nats://token@host?ca=/etc/ca.pem&cert=/etc/me.pem&key=/etc/me.key
//
// The port is 4222 by default. The parameters are creds and replicas, as the
// Options have them, and for TLS ca, cert and key, names of PEM files that are read
// for each connection, and server_name; they go before the options. Nil options mean
// the defaults. New opens no connection.
func New(address string, options *Options) (*Broker, error) {
	b := &Broker{}
	if options != nil {
		b.options = *options
	}
	o := &b.options
	setDefault(&o.Name, "waybill")
	setDefault(&o.InboxPrefix, "_INBOX")
	setDefault(&o.Replicas, 1)
	setDefault(&o.MaxAge, 7*24*time.Hour)
	setDefault(&o.AckWait, 30*time.Second)
	setDefault(&o.MaxMessage, 1<<20)
	setDefault(&o.Window, 1024)
	setDefault(&o.ConfirmTimeout, 10*time.Second)
	setDefault(&o.PingInterval, 10*time.Second)
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

// check says what is wrong with the options, all of it.
func (o *Options) check() error {
	var errs []error
	for name, subject := range map[string]string{"Prefix": o.Prefix, "InboxPrefix": o.InboxPrefix, "Domain": o.Domain} {
		if subject != "" && !literal(subject) {
			errs = append(errs, fmt.Errorf("%s %q is no subject: it may not contain spaces, wildcards or empty parts", name, subject))
		}
	}
	if o.Replicas < 1 || o.Replicas > 5 {
		errs = append(errs, fmt.Errorf("Replicas is %d, not 1 to 5", o.Replicas))
	}
	if o.AckWait < 100*time.Millisecond {
		errs = append(errs, fmt.Errorf("AckWait is %v, not 100 ms or more", o.AckWait))
	}
	for name, value := range map[string]int64{
		"MaxBytes": o.MaxBytes, "MaxMessage": int64(o.MaxMessage), "Window": int64(o.Window),
		"ConfirmTimeout": int64(o.ConfirmTimeout), "PingInterval": int64(o.PingInterval),
	} {
		if value < 0 {
			errs = append(errs, fmt.Errorf("%s is below 0", name))
		}
	}
	return errors.Join(errs...)
}

// setDefault sets a field that has its zero value.
func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Capabilities says what JetStream can do. NATS has no dead letter queue: a
// message settled as DeadLetter is terminated, and the server publishes an
// advisory ($JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED) that names it.
func (b *Broker) Capabilities() broker.Capabilities {
	return broker.Capabilities{
		Name:         "NATS JetStream",
		Persistent:   !b.options.Memory,
		Ordered:      true,
		Topics:       true,
		SharedTopics: true,
		Requeue:      true,
		DeadLetter:   true,
		MaxMessage:   b.options.MaxMessage,
		Unroutable:   b.options.NoCreate,
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
