// Package stomp connects Waybill to ActiveMQ Classic and ActiveMQ Artemis over STOMP 1.2.
// Call New with an address and give the Broker to relays and inboxes:
//
//	b, err := stomp.New("stomp://user:password@host", nil)
//
// Each subscription has a network connection of its own, since a broker that runs out of
// memory stops reading from those that publish. docs/operate/brokers.md has what the brokers can
// do and how destinations and headers travel.
package stomp

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
	// TLS is the configuration for stomp+tls addresses. What the address says, with
	// ca, cert, key and server_name, goes before it. Default: the system's authorities.
	TLS *tls.Config
	// HeartBeat is how often each side of a connection shows that it is there, 100 ms to
	// 1 h; a connection that is silent for two and a half times as long counts as broken.
	// Brokers take no less than a second or so. Default: 10 s.
	HeartBeat time.Duration
	// MaxMessage is the greatest body in bytes that is sent at all; a larger one is
	// Unacceptable without asking the broker. ActiveMQ Classic, by default, takes 100 MiB
	// and breaks the connection over more. Default: no limit but the broker's own.
	MaxMessage int
	// Name begins the client ids of the connections, by which the broker's management
	// shows them; a random part makes each the only one. A durable subscription of a topic has
	// the id that belongs to it. Default: the broker's own ids.
	Name string
}

// Broker makes connections to one broker. It is safe for concurrent use.
type Broker struct {
	target     *dial.Target
	heartBeat  time.Duration
	maxMessage int
	kind       jmsbroker.Kind // Any where the address does not say
	name       string         // begins the client ids
	answerTime time.Duration  // after what time a broker that says nothing is none
}

var _ broker.Broker = (*Broker)(nil)

// New returns a Broker for an address such as stomp://user:password@host:61613 or
// stomp+tls://host:61614?ca=/etc/ca.pem. The port is 61613 by default, 61614 with TLS. The
// parameter kind, classic or artemis, lets Capabilities declare all that this broker can
// do; without it, it declares what both can. New checks the address and the options and
// does not connect.
func New(address string, o *Options) (*Broker, error) {
	o = option.Copy(o)
	option.SetDefault(&o.HeartBeat, 10*time.Second)
	target, kind, err := jmsbroker.Parse(address, map[string]dial.Scheme{
		"stomp": {Port: "61613"}, "stomp+tls": {Port: "61614", TLS: true},
	}, o.TLS)
	err = errors.Join(err,
		option.Between("HeartBeat", o.HeartBeat, 100*time.Millisecond, time.Hour),
		option.NotNegative("MaxMessage", o.MaxMessage))
	if err != nil {
		return nil, fmt.Errorf("stomp: %w", err)
	}
	return &Broker{target: target, heartBeat: o.HeartBeat, maxMessage: o.MaxMessage, kind: kind, name: o.Name, answerTime: dial.AnswerTime}, nil
}

// Capabilities declares what ActiveMQ can do over STOMP. A NACK makes a dead letter on
// Classic, while Artemis takes it for an ACK and drops the message: so DeadLetter is
// declared with kind=classic only. Neither can be told to deliver a message again.
func (b *Broker) Capabilities() broker.Capabilities {
	return broker.Capabilities{
		Name:       "STOMP 1.2 (ActiveMQ)",
		Persistent: true,
		Ordered:    true,
		Topics:     true,
		DeadLetter: b.kind == jmsbroker.Classic,
		Identity:   true,
		MaxMessage: b.maxMessage,
	}
}

// Connect opens the connection that publishes. See broker.Broker.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	c := &conn{broker: b, sockets: bundle.New[*socket]()}
	s, err := c.open(ctx, "", nil)
	if err != nil {
		return nil, err
	}
	c.publisher = s
	return c, nil
}
