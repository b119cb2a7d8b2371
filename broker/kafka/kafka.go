// Package kafka connects Waybill to Kafka, from version 2.4 on, and to what speaks
// its protocol.
//
// # What a foreign producer or consumer needs to know
//
// A queue is a Kafka topic of the same name, consumed by one consumer group,
// "waybill:<name>", which all subscribers share. A topic is a Kafka topic with
// "--topic" behind its name, and "<group>:<name>" is the consumer group of a Group.
// Options.Topic maps destinations otherwise, to meet Kafka topics that are there.
//
// Kafka takes letters, digits, '.', '_' and '-' in a name, 249 of them at most. Every
// other byte is "--" and two hexadecimal digits; so is a '-' that would be taken for
// one of these, and every byte but letters and digits in names that begin with "__",
// which Kafka has for itself. Of a longer name, the beginning is kept with "--h" and
// the first half of its SHA-256. Kafka does not take two names that differ only in '.'
// for '_': where the other one exists already, all of these are written "--2E" and
// "--5F".
//
// The key of a message is the record's key and so decides its partition: messages of
// one key keep their order, and with one partition (Options.Partitions) all do.
// Headers are record headers; the content type is the header content-type.
//
// # Positions
//
// Kafka remembers a position in each partition and not single messages. A position is
// committed when everything before it is settled, never past a message that is not.
// Messages that are settled behind one that is not are not held up, but come again if
// the subscription ends before. Neither can a message be given back or put aside:
// Requeue and DeadLetter are errors that match errors.ErrUnsupported.
//
// When partitions move to another subscriber, what is settled is committed first; the
// rest comes again there, and settling it here does nothing any more. A group that is
// new begins with the oldest message that there is. So does one whose positions Kafka
// has forgotten, as it does when the group was empty for offsets.retention.minutes, 7
// days by default.
//
// # Connections
//
// The client library connects again by itself, without an end. A Conn does not: it
// ends when a network connection to any broker of the cluster breaks in use or gives
// no answer in time, or no broker answers a probe, which is sent every PingInterval.
// When a cluster restarts its brokers one by one, each costs a Conn.
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
)

// Options configures New. The zero value of each field means its default.
type Options struct {
	// TLS is the configuration for kafka+tls addresses. What the address says, with
	// ca, cert, key and server_name, goes before it. Default: the system's authorities.
	TLS *tls.Config
	// Mechanism is how a user logs in: "plain", "scram-sha-256" or "scram-sha-512".
	// The address' parameter sasl. Default: the last of these that the broker offers.
	Mechanism string
	// Partitions and Replication of the topics that are made. The address' parameters
	// partitions and replication. Default: the cluster's own.
	Partitions  int
	Replication int
	// NoCreate makes no topics: a message to one that does not exist is Refused, and a
	// subscription an error. The address' parameter create=false.
	NoCreate bool
	// MaxMessage is the greatest body in bytes; a larger one is Unacceptable. Topics
	// that are made with a greater one than the default take it; of others, and of the
	// brokers' message.max.bytes for replication, somebody has to take care. Default:
	// 1,000,000, which leaves 48 KB of Kafka's own default for key and headers.
	MaxMessage int
	// SessionTimeout is how long after a subscriber died without a word its partitions
	// go to another. The cluster bounds it, to 6 s at least by default. Default: 15 s.
	SessionTimeout time.Duration
	// PingInterval is how often a connection is tried. It ends where no broker has
	// answered for twice as long. Default: 5 s.
	PingInterval time.Duration
	// ClientID is what the brokers' logs and quotas know us by. Default: waybill.
	ClientID string
	// Topic names the Kafka topic of a destination, one to one, and every program that
	// uses the destination has to name it alike. Where it is nil or returns "", the
	// package's own rule holds.
	Topic func(destination string, topic bool) string
	// Dial opens the network connections, also to the addresses that the brokers
	// advertise; TLS comes on top. Default: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	// defaultMaxMessage is the greatest body by default.
	defaultMaxMessage = 1_000_000
	// overhead is what a record may have beside its body: key, headers, batch header.
	overhead = 48_588
	// dialTime bounds the opening of a network connection.
	dialTime = 10 * time.Second
)

// Broker makes connections to one cluster. It is safe for concurrent use.
type Broker struct {
	address    *address
	options    Options
	mechanisms []sasl.Mechanism
	// works is the mechanism that has worked last, by position: it is tried first.
	works atomic.Int64
}

var _ broker.Broker = (*Broker)(nil)

// New returns a Broker for an address such as kafka://user:password@host1,host2:9093
// or kafka+tls://host?ca=/etc/ca.pem&sasl=plain. The port is 9092 by default, 9093
// with TLS. It checks the address and options and does not connect.
func New(text string, options *Options) (*Broker, error) {
	b := &Broker{}
	if options != nil {
		b.options = *options
	}
	o := &b.options
	var err error
	if b.address, err = parse(text, o.TLS); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	problems := b.parameters()
	if o.Partitions < 0 || o.Partitions > 1<<20 {
		problems = append(problems, fmt.Errorf("the number of partitions is %d", o.Partitions))
	}
	if o.Replication < 0 || o.Replication > 1<<10 {
		problems = append(problems, fmt.Errorf("the replication is %d", o.Replication))
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = defaultMaxMessage
	}
	if o.MaxMessage < 1<<10 || o.MaxMessage > 90<<20 {
		problems = append(problems, fmt.Errorf("MaxMessage is %d, not 1 KiB to 90 MiB", o.MaxMessage))
	}
	if o.SessionTimeout == 0 {
		o.SessionTimeout = 15 * time.Second
	}
	if o.SessionTimeout < 3*time.Second || o.SessionTimeout > time.Hour {
		problems = append(problems, fmt.Errorf("SessionTimeout is %v, not 3 s to 1 h", o.SessionTimeout))
	}
	if o.PingInterval == 0 {
		o.PingInterval = 5 * time.Second
	}
	if o.PingInterval < 100*time.Millisecond || o.PingInterval > time.Hour {
		problems = append(problems, fmt.Errorf("PingInterval is %v, not 100 ms to 1 h", o.PingInterval))
	}
	if o.ClientID == "" {
		o.ClientID = "waybill"
	}
	if b.mechanisms, err = mechanisms(o.Mechanism, b.address); err != nil {
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return b, nil
}

// parameters takes over what the address says.
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
	switch query.Get("create") {
	case "", "true":
	case "false":
		o.NoCreate = true
	default:
		problems = append(problems, errors.New("the parameter create is neither true nor false"))
	}
	return problems
}

// Capabilities declares what Kafka can do.
func (b *Broker) Capabilities() broker.Capabilities {
	return broker.Capabilities{
		Name:         "Kafka",
		Persistent:   true,
		Ordered:      b.options.Partitions == 1,
		Topics:       true,
		SharedTopics: true,
		Cumulative:   true,
		MaxMessage:   b.options.MaxMessage,
		Unroutable:   true,
	}
}
