// Package amqp1 connects Waybill to brokers that speak AMQP 1.0: ActiveMQ Classic,
// ActiveMQ Artemis and others. It stands on Azure/go-amqp.
//
// A Conn is one network connection for publishing and one for each subscription.
// A broker that runs short of memory stops reading from a connection that
// publishes; acknowledgements on the same connection would wait behind it, and with
// them the memory that they free. A durable subscription of a topic needs a
// connection of its own anyway, since its container id belongs to the connection.
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
)

// Options configures New. The zero value of each field means its default.
type Options struct {
	// TLS is the configuration for amqp1s addresses. What the address says, with ca,
	// cert, key and server_name, goes before it. Default: the system's authorities.
	TLS *tls.Config
	// IdleTimeout is how long a connection may be silent before it is broken; the
	// broker is asked to show that it lives twice as often. Default: 30 s.
	IdleTimeout time.Duration
	// MaxMessage is the greatest body in bytes that is sent at all; a larger one is
	// Unacceptable without asking the broker. Default: no limit but the broker's own.
	MaxMessage int
	// Kind of the broker, where it is known. It decides what Capabilities declares:
	// without it, what every kind can do. A connection finds its broker's kind by
	// itself. The parameter kind=classic or kind=artemis of an address does the same.
	Kind Kind
}

// Kind is a kind of broker.
type Kind = jmsbroker.Kind

const (
	// AnyKind: not known, or another broker.
	AnyKind = jmsbroker.Any
	// Classic is ActiveMQ Classic, 5.16 and later.
	Classic = jmsbroker.Classic
	// Artemis is ActiveMQ Artemis.
	Artemis = jmsbroker.Artemis
)

// Broker makes connections to one broker. It is safe for concurrent use.
type Broker struct {
	target      *dial.Target
	idleTimeout time.Duration
	maxMessage  int
	kind        Kind
}

var _ broker.Broker = (*Broker)(nil)

// New returns a Broker for an address such as amqp1://user:password@host:5672 or
// amqp1s://host:5671?ca=/etc/ca.pem. The port is 5672 by default, 5671 with TLS. It
// checks the address and options and does not connect.
func New(address string, options *Options) (*Broker, error) {
	var o Options
	if options != nil {
		o = *options
	}
	target, kind, err := jmsbroker.Parse(address, map[string]dial.Scheme{
		"amqp1": {Port: "5672"}, "amqp1s": {Port: "5671", TLS: true},
	}, o.TLS, o.Kind)
	var idleErr, sizeErr error
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 30 * time.Second
	}
	if o.IdleTimeout < time.Second || o.IdleTimeout > time.Hour {
		idleErr = fmt.Errorf("IdleTimeout is %v, not 1 s to 1 h", o.IdleTimeout)
	}
	if o.MaxMessage < 0 {
		sizeErr = errors.New("MaxMessage is below 0")
	}
	if err := errors.Join(err, idleErr, sizeErr); err != nil {
		return nil, fmt.Errorf("amqp1: %w", err)
	}
	return &Broker{target: target, idleTimeout: o.IdleTimeout, maxMessage: o.MaxMessage, kind: kind}, nil
}

// Capabilities declares what the broker can do over AMQP 1.0. Several subscribers
// share a durable subscription with the kind Artemis only.
func (b *Broker) Capabilities() broker.Capabilities {
	return broker.Capabilities{
		Name:         "AMQP 1.0 (ActiveMQ)",
		Persistent:   true,
		Ordered:      true,
		Topics:       true,
		SharedTopics: b.kind == Artemis,
		Requeue:      true,
		DeadLetter:   true,
		MaxMessage:   b.maxMessage,
	}
}

// Connect opens the connection that publishes. See broker.Broker.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	c := &Conn{broker: b, wires: bundle.New[*wire]()}
	w, err := c.open(ctx, "")
	if err != nil {
		return nil, err
	}
	c.publisher = w
	c.links.session, c.links.most = w.session, maxLinks
	return c, nil
}
