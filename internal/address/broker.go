package address

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/waybill-go/waybill/broker"
)

// brokerForms is what an error about an address offers.
const brokerForms = `use amqp1:// or stomp:// (ActiveMQ), activemq:// (whichever of the two it offers), rabbitmq://, nats://, kafka:// or embedded:path/to/dir`

// otherForms say what is meant by names that other programs have for brokers.
var otherForms = map[string]string{
	"amqp":      `use rabbitmq:// (RabbitMQ, AMQP 0-9-1) or amqp1:// (ActiveMQ, Artemis and others, AMQP 1.0)`,
	"amqps":     `use rabbitmqs:// (RabbitMQ, AMQP 0-9-1) or amqp1s:// (ActiveMQ, Artemis and others, AMQP 1.0)`,
	"amqp+ssl":  `use amqp1s:// (AMQP 1.0)`,
	"stomp+ssl": `use stomp+tls://`,
	"nats+tls":  `use tls+nats://`,
	"tls":       `use tls+nats:// (NATS)`,
	"tcp":       `OpenWire is not spoken here: use activemq://, and the port of the server's STOMP or AMQP connector`,
	"ssl":       `OpenWire is not spoken here: use activemq+tls://, and the port of the server's STOMP or AMQP connector`,
	"failover":  `OpenWire is not spoken here: use activemq://, and the port of the server's STOMP or AMQP connector`,
}

// OpenBroker returns the broker at addr. It checks the address and connects to
// nothing: the broker's own Connect does. The embedded broker alone starts here, so it
// may also fail for other reasons than its address; those errors match what package
// embedded declares. The forms are
//
//	amqp1://user:password@host:5672        AMQP 1.0, with TLS amqp1s://
//	stomp://user:password@host:61613       STOMP, with TLS stomp+tls://
//	activemq://user:password@host          the best connector that ActiveMQ offers, with TLS activemq+tls://
//	rabbitmq://user:password@host:5672     AMQP 0-9-1, with TLS rabbitmqs://
//	nats://user:password@host:4222         NATS JetStream, with TLS tls+nats://
//	kafka://user:password@host1,host2:9092 Kafka, with TLS kafka+tls://
//	embedded:path/to/dir                   a broker inside this process
//
// The embedded broker has a method Shutdown() error, to call once its connections are
// closed.
func OpenBroker(addr string) (broker.Broker, error) { return OpenBrokerAs(addr, "") }

// OpenBrokerAs is OpenBroker, with a name by which the broker's own tools show the connections,
// "" for that which each adapter has by default. It begins the ids of AMQP 1.0's containers and
// of STOMP's clients, which have to differ; it is the connection name of RabbitMQ and NATS and,
// up to an '@' and with hyphens, Kafka's client id.
func OpenBrokerAs(addr, name string) (broker.Broker, error) {
	scheme, _, found := strings.Cut(addr, ":")
	if !found || strings.ContainsAny(scheme, " =/@") {
		return nil, errors.New("waybill: a broker's address begins with its kind: " + brokerForms)
	}
	b, err := openBroker(scheme, addr, name)
	if err != nil && scheme == "embedded" {
		return nil, fmt.Errorf("waybill: %w", err)
	}
	if errors.Is(err, errUnknownBroker) {
		return nil, fmt.Errorf("waybill: no broker is called %.20q: %s", scheme, cmp.Or(otherForms[strings.ToLower(scheme)], brokerForms))
	}
	if errors.As(err, new(leftOutError)) {
		return nil, fmt.Errorf("waybill: the broker's address %s: %w", Redact(addr), err)
	}
	if err != nil {
		return nil, fmt.Errorf("waybill: the broker's address %s: %s", Redact(addr), scrub(addr, err))
	}
	return b, nil
}

var errUnknownBroker = errors.New("no broker is called so")

func openBroker(scheme, addr, name string) (broker.Broker, error) {
	switch scheme {
	case "amqp1", "amqp1s":
		return openAMQP1(addr, name)
	case "stomp", "stomp+tls":
		return openSTOMP(addr, name)
	case "nats", "tls+nats":
		return openNATS(addr, name)
	case "kafka", "kafka+tls":
		return openKafka(addr, name)
	case "rabbitmq", "rabbitmqs":
		return openRabbitMQ(addr, name)
	case "activemq", "activemq+tls":
		return openActiveMQ(addr, name)
	case "embedded":
		return openEmbedded(strings.TrimPrefix(addr, "embedded:"))
	}
	return nil, errUnknownBroker
}

// leftOutError is the error for the driver or client that this program was built without. There
// is no secret in it.
type leftOutError string

func (name leftOutError) Error() string {
	return fmt.Sprintf("this program was built without %[1]s: build it with the tag waybill_%[1]s too, or without waybill_lean", string(name))
}

// orNil keeps an adapter's nil pointer from becoming a Broker that is not nil.
func orNil[B broker.Broker](b B, err error) (broker.Broker, error) {
	if err != nil {
		return nil, err
	}
	return b, nil
}
