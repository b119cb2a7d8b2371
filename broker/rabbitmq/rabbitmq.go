// Package rabbitmq connects Waybill to RabbitMQ, and to other brokers that speak AMQP 0-9-1
// with publisher confirms. Call New with an address and give the Broker to relays and
// inboxes:
//
//	b, err := rabbitmq.New("rabbitmq://user:password@host", nil)
//
// A queue is a durable queue of the same name, reached through the default exchange. A
// topic is a durable fanout exchange of the same name, and each Group has a durable queue
// "<topic>><group>" that is bound to it. What exists already is used as it is. Headers are
// the header table of a message, the content type is its property content-type, and what
// travels Durable is persistent. docs/operate/brokers.md says how the names are mapped, and how
// RabbitMQ behaves when it blocks publishers, lacks a queue or finds a message too large.
package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/dial"
	"github.com/waybill-go/waybill/broker/internal/option"
)

// Options configure a Broker; nil and the zero value hold the defaults.
type Options struct {
	// TLS is the configuration for rabbitmqs addresses. What the address says, with
	// ca, cert, key and server_name, goes before it. Default: the system's authorities.
	TLS *tls.Config
	// QueueType of the queues that are made: "classic" or "quorum"; the address's
	// parameter queue_type goes before it. Default: the broker's, or the virtual host's,
	// own default, which is classic unless somebody has changed it.
	QueueType string
	// Arguments are further arguments of the queues that are made, such as
	// "x-dead-letter-exchange" or "x-max-length". Default: none.
	Arguments map[string]any
	// NoDeclare makes no queues, exchanges and bindings: a message to a queue that does
	// not exist is Refused, and a subscription an error. The address's parameter
	// declare=false sets it.
	NoDeclare bool
	// HeartBeat is how often each side of a connection shows that it is there, 2 s to 1 h
	// in whole seconds; a connection that is silent for one and a half times as long
	// counts as broken. Default: 10 s.
	HeartBeat time.Duration
	// MaxMessage is the greatest body in bytes that is sent at all; a larger one is
	// Unacceptable without asking the broker. Default: no limit but the broker's own.
	MaxMessage int
	// ChannelMax bounds the channels of one network connection, of which each subscription
	// has one: 3 to 65,535. The broker's own channel_max counts where it is lower. Where a
	// Conn needs more it opens further network connections. Default: the broker's, which is
	// 2,047 unless somebody has changed it.
	ChannelMax int
	// Name is what the broker's management shows for the connections. Default: waybill.
	Name string
}

// Broker makes connections to one broker. It is safe for concurrent use.
type Broker struct {
	target    *dial.Target
	vhost     string
	options   Options
	arguments amqp.Table // of the queues that are made
}

var _ broker.Broker = (*Broker)(nil)

// New returns a Broker for an address such as rabbitmq://user:password@host:5672 or
// rabbitmqs://host/vhost?ca=/etc/ca.pem&queue_type=quorum. The port is 5672 by default, 5671
// with TLS; the virtual host is "/" by default; without a user, "guest" logs in. New checks
// the address and the options and does not connect.
func New(address string, o *Options) (*Broker, error) {
	b := &Broker{options: *option.Copy(o)}
	o = &b.options
	address, vhost, err := splitVhost(address)
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: %w", err)
	}
	b.vhost = vhost
	b.target, err = dial.Parse(address, map[string]dial.Scheme{
		"rabbitmq": {Port: "5672"}, "rabbitmqs": {Port: "5671", TLS: true},
	}, o.TLS, "queue_type", "declare")
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: %w", err)
	}
	if kind := b.target.Query.Get("queue_type"); kind != "" {
		o.QueueType = kind
	}
	option.SetDefault(&o.HeartBeat, 10*time.Second)
	option.SetDefault(&o.Name, "waybill")
	b.arguments = amqp.Table(maps.Clone(o.Arguments))
	if o.QueueType != "" {
		if b.arguments == nil {
			b.arguments = amqp.Table{}
		}
		b.arguments["x-queue-type"] = o.QueueType
	}
	err = errors.Join(
		o.checkQueues(b.arguments),
		option.Negated(b.target.Query, "declare", &o.NoDeclare),
		option.Between("HeartBeat", o.HeartBeat, 2*time.Second, time.Hour),
		option.NotNegative("MaxMessage", o.MaxMessage),
		o.checkChannels())
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: %w", err)
	}
	return b, nil
}

// checkQueues says all that is wrong with the options for queues.
func (o *Options) checkQueues(arguments amqp.Table) error {
	var typeErr, argumentsErr error
	if o.QueueType != "" && o.QueueType != "classic" && o.QueueType != "quorum" {
		typeErr = fmt.Errorf("the queue type is %.40q, not classic or quorum", o.QueueType)
	}
	if err := arguments.Validate(); err != nil {
		argumentsErr = fmt.Errorf("the field Arguments: %w", err)
	}
	return errors.Join(typeErr, argumentsErr)
}

// leastChannels is how many channels a network connection needs: one that publishes, one for
// declarations, and one to remove something.
const leastChannels = 3

func (o *Options) checkChannels() error {
	if o.ChannelMax == 0 {
		return nil
	}
	return option.Between("ChannelMax", o.ChannelMax, leastChannels, math.MaxUint16)
}

// splitVhost takes the virtual host, which is its path, out of an address.
func splitVhost(address string) (rest, vhost string, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Path == "" || u.Path == "/" {
		return address, "/", nil // dial.Parse says what is wrong, without the password
	}
	if strings.Contains(u.EscapedPath(), "@") || strings.Contains(u.EscapedPath()[1:], "/") {
		return "", "", errors.New("the address has a '/' or '@' that does not belong there: percent-encode special characters of the user, password and virtual host")
	}
	vhost = u.Path[1:]
	u.Path, u.RawPath = "", ""
	return u.String(), vhost, nil
}

// Capabilities declares what RabbitMQ can do.
func (b *Broker) Capabilities() broker.Capabilities {
	return broker.Capabilities{
		Name:         "AMQP 0-9-1 (RabbitMQ)",
		Persistent:   true,
		Ordered:      true,
		Topics:       true,
		SharedTopics: true,
		Requeue:      true,
		DeadLetter:   b.hasDeadLetters(),
		MaxMessage:   b.options.MaxMessage,
		MustExist:    true,
		Unroutable:   true,
	}
}

// hasDeadLetters says whether the queues that are made have a place for dead letters: of what
// a policy says the protocol tells nothing.
func (b *Broker) hasDeadLetters() bool {
	_, named := b.options.Arguments["x-dead-letter-exchange"]
	return named && !b.options.NoDeclare
}

// Connect opens the connection that publishes. See broker.Broker.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	c := newConn(b)
	s, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	c.publisher = s
	for range min(maxPublisherChannels, int(s.amqp.Config.ChannelMax)-leastChannels+1) {
		c.fresh <- struct{}{}
	}
	c.watch(s)
	return c, nil
}
