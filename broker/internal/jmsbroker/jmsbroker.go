// Package jmsbroker is what the adapters that meet ActiveMQ share, so that what one
// publishes the other can consume.
package jmsbroker

import (
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
	Any     Kind = iota // not known
	Classic             // ActiveMQ Classic
	Artemis             // ActiveMQ Artemis
)

// parseKind reads the parameter kind of an address.
func parseKind(text string) (Kind, error) {
	switch text {
	case "":
		return Any, nil
	case "classic":
		return Classic, nil
	case "artemis":
		return Artemis, nil
	}
	return Any, fmt.Errorf("the parameter kind is %.40q, not classic or artemis", text)
}

// Parse takes an address apart that may have the parameter kind, beside the known
// ones. Kind is the caller's own, which the parameter goes before.
func Parse(address string, schemes map[string]dial.Scheme, config *tls.Config, kind Kind, known ...string) (*dial.Target, Kind, error) {
	target, err := dial.Parse(address, schemes, config, append(known, "kind")...)
	if err != nil {
		return nil, kind, err
	}
	said, err := parseKind(target.Query.Get("kind"))
	if said != Any {
		kind = said
	}
	return target, kind, err
}

// Client checks a subscription and returns the id by which the broker knows a
// topic's durable subscription, made of Group and topic; "" for a queue.
func Client(s *broker.Subscription) (string, error) {
	switch {
	case s.Prefetch <= 0:
		return "", fmt.Errorf("Prefetch is %d and has to be above 0", s.Prefetch)
	case !s.Topic:
		return "", nil
	case s.Group == "":
		return "", errors.New("a topic needs a Group")
	}
	return ClientID(s), nil
}

// ClientID is the id by which the broker knows the durable subscription that a group
// has of a topic.
func ClientID(s *broker.Subscription) string { return s.Group + "/" + s.Destination }

// Product tells the kind by how a broker calls itself: "ActiveMQ/5.18.3" and
// "ActiveMQ-Artemis/2.40.0 ..." in STOMP, "ActiveMQ" and "apache-activemq-artemis"
// in AMQP.
func Product(name string) Kind {
	name = strings.ToLower(name)
	switch {
	case strings.Contains(name, "artemis"):
		return Artemis
	case strings.HasPrefix(name, "activemq"):
		return Classic
	}
	return Any
}

// Name is what the brokers call a destination. They take nearly every name that
// waybill.CheckDestination takes: but Artemis reads "address::queue" as one queue
// of an address, and where its acceptors are set up with prefixes such as "/queue/"
// it cuts them off. '%' occurs in no name, so that the mapping is one to one.
func Name(destination string) string {
	name := strings.ReplaceAll(destination, "::", "%3A%3A")
	if rest, ok := strings.CutPrefix(name, "/"); ok {
		name = "%2F" + rest
	}
	return name
}

// Taken reports whether a header is one that STOMP or a broker uses itself: it is
// no part of a message that was received, and none that is sent may have it.
// Brokers show these to consumers of another protocol as if they were the sender's.
// waybill.CheckHeader refuses all of them but content-type.
func Taken(name string) bool {
	return taken[name] || strings.HasPrefix(name, "JMS_AMQP_") || strings.HasPrefix(name, "_AMQ_") || strings.HasPrefix(name, "__AMQ_")
}

var taken = map[string]bool{
	"destination": true, "receipt": true, "receipt-id": true, "transaction": true, "subscription": true,
	"message-id": true, "content-length": true, "content-type": true, "ack": true, "id": true, "session": true,
	"type": true, "timestamp": true, "expires": true, "priority": true, "persistent": true,
	"reply-to": true, "correlation-id": true, "redelivered": true, "transformation": true,
	"browser": true, "destination-type": true, "selector": true,
	"amq-msg-type": true, "original-destination": true,
}
