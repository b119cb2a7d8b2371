// Package rabbitmq connects Waybill to RabbitMQ, and to other brokers that speak
// AMQP 0-9-1 with publisher confirms.
//
// # What a foreign producer or consumer needs to know
//
// A queue is a durable queue of the same name; send to it through the default
// exchange with the queue's name as routing key. A topic is a durable fanout
// exchange of the same name; each Group has a durable queue named
// "<topic>><group>" bound to it, and subscribers of one Group share it. An exchange
// or queue that exists is used as it is, whatever its kind and arguments: messages
// to a topic have the topic's name as routing key, and so have the bindings.
//
// RabbitMQ takes names of up to 255 bytes, of any characters, but for those that
// begin with "amq.". A name that begins so has a '%' put before it. Of a longer
// one, as many whole characters are kept as leave room for a '%' and 32 hexadecimal
// digits, the first half of its SHA-256. No destination contains a '%' itself.
//
// Headers are the header table of a message, as strings; other types that foreign
// producers use arrive as text. The content type is the property content-type, and
// persistent is what travels Durable.
//
// # Publishing
//
// Every message is confirmed by the broker. One that is Confirmed is in every queue
// that it was for, and on the disk where it is Durable; with a quorum queue, on
// those of a majority. Messages to queues are mandatory, so that one without a
// queue is Refused and not lost: a queue that was deleted is missed that way, and
// made again with the next message to it. A queue that is full and set up to
// reject refuses too. While the broker is short of memory or disk and blocks
// publishers, what was not sent yet is Refused; what was sent is Unknown after a
// second of that, and may arrive when it is over.
//
// A message larger than the broker's max_message_size (128 MiB up to RabbitMQ 3.13,
// 16 MiB from 4.0 on) is Unacceptable. RabbitMQ ends the channel because of it;
// large messages therefore travel alone, and the others of a batch know nothing of
// it.
//
// # Receiving
//
// A Conn is one network connection for publishing and another, from the first
// Subscribe on, for receiving: RabbitMQ stops reading from a connection that
// publishes when it is short of memory, and acknowledgements would wait with the
// rest. A dead letter goes to the exchange that the queue's arguments or a policy
// name, and is dropped where there is none. RabbitMQ cancels a subscription that
// holds a message for longer than consumer_timeout, 30 minutes by default.
package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/dial"
)

// Options configures New. The zero value of each field means its default.
type Options struct {
	// TLS is the configuration for rabbitmqs addresses. What the address says, with
	// ca, cert, key and server_name, goes before it. Default: the system's authorities.
	TLS *tls.Config
	// QueueType of the queues that are made: "classic" or "quorum". The address'
	// parameter queue_type. Default: the broker's, or the virtual host's, own default,
	// which is classic unless somebody has changed it.
	QueueType string
	// Arguments are further arguments of the queues that are made, such as
	// "x-dead-letter-exchange" or "x-max-length". Default: none.
	Arguments map[string]any
	// NoDeclare makes no queues, exchanges and bindings: a message to a queue that
	// does not exist is Refused, and a subscription an error. The address' parameter
	// declare=false.
	NoDeclare bool
	// HeartBeat is how often each side shows that it lives; a connection that is
	// silent for one and a half times as long is broken. Whole seconds from 2 s on.
	// Default: 10 s.
	HeartBeat time.Duration
	// MaxMessage is the greatest body in bytes that is sent at all; a larger one is
	// Unacceptable without asking the broker. Default: no limit but the broker's own.
	MaxMessage int
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
// rabbitmqs://host/vhost?ca=/etc/ca.pem&queue_type=quorum. The port is 5672 by
// default, 5671 with TLS; the virtual host is "/" by default; without a user,
// "guest" logs in. It checks the address and options and does not connect.
func New(address string, options *Options) (*Broker, error) {
	b := &Broker{}
	if options != nil {
		b.options = *options
	}
	o := &b.options
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
	var problems []error
	if kind := b.target.Query.Get("queue_type"); kind != "" {
		o.QueueType = kind
	}
	if o.QueueType != "" && o.QueueType != "classic" && o.QueueType != "quorum" {
		problems = append(problems, fmt.Errorf("the queue type is %.40q, not classic or quorum", o.QueueType))
	}
	switch b.target.Query.Get("declare") {
	case "", "true":
	case "false":
		o.NoDeclare = true
	default:
		problems = append(problems, errors.New("the parameter declare is neither true nor false"))
	}
	if o.HeartBeat == 0 {
		o.HeartBeat = 10 * time.Second
	}
	if o.HeartBeat < 2*time.Second || o.HeartBeat > time.Hour {
		problems = append(problems, fmt.Errorf("HeartBeat is %v, not 2 s to 1 h", o.HeartBeat))
	}
	if o.MaxMessage < 0 {
		problems = append(problems, errors.New("MaxMessage is below 0"))
	}
	if o.Name == "" {
		o.Name = "waybill"
	}
	b.arguments = amqp.Table(maps.Clone(o.Arguments))
	if o.QueueType != "" {
		if b.arguments == nil {
			b.arguments = amqp.Table{}
		}
		b.arguments["x-queue-type"] = o.QueueType
	}
	if err := b.arguments.Validate(); err != nil {
		problems = append(problems, fmt.Errorf("the field Arguments: %w", err))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("rabbitmq: %w", err)
	}
	return b, nil
}

// splitVhost takes the virtual host, which is the address' path, from it.
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
		DeadLetter:   true,
		MaxMessage:   b.options.MaxMessage,
		Unroutable:   true,
	}
}

// Connect opens the connection that publishes. See broker.Broker.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	c := newConn(b)
	l, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	c.publisher = l
	c.watch(l)
	return c, nil
}
