// Package activemq connects Waybill to ActiveMQ, Classic or Artemis, by the best of
// the connectors that the broker offers.
//
// That is AMQP 1.0 for Artemis and STOMP for Classic: measured with bodies of 256
// bytes, Classic stores five times as many messages in STOMP's transactions as it
// does over AMQP, where it syncs its journal for each. Where the better connector
// does not answer the other one serves.
package activemq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"sync/atomic"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/amqp1"
	"github.com/waybill-go/waybill/broker/internal/dial"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
	"github.com/waybill-go/waybill/broker/stomp"
)

// Options configures New. The zero value of each field means its default.
type Options struct {
	// TLS is the configuration for activemq+tls addresses. What the address says,
	// with ca, cert, key and server_name, goes before it. Default: the system's
	// authorities.
	TLS *tls.Config
	// MaxMessage is the greatest body in bytes that is sent at all; a larger one is
	// Unacceptable without asking the broker. Default: no limit but the broker's own.
	MaxMessage int
	// Kind of the broker, where it is known. Connecting is quicker with it, since
	// there is nothing to find out. The parameter kind=classic or kind=artemis of an
	// address does the same.
	Kind Kind
}

// Kind is a kind of broker.
type Kind = jmsbroker.Kind

const (
	// AnyKind: not known.
	AnyKind = jmsbroker.Any
	// Classic is ActiveMQ Classic, 5.16 and later.
	Classic = jmsbroker.Classic
	// Artemis is ActiveMQ Artemis.
	Artemis = jmsbroker.Artemis
)

// Broker makes connections to one broker. It is safe for concurrent use.
type Broker struct {
	amqp  *amqp1.Broker
	stomp *stomp.Broker
	kind  atomic.Int32 // what it was found to be, or said to be
}

var _ broker.Broker = (*Broker)(nil)

// New returns a Broker for an address such as activemq://user:password@host or
// activemq+tls://host?ca=/etc/ca.pem. The ports are 5672 for AMQP and 61613 for
// STOMP, with TLS 5671 and 61614; the parameters amqp_port and stomp_port change
// them, and a port in the address itself is an error. It checks the address and
// options and does not connect.
func New(address string, options *Options) (*Broker, error) {
	var o Options
	if options != nil {
		o = *options
	}
	target, kind, err := jmsbroker.Parse(address, map[string]dial.Scheme{
		"activemq": {}, "activemq+tls": {TLS: true},
	}, o.TLS, o.Kind, "amqp_port", "stomp_port")
	if err != nil {
		return nil, fmt.Errorf("activemq: %w", err)
	}
	if target.Address != net.JoinHostPort(target.Host, "") {
		return nil, errors.New("activemq: the address has a port: say whose with ?amqp_port= or ?stomp_port=, or use an amqp1 or stomp address")
	}
	amqpAddress, amqpErr := rewrite(target, "amqp_port", "amqp1", "amqp1s")
	stompAddress, stompErr := rewrite(target, "stomp_port", "stomp", "stomp+tls")
	if err := errors.Join(amqpErr, stompErr); err != nil {
		return nil, fmt.Errorf("activemq: %w", err)
	}
	b := &Broker{}
	b.amqp, amqpErr = amqp1.New(amqpAddress, &amqp1.Options{TLS: o.TLS, MaxMessage: o.MaxMessage, Kind: o.Kind})
	b.stomp, stompErr = stomp.New(stompAddress, &stomp.Options{TLS: o.TLS, MaxMessage: o.MaxMessage, Kind: o.Kind})
	if err := errors.Join(amqpErr, stompErr); err != nil {
		return nil, fmt.Errorf("activemq: %w", err)
	}
	b.kind.Store(int32(kind))
	return b, nil
}

// rewrite makes the address for one adapter.
func rewrite(t *dial.Target, port, plain, secure string) (string, error) {
	u := url.URL{Scheme: plain, Host: t.Host}
	if t.TLS != nil {
		u.Scheme = secure
	}
	if number := t.Query.Get(port); number != "" {
		if n, err := strconv.ParseUint(number, 10, 16); err != nil || n == 0 {
			return "", fmt.Errorf("the parameter %s is %.20q, not a port", port, number)
		}
		u.Host = net.JoinHostPort(t.Host, number)
	} else if ip := net.ParseIP(t.Host); ip != nil && ip.To4() == nil {
		u.Host = "[" + t.Host + "]"
	}
	if t.HasUser {
		u.User = url.UserPassword(t.User, t.Password)
	}
	query := url.Values{}
	for name, values := range t.Query {
		if name != "amqp_port" && name != "stomp_port" {
			query[name] = values
		}
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// Capabilities declares what the broker can do over either connector, since it has
// to answer before one is chosen.
func (b *Broker) Capabilities() broker.Capabilities {
	c := b.amqp.Capabilities()
	s := b.stomp.Capabilities()
	c.Name = "ActiveMQ (AMQP 1.0 or STOMP 1.2)"
	c.SharedTopics = c.SharedTopics && s.SharedTopics
	c.Requeue = c.Requeue && s.Requeue
	c.DeadLetter = c.DeadLetter && s.DeadLetter
	return c
}

// Connect opens a connection by the best connector that answers. An error of the
// credentials or certificates ends the search. See broker.Broker.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	c, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, can: b.Capabilities()}, nil
}

func (b *Broker) connect(ctx context.Context) (broker.Conn, error) {
	if Kind(b.kind.Load()) == Classic {
		return first(ctx, b.stomp, b.amqp)
	}
	c, err := first(ctx, b.amqp, b.stomp)
	if err != nil || Kind(b.kind.Load()) == Artemis {
		return c, err
	}
	kinds, ok := c.(interface{ Kind() Kind })
	if !ok {
		return c, nil
	}
	b.kind.CompareAndSwap(int32(AnyKind), int32(kinds.Kind()))
	if _, overAMQP := c.(*amqp1.Conn); overAMQP && kinds.Kind() == Classic {
		if better, err := b.stomp.Connect(ctx); err == nil {
			_ = c.Close(ctx)
			return better, nil
		}
	}
	return c, nil
}

// first connects by one connector, or the other where that one does not answer.
func first(ctx context.Context, one, other broker.Broker) (broker.Conn, error) {
	c, err := one.Connect(ctx)
	if err == nil || ctx.Err() != nil || errors.Is(err, broker.ErrRefused) {
		return c, err
	}
	c, otherErr := other.Connect(ctx)
	if otherErr != nil {
		return nil, errors.Join(err, otherErr)
	}
	return c, nil
}

// conn does what Capabilities declares and no more, by whichever connector.
type conn struct {
	broker.Conn
	can broker.Capabilities
}

// Subscribe begins to receive from a destination; see broker.Conn.
func (c *conn) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	r, err := c.Conn.Subscribe(ctx, s)
	if err != nil {
		return nil, err
	}
	return &receiver{Receiver: r, can: c.can}, nil
}

var _ broker.Remover = (*conn)(nil)

// Remove ends the durable subscription of a topic's group; see broker.Remover.
func (c *conn) Remove(ctx context.Context, s broker.Subscription) error {
	remover, ok := c.Conn.(broker.Remover)
	if !ok {
		return fmt.Errorf("activemq: remove %q: %w", s.Destination, errors.ErrUnsupported)
	}
	return remover.Remove(ctx, s)
}

type receiver struct {
	broker.Receiver
	can broker.Capabilities
}

// Settle tells the broker what became of messages; see broker.Receiver.
func (r *receiver) Settle(ctx context.Context, deliveries []broker.Delivery, d broker.Disposition) error {
	if d == broker.Requeue && !r.can.Requeue || d == broker.DeadLetter && !r.can.DeadLetter {
		return fmt.Errorf("activemq: not every connector can do disposition %d: %w", int(d), errors.ErrUnsupported)
	}
	return r.Receiver.Settle(ctx, deliveries, d)
}
