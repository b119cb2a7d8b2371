// Package foreign tests Waybill beside programs that know nothing of its library: producers
// and consumers in Java (JMS) and Python, on every broker. The table of docs/use/foreign.md says
// what is to become of each type of message, and the tests fail where something else does;
// "make foreign-table" writes it anew. What the programs need, scripts/foreign installs.
//
// The files: program_test.go (foreign programs as processes), producer_test.go (what
// they send to an inbox), consumer_test.go (what a relay sends to them, and their
// receipts), table_test.go (what the page says), example_test.go (the services of
// examples/foreign).
package foreign

import (
	"flag"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// TestMain lets more tests run at a time than there are processors: they wait for servers and
// for other programs most of the time.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// server is a broker's server, with the connectors by which Waybill reaches it.
type server struct {
	name       string // as the page has it
	deadLetter string // the queue to which it takes away what it fails to deliver, if there is one
	connectors []connector
}

// connector is an adapter and how it finds the server.
type connector struct {
	name     string
	variable string // of the environment, with the address
}

var (
	classic = &server{"ActiveMQ Classic", "ActiveMQ.DLQ", []connector{
		{"stomp", "WAYBILL_TEST_ACTIVEMQ_STOMP"}, {"amqp1", "WAYBILL_TEST_ACTIVEMQ_AMQP1"}, {"activemq", "WAYBILL_TEST_ACTIVEMQ"},
	}}
	artemis = &server{"Artemis", "DLQ", []connector{
		{"stomp", "WAYBILL_TEST_ARTEMIS_STOMP"}, {"amqp1", "WAYBILL_TEST_ARTEMIS_AMQP1"}, {"activemq", "WAYBILL_TEST_ARTEMIS"},
	}}
	rabbit     = &server{"RabbitMQ", "", []connector{{"rabbitmq", "WAYBILL_TEST_RABBITMQ"}}}
	natsServer = &server{"NATS", "", []connector{{"nats", "WAYBILL_TEST_NATS"}}}
	kafka      = &server{"Kafka", "", []connector{{"kafka", "WAYBILL_TEST_KAFKA"}}}
)

// client is a library of another language, and where it finds a server.
type client struct {
	name     string // as the page has it
	program  string // jms, or a file of python/
	server   *server
	variable string // of the environment, with the server's address
	scheme   string // that the program knows it by
	messages []message
}

var clients = []*client{
	{"activemq-client (OpenWire)", "jms", classic, "WAYBILL_TEST_ACTIVEMQ_OPENWIRE", "tcp", openWire},
	{"activemq-client (OpenWire)", "jms", artemis, "WAYBILL_TEST_ARTEMIS_OPENWIRE", "tcp", openWire},
	{"qpid-jms (AMQP 1.0)", "jms", classic, "WAYBILL_TEST_ACTIVEMQ_AMQP1", "amqp", qpid},
	{"qpid-jms (AMQP 1.0)", "jms", artemis, "WAYBILL_TEST_ARTEMIS_AMQP1", "amqp", qpid},
	{"stomp.py", "stomp_program.py", classic, "WAYBILL_TEST_ACTIVEMQ_STOMP", "stomp", stompPy},
	{"stomp.py", "stomp_program.py", artemis, "WAYBILL_TEST_ARTEMIS_STOMP", "stomp", stompPy},
	{"pika", "pika_program.py", rabbit, "WAYBILL_TEST_RABBITMQ", "amqp", pika},
	{"nats-py", "nats_program.py", natsServer, "WAYBILL_TEST_NATS", "nats", natsPy},
	{"kafka-python", "kafka_program.py", kafka, "WAYBILL_TEST_KAFKA", "kafka", kafkaPython},
}

// address is where the client finds its server.
func (c *client) address(t *testing.T) string {
	t.Helper()
	return rewritten(t, testserver.Address(t, c.variable), c.scheme)
}

// broker opens the connector.
func (c connector) broker(t *testing.T) broker.Broker {
	t.Helper()
	var at string
	if c.name == "activemq" {
		at = shorthand(t, c.variable)
	} else {
		at = testserver.Address(t, c.variable)
	}
	b, err := address.OpenBroker(at)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// shorthand is the address activemq://..., made of those of the two protocols.
func shorthand(t *testing.T, variable string) string {
	t.Helper()
	amqp := parsed(t, testserver.Address(t, variable+"_AMQP1"))
	stomp := parsed(t, testserver.Address(t, variable+"_STOMP"))
	all := *amqp
	all.Scheme, all.Host = "activemq", amqp.Hostname()
	all.RawQuery = url.Values{"amqp_port": {amqp.Port()}, "stomp_port": {stomp.Port()}}.Encode()
	return all.String()
}

// queueName is a name that no other test has, as every broker takes it.
func queueName(parts ...string) string {
	return "foreign." + strings.Join(parts, ".")
}
