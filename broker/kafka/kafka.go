// Package kafka connects Waybill to Kafka, from version 2.4 on, and to what speaks its
// protocol. Call New with an address and give the Broker to relays and inboxes:
//
//	b, err := kafka.New("kafka://user:password@host1,host2", nil)
//
// A queue is a Kafka topic of the same name, and its subscribers are the consumer group
// "waybill:<name>". A topic is a Kafka topic with "--topic" after its name, and a Group of
// it the consumer group "<group>:<name>". Options.Topic maps destinations otherwise. The
// key of a message is the record's key: messages of one key keep their order. Headers are
// record headers, and the content type is the header content-type.
//
// Kafka remembers a position in each partition and not single messages, so Requeue and
// DeadLetter are not supported. docs/operate/brokers.md says how names are mapped and when
// positions are committed.
package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/option"
)

// Options configure a Broker; nil and the zero value hold the defaults.
type Options struct {
	// TLS is the configuration for kafka+tls addresses. What the address says, with
	// ca, cert, key and server_name, goes before it. Default: the system's authorities.
	TLS *tls.Config
	// Mechanism is how a user logs in: "plain", "scram-sha-256" or "scram-sha-512"; the
	// address's parameter sasl goes before it. Default: the last of these that the broker
	// offers.
	Mechanism string
	// Partitions and Replication of the topics that are made; the address's parameters
	// partitions and replication go before them. Default: the cluster's own.
	Partitions  int
	Replication int
	// NoCreate makes no topics: a message to one that does not exist is Refused, and a
	// subscription an error. The address's parameter create=false sets it.
	NoCreate bool
	// MaxMessage is the greatest body in bytes, 1 KiB to 90 MiB; a larger one is
	// Unacceptable. With more than the default, topics that are made are set up for it;
	// topics that exist, and the brokers' message.max.bytes, are not changed. Default:
	// 1,000,000, which leaves 48 KB of Kafka's own default for the key and the headers.
	MaxMessage int
	// SessionTimeout is how long after a subscriber has died without leaving its group its
	// partitions go to another, 3 s to 1 h. The cluster takes no less than 6 s by default.
	// Default: 15 s.
	SessionTimeout time.Duration
	// PingInterval is how often a connection is probed, 100 ms to 1 h. It ends where no
	// broker has answered for twice as long. Default: 5 s.
	PingInterval time.Duration
	// ClientID is the name by which the brokers' logs and quotas know the client.
	// Default: waybill.
	ClientID string
	// Topic names the Kafka topic of a destination, one to one; every program that uses
	// the destination has to name it alike. Where it is nil or returns "", the package's
	// own rule applies.
	Topic func(destination string, topic bool) string
	// Dial opens the network connections, also to the addresses that the brokers
	// advertise; TLS is done over them. Default: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	// defaultMaxMessage is the greatest body by default.
	defaultMaxMessage = 1_000_000
	// overhead is the room in bytes for what a record has beside its body: the key, the
	// headers and the header of the batch.
	overhead = 48_588
	// dialTime bounds the opening of a network connection.
	dialTime = 10 * time.Second
)

// Broker makes connections to one cluster. It is safe for concurrent use.
type Broker struct {
	address    *address
	options    Options
	mechanisms []sasl.Mechanism
	// works is the position of the mechanism that has worked last; it is tried first.
	works atomic.Int64
}

var _ broker.Broker = (*Broker)(nil)

// New returns a Broker for an address such as kafka://user:password@host1,host2:9093 or
// kafka+tls://host?ca=/etc/ca.pem&sasl=plain. The port is 9092 by default, 9093 with TLS.
// New checks the address and the options and does not connect.
func New(address string, o *Options) (*Broker, error) {
	b := &Broker{options: *option.Copy(o)}
	o = &b.options
	var err error
	if b.address, err = parse(address, o.TLS); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	problems := b.parameters()
	option.SetDefault(&o.MaxMessage, defaultMaxMessage)
	option.SetDefault(&o.SessionTimeout, 15*time.Second)
	option.SetDefault(&o.PingInterval, 5*time.Second)
	option.SetDefault(&o.ClientID, "waybill")
	b.mechanisms, err = mechanisms(o.Mechanism, b.address)
	problems = append(problems, err,
		option.Between("Partitions", o.Partitions, 0, 1<<20),
		option.Between("Replication", o.Replication, 0, 1<<10),
		option.Between("MaxMessage", o.MaxMessage, 1<<10, 90<<20),
		option.Between("SessionTimeout", o.SessionTimeout, 3*time.Second, time.Hour),
		option.Between("PingInterval", o.PingInterval, 100*time.Millisecond, time.Hour))
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return b, nil
}

// parameters sets the options that the address has parameters for.
func (b *Broker) parameters() (problems []error) {
	o, query := &b.options, b.address.query
	if name := query.Get("sasl"); name != "" {
		o.Mechanism = name
	}
	for name, field := range map[string]*int{"partitions": &o.Partitions, "replication": &o.Replication} {
		if text := query.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				problems = append(problems, fmt.Errorf("the parameter %s is %.20q, not a number", name, text))
			}
			*field = n
		}
	}
	return append(problems, option.Negated(query, "create", &o.NoCreate))
}

// Capabilities declares what Kafka can do. Ordered holds where Options.Partitions, or the
// address, says that there is one partition.
func (b *Broker) Capabilities() broker.Capabilities {
	return broker.Capabilities{
		Name:         "Kafka",
		Persistent:   true,
		Ordered:      b.options.Partitions == 1,
		Topics:       true,
		SharedTopics: true,
		Cumulative:   true,
		Identity:     true,
		MaxMessage:   b.options.MaxMessage,
		MustExist:    true,
		Unroutable:   true,
		Redelivery:   b.options.SessionTimeout,
	}
}
