// Package jmsbroker is what the adapters stomp, amqp1 and activemq know in common about
// the two brokers of JMS that they meet, ActiveMQ Classic and ActiveMQ Artemis: which of
// the two it is (Kind), what it calls a destination (Name, STOMPAddress, AMQPAddress), which headers are its own
// (ReservedHeader), and how text arrives unchanged (Escape, Restore, FromModifiedUTF8). It is one place, so that what is published through one adapter can be
// consumed through another.
package jmsbroker

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/dial"
)

// Kind is a kind of broker.
type Kind int

const (
	Any     Kind = iota // not known, or another broker
	Classic             // ActiveMQ Classic, 5.16 and later
	Artemis             // ActiveMQ Artemis
)

// Parse takes an address apart that may have the parameter kind, which is classic or
// artemis, and the parameters that known names.
func Parse(address string, schemes map[string]dial.Scheme, config *tls.Config, known ...string) (*dial.Target, Kind, error) {
	target, err := dial.Parse(address, schemes, config, append(known, "kind")...)
	if err != nil {
		return nil, Any, err
	}
	switch text := target.Query.Get("kind"); text {
	case "":
		return target, Any, nil
	case "classic":
		return target, Classic, nil
	case "artemis":
		return target, Artemis, nil
	default:
		return nil, Any, fmt.Errorf("the parameter kind is %.40q, not classic or artemis", text)
	}
}

// ProductKind is the kind of a broker by how it calls itself: "ActiveMQ/5.18.3" and
// "ActiveMQ-Artemis/2.40.0 ..." in STOMP, "ActiveMQ" and "apache-activemq-artemis" in
// AMQP.
func ProductKind(product string) Kind {
	product = strings.ToLower(product)
	switch {
	case strings.Contains(product, "artemis"):
		return Artemis
	case strings.HasPrefix(product, "activemq"):
		return Classic
	}
	return Any
}

// ConnKind is the kind of the broker that a connection of amqp1 or stomp leads to, Any
// for another connection.
func ConnKind(c broker.Conn) Kind {
	if known, ok := c.(interface{ Kind() Kind }); ok {
		return known.Kind()
	}
	return Any
}

// Protocol is what a connection speaks.
type Protocol int

const (
	Other Protocol = iota
	AMQP
	STOMP
)

// Speaks is the protocol of a connection of amqp1 or stomp, Other for another connection.
func Speaks(c broker.Conn) Protocol {
	if known, ok := c.(interface{ Protocol() Protocol }); ok {
		return known.Protocol()
	}
	return Other
}

// CheckSubscription says what is wrong with a subscription, if anything.
func CheckSubscription(s *broker.Subscription) error {
	if s.Prefetch <= 0 {
		return fmt.Errorf("Prefetch is %d and has to be above 0", s.Prefetch)
	}
	if s.Topic && s.Group == "" {
		return errors.New("a topic needs a Group")
	}
	return nil
}

// ClientID is the id by which the broker knows the durable subscription that a group has
// of a topic, "" for a queue. STOMP calls it the client id, AMQP the container id.
func ClientID(s *broker.Subscription) string {
	if !s.Topic {
		return ""
	}
	return s.Group + "/" + s.Destination
}

// ConnectionID is the id of a connection that has no durable subscription: the name, and what
// makes it the only one with it, since Classic lets in one connection for each id. It is "",
// for an id of the broker's or the library's, where the name is.
func ConnectionID(name string) string {
	if name == "" {
		return ""
	}
	return name + " " + rand.Text()[:8]
}

// Name is what the brokers call a destination. They take nearly every name that
// waybill.CheckDestination takes. But Artemis reads "address::queue" as one queue of an
// address, and cuts off prefixes such as "/queue/" where its acceptors are set up with
// them. No destination has a '%', so the mapping is one to one.
func Name(destination string) string {
	name := strings.ReplaceAll(destination, "::", "%3A%3A")
	if rest, ok := strings.CutPrefix(name, "/"); ok {
		name = "%2F" + rest
	}
	return name
}

// STOMPAddress is a destination's name as a broker knows it in STOMP. Artemis takes bare names,
// whatever prefixes its acceptors are set up with, and tells queues from topics by a header.
func STOMPAddress(kind Kind, destination string, topic bool) string {
	if kind == Artemis {
		return Name(destination)
	}
	return prefixed(destination, topic, "/queue/", "/topic/")
}

// AMQPAddress is a destination's name as a broker knows it in AMQP. Classic looks for a prefix
// before it looks at the capabilities, and removes it; others take bare names.
func AMQPAddress(kind Kind, destination string, topic bool) string {
	if kind != Classic {
		return Name(destination)
	}
	return prefixed(destination, topic, "queue://", "topic://")
}

func prefixed(destination string, topic bool, queuePrefix, topicPrefix string) string {
	if topic {
		return topicPrefix + Name(destination)
	}
	return queuePrefix + Name(destination)
}

// The headers under which a handler finds what JMS has in fields of its own. A sender cannot
// use these names (waybill.CheckHeader).
const (
	TypeHeader        = "JMSType"          // AMQP's subject, STOMP's type
	CorrelationHeader = "JMSCorrelationID" // AMQP's and STOMP's correlation-id
	ReplyHeader       = "JMSReplyTo"       // AMQP's and STOMP's reply-to, as the protocol spells it
)

// ErrElsewhere says that a message can be received, or settled, over another protocol of the
// broker and not over this one.
var ErrElsewhere = errors.New("receive it over amqp1:// or activemq://")

// ReservedHeader reports whether STOMP or a broker uses a header for itself. No message
// that is sent may have it, and it is removed from those that are received: brokers show
// such headers to consumers of another protocol as if they were the sender's.
// waybill.CheckHeader refuses all of them but content-type.
func ReservedHeader(name string) bool {
	if reservedHeaders[name] {
		return true
	}
	for _, prefix := range reservedPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// reservedPrefixes begin headers by which the brokers keep what a message had in the protocol
// that it came by (AMQP, Artemis' own, OpenWire), and the one in which Artemis counts.
var reservedPrefixes = []string{"JMS_AMQP_", "_AMQ_", "__AMQ_", "__HDR_", "JMSXDeliveryCount"}

var reservedHeaders = map[string]bool{
	"destination": true, "receipt": true, "receipt-id": true, "transaction": true, "subscription": true,
	"message-id": true, "content-length": true, "content-type": true, "ack": true, "id": true, "session": true,
	"type": true, "timestamp": true, "expires": true, "priority": true, "persistent": true,
	"reply-to": true, "correlation-id": true, "redelivered": true, "transformation": true,
	"browser": true, "destination-type": true, "selector": true,
	"amq-msg-type": true, "original-destination": true,
	"NATIVE_MESSAGE_ID": true, // AMQP's message id, which Artemis keeps there
}
