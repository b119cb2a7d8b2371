// Package amqp1 connects Waybill to brokers that speak AMQP 1.0: ActiveMQ Classic,
// ActiveMQ Artemis and others. Call New with an address and give the Broker to relays and
// inboxes:
//
//	b, err := amqp1.New("amqp1://user:password@host", nil)
//
// Each subscription has a network connection of its own, since a broker that runs out of
// memory stops reading from those that publish. docs/operate/brokers.md has what the brokers can
// do and how destinations and headers travel.
package amqp1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/bundle"
	"github.com/waybill-go/waybill/broker/internal/dial"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
	"github.com/waybill-go/waybill/broker/internal/option"
)

// Options configure a Broker; nil and the zero value hold the defaults.
type Options struct {
	// TLS is the configuration for amqp1s addresses. What the address says, with ca,
	// cert, key and server_name, goes before it. Default: the system's authorities.
	TLS *tls.Config
	// IdleTimeout is how long a connection may be silent before it counts as broken, 1 s
	// to 1 h. The broker is asked to show twice as often that it is there. Default: 30 s.
	IdleTimeout time.Duration
	// MaxMessage is the greatest body in bytes that is sent at all; a larger one is
	// Unacceptable without asking the broker. Default: no limit but the broker's own.
	MaxMessage int
	// Name begins the container ids of the connections, by which the broker's management
	// shows them; a random part makes each the only one. A durable subscription of a topic has
	// the id that belongs to it. Default: random ids.
	Name string
}

// Broker makes connections to one broker. It is safe for concurrent use.
type Broker struct {
	target      *dial.Target
	idleTimeout time.Duration
	maxMessage  int
	kind        jmsbroker.Kind // Any where the address does not say
	name        string         // begins the container ids
	answerTime  time.Duration  // after what time a broker that says nothing is none
}

var _ broker.Broker = (*Broker)(nil)

// New returns a Broker for an address such as amqp1://user:password@host:5672 or
// amqp1s://host:5671?ca=/etc/ca.pem. The port is 5672 by default, 5671 with TLS. The
// parameter kind, classic or artemis, lets Capabilities declare all that this broker can
// do; without it, it declares what every broker can. New checks the address and the
// options and does not connect.
func New(address string, o *Options) (*Broker, error) {
	o = option.Copy(o)
	option.SetDefault(&o.IdleTimeout, 30*time.Second)
	target, kind, err := jmsbroker.Parse(address, map[string]dial.Scheme{
		"amqp1": {Port: "5672"}, "amqp1s": {Port: "5671", TLS: true},
	}, o.TLS)
	err = errors.Join(err,
		option.Between("IdleTimeout", o.IdleTimeout, time.Second, time.Hour),
		option.NotNegative("MaxMessage", o.MaxMessage))
	if err != nil {
		return nil, fmt.Errorf("amqp1: %w", err)
	}
	return &Broker{target: target, idleTimeout: o.IdleTimeout, maxMessage: o.MaxMessage, kind: kind, name: o.Name, answerTime: dial.AnswerTime}, nil
}

// Capabilities declares what the broker can do over AMQP 1.0. Several subscribers can
// share a durable subscription on Artemis only, and so with kind=artemis only.
func (b *Broker) Capabilities() broker.Capabilities {
	return broker.Capabilities{
		Name:         "AMQP 1.0 (ActiveMQ)",
		Persistent:   true,
		Ordered:      true,
		Topics:       true,
		SharedTopics: b.kind == jmsbroker.Artemis,
		Requeue:      true,
		DeadLetter:   true,
		MaxMessage:   b.maxMessage,
	}
}

// Connect opens the connection that publishes. See broker.Broker.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	c := &conn{broker: b, sockets: bundle.New[*socket]()}
	w, err := c.open(ctx, "")
	if err != nil {
		return nil, err
	}
	c.publisher = w
	c.links.session, c.links.most = w.session, maxLinks
	return c, nil
}
