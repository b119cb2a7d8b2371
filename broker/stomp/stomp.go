// Package stomp connects Waybill to brokers that speak STOMP 1.2: ActiveMQ Classic
// and ActiveMQ Artemis.
//
// It takes the frame codec of go-stomp and none of its connection. That one reads
// and writes in one loop, which deadlocks when a subscriber acknowledges while its
// own channel is full; it bounds the wait for a commit's receipt by the heart-beat,
// flushes each frame by itself, and escapes the password in CONNECT, which STOMP
// forbids. Here a reader and a writer work apart, and a batch is one write.
//
// A Conn is one network connection for publishing and one for each subscription.
// A broker that runs out of memory stops reading from a connection that publishes;
// acknowledgements on the same connection would wait behind it, and with them the
// memory that they free. A durable subscription of a topic needs a connection of
// its own anyway, since its client id belongs to the connection.
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
)

// Options configures New. The zero value of each field means its default.
type Options struct {
	// TLS is the configuration for stomp+tls addresses. What the address says, with
	// ca, cert, key and server_name, goes before it. Default: the system's authorities.
	TLS *tls.Config
	// HeartBeat is how often each side of a connection shows that it lives; a
	// connection that is silent for two and a half times as long is broken. Brokers
	// do not take less than a second or so. Default: 10 s.
	HeartBeat time.Duration
	// MaxMessage is the greatest body in bytes that is sent at all; a larger one is
	// Unacceptable without asking the broker. ActiveMQ Classic takes 100 MiB as it
	// is set up by default and breaks the connection at more. Default: no limit but
	// the broker's own.
	MaxMessage int
	// Kind of the broker, where it is known. It decides what Capabilities declares:
	// without it, what every kind can do. A connection finds its broker's kind by
	// itself. The parameter kind=classic or kind=artemis of an address does the same.
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
	target     *dial.Target
	heartBeat  time.Duration
	maxMessage int
	kind       Kind
}

var _ broker.Broker = (*Broker)(nil)

// New returns a Broker for an address such as stomp://user:password@host:61613 or
// stomp+tls://host:61614?ca=/etc/ca.pem. The port is 61613 by default, 61614 with
// TLS. It checks the address and options and does not connect.
func New(address string, options *Options) (*Broker, error) {
	var o Options
	if options != nil {
		o = *options
	}
	target, kind, err := jmsbroker.Parse(address, map[string]dial.Scheme{
		"stomp": {Port: "61613"}, "stomp+tls": {Port: "61614", TLS: true},
	}, o.TLS, o.Kind)
	var heartBeatErr, sizeErr error
	if o.HeartBeat == 0 {
		o.HeartBeat = 10 * time.Second
	}
	if o.HeartBeat < 100*time.Millisecond || o.HeartBeat > time.Hour {
		heartBeatErr = fmt.Errorf("HeartBeat is %v, not 100 ms to 1 h", o.HeartBeat)
	}
	if o.MaxMessage < 0 {
		sizeErr = errors.New("MaxMessage is below 0")
	}
	if err := errors.Join(err, heartBeatErr, sizeErr); err != nil {
		return nil, fmt.Errorf("stomp: %w", err)
	}
	return &Broker{target: target, heartBeat: o.HeartBeat, maxMessage: o.MaxMessage, kind: kind}, nil
}

// Capabilities declares what ActiveMQ can do over STOMP. NACK means dead-letter to
// Classic, while Artemis takes it for an ACK and drops the message: so DeadLetter
// holds with the kind Classic only. Neither can be told to deliver again.
func (b *Broker) Capabilities() broker.Capabilities {
	return broker.Capabilities{
		Name:       "STOMP 1.2 (ActiveMQ)",
		Persistent: true,
		Ordered:    true,
		Topics:     true,
		DeadLetter: b.kind == Classic,
		MaxMessage: b.maxMessage,
	}
}

// Connect opens the connection that publishes. See broker.Broker.
func (b *Broker) Connect(ctx context.Context) (broker.Conn, error) {
	c := &Conn{broker: b, sockets: bundle.New[*socket]()}
	s, err := c.open(ctx, "", nil)
	if err != nil {
		return nil, err
	}
	c.publisher = s
	return c, nil
}
