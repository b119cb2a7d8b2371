// Package activemq connects Waybill to ActiveMQ Classic and ActiveMQ Artemis over whichever
// of their protocols is the better one. Call New with an address and give the Broker to
// relays and inboxes:
//
//	b, err := activemq.New("activemq://user:password@host", nil)
//
// It takes AMQP 1.0 (package amqp1) for Artemis and STOMP (package stomp) for Classic,
// which stores several times as many messages in STOMP's transactions as over AMQP. Where
// nobody answers at the port of the one protocol, it takes the other. A destination whose
// messages STOMP cannot show, or not acknowledge, is received over AMQP.
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
	"github.com/waybill-go/waybill/broker/internal/option"
	"github.com/waybill-go/waybill/broker/stomp"
)

// Options configure a Broker; nil and the zero value hold the defaults.
type Options struct {
	// TLS is the configuration for activemq+tls addresses. What the address says,
	// with ca, cert, key and server_name, goes before it. Default: the system's
	// authorities.
	TLS *tls.Config
	// MaxMessage is the greatest body in bytes that is sent at all; a larger one is
	// Unacceptable without asking the broker. Default: no limit but the broker's own.
	MaxMessage int
	// Name begins the ids by which the broker's management shows the connections: that of the
	// same name in the options of amqp1 and stomp. Default: none.
	Name string
}

// Broker makes connections to one broker. It is safe for concurrent use.
type Broker struct {
	amqp  *amqp1.Broker
	stomp *stomp.Broker
	kind  atomic.Int32 // a jmsbroker.Kind: what the address says, or a connection has found

	elsewhere elsewhere
}

var _ broker.Broker = (*Broker)(nil)

// New returns a Broker for an address such as activemq://user:password@host or
// activemq+tls://host?ca=/etc/ca.pem. The ports are 5672 for AMQP and 61613 for STOMP,
// with TLS 5671 and 61614; the parameters amqp_port and stomp_port change them, and a port
// in the address itself is an error. The parameter kind, classic or artemis, says which
// broker it is, so that the first connection need not find out. New checks the address
// and the options and does not connect.
func New(address string, o *Options) (*Broker, error) {
	o = option.Copy(o)
	target, kind, err := jmsbroker.Parse(address, map[string]dial.Scheme{
		"activemq": {}, "activemq+tls": {TLS: true},
	}, o.TLS, "amqp_port", "stomp_port")
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
	b.amqp, amqpErr = amqp1.New(amqpAddress, &amqp1.Options{TLS: o.TLS, MaxMessage: o.MaxMessage, Name: o.Name})
	b.stomp, stompErr = stomp.New(stompAddress, &stomp.Options{TLS: o.TLS, MaxMessage: o.MaxMessage, Name: o.Name})
	if err := errors.Join(amqpErr, stompErr); err != nil {
		return nil, fmt.Errorf("activemq: %w", err)
	}
	b.kind.Store(int32(kind))
	return b, nil
}

// rewrite makes the address for one of the two adapters.
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

// Capabilities declares what the broker can do over both protocols, since it has to answer
// before one is chosen.
func (b *Broker) Capabilities() broker.Capabilities {
	c := b.amqp.Capabilities()
	s := b.stomp.Capabilities()
	c.Name = "ActiveMQ (AMQP 1.0 or STOMP 1.2)"
	c.SharedTopics = c.SharedTopics && s.SharedTopics
	c.Requeue = c.Requeue && s.Requeue
	c.DeadLetter = c.DeadLetter && s.DeadLetter
	c.Identity = c.Identity && s.Identity
	return c
}

// Connect opens a connection over the better protocol that answers. Where the one refuses
// the credentials or the certificates, the other is not tried. See broker.Broker.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	c, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, broker: b, can: b.Capabilities()}, nil
}

func (b *Broker) connect(ctx context.Context) (broker.Conn, error) {
	known := jmsbroker.Kind(b.kind.Load())
	if known == jmsbroker.Classic {
		c, _, err := first(ctx, b.stomp, b.amqp)
		return c, err
	}
	c, used, err := first(ctx, b.amqp, b.stomp)
	if err != nil || known == jmsbroker.Artemis {
		return c, err
	}
	found := jmsbroker.ConnKind(c)
	b.kind.CompareAndSwap(int32(jmsbroker.Any), int32(found))
	if used == b.amqp && found == jmsbroker.Classic {
		if better, err := b.stomp.Connect(ctx); err == nil {
			_ = c.Close(ctx)
			return better, nil
		}
	}
	return c, nil
}

// first connects by one, or where that does not answer by other. It returns which of the
// two it was.
func first(ctx context.Context, one, other broker.Broker) (c broker.Conn, used broker.Broker, err error) {
	c, err = one.Connect(ctx)
	if err == nil || ctx.Err() != nil || errors.Is(err, broker.ErrRefused) {
		return c, one, err
	}
	c, otherErr := other.Connect(ctx)
	if otherErr != nil {
		return nil, nil, errors.Join(err, otherErr)
	}
	return c, other, nil
}

// conn does what Capabilities declares and no more, whichever protocol it uses.
type conn struct {
	broker.Conn
	broker *Broker
	can    broker.Capabilities
	second second
}

// Close ends the connection; see broker.Conn.
func (c *conn) Close(ctx context.Context) error {
	return errors.Join(c.second.close(ctx), c.Conn.Close(ctx))
}

// Subscribe begins to receive from a destination; see broker.Conn.
func (c *conn) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	r, mayMove, err := c.subscribe(ctx, s)
	if err != nil {
		return nil, err
	}
	return &receiver{Receiver: r, can: c.can, mayMove: mayMove, place: placeOf(&s), elsewhere: &c.broker.elsewhere}, nil
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

var _ broker.Resizer = (*receiver)(nil)

// Resize changes the window; see broker.Resizer. Both connectors can do that.
func (r *receiver) Resize(window int) {
	if resizer, ok := r.Receiver.(broker.Resizer); ok {
		resizer.Resize(window)
	}
}

// receiver settles as Capabilities declares and in no other way.
type receiver struct {
	broker.Receiver
	can       broker.Capabilities
	mayMove   bool // to AMQP
	place     place
	elsewhere *elsewhere
}

// Settle tells the broker what became of messages; see broker.Receiver.
func (r *receiver) Settle(ctx context.Context, deliveries []broker.Delivery, d broker.Disposition) error {
	if d == broker.Requeue && !r.can.Requeue || d == broker.DeadLetter && !r.can.DeadLetter {
		return fmt.Errorf("activemq: not every connector can do disposition %d: %w", int(d), errors.ErrUnsupported)
	}
	return r.Receiver.Settle(ctx, deliveries, d)
}
