package address_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/broker/nats/embedded"
	"github.com/waybill-go/waybill/internal/address"
)

func TestAddressesOpenTheirBroker(t *testing.T) {
	for _, c := range []struct{ addr, name string }{
		{"amqp1://user:secret@mq.example.com", "AMQP 1.0"},
		{"amqp1s://mq.example.com:5671", "AMQP 1.0"},
		{"stomp://user:secret@mq.example.com:61613?kind=classic", "STOMP"},
		{"stomp+tls://mq.example.com", "STOMP"},
		{"activemq://user:secret@mq.example.com", "ActiveMQ"},
		{"rabbitmq://user:secret@mq.example.com/vhost", "RabbitMQ"},
		{"rabbitmqs://mq.example.com", "RabbitMQ"},
		{"nats://user:secret@mq1.example.com,mq2.example.com:4223", "NATS"},
		{"tls+nats://token@mq.example.com", "NATS"},
		{"kafka://user:secret@mq1.example.com,mq2.example.com:9094?sasl=scram-sha-512&partitions=6", "Kafka"},
		{"kafka+tls://mq.example.com", "Kafka"},
		{"embedded:" + filepath.Join(t.TempDir(), "broker"), "embedded"},
	} {
		b, err := address.OpenBroker(c.addr)
		if err != nil {
			t.Errorf("%s: %v", c.addr, err)
			continue
		}
		if name := b.Capabilities().Name; !strings.Contains(name, c.name) {
			t.Errorf("%s: %s, want %s", c.addr, name, c.name)
		}
		if server, ok := b.(interface{ Shutdown() error }); ok {
			if err := server.Shutdown(); err != nil {
				t.Errorf("%s: %v", c.addr, err)
			}
		}
	}
}

func TestABrokersAddressThatIsNoneSaysWhatWouldBe(t *testing.T) {
	for _, c := range []struct{ addr, says string }{
		{"", "amqp1://"},
		{"mq.example.com", "embedded:path/to/dir"},
		{"mqtt://user:hunter2@host", `"mqtt"`},
		{"user:hunter2@host", `no broker is called "user"`},
		{"amqp1://user:hunter2@", "no host"},
		{"amqp1://user:hunter2@host/queue", "path"},
		{"amqp1://user:hun%ter2@host", "percent-encoded"},
		{"stomp://user:hunter2@host?vhost=x", "vhost"},
		{"stomp://user:hunter2@host?kind=rabbit", "kind"},
		{"stomp://user:hunter2@host?ca=/x", "TLS"},
		{"nats://user:hunter2@host:port", "port"},
		{"rabbitmq://user:hunter2@", "host"},
		{"kafka://user:hunter2@host1,host2:port", "port"},
		{"kafka://user:hunter2@host?sasl=oauth", "oauth"},
		{"nats://user:x?hunter2@host", "percent-encoded"},
		{"nats://user:x?a&hunter2@host", "percent-encoded"},
		{"stomp://user:123?hunter2@host", "percent-encode"},
		{"rabbitmq://user:123?hunter2@host", "percent-encode"},
		{"activemq://user:hunter2@host:61613", "stomp_port"},
		{"embedded:", "empty"},
	} {
		b, err := address.OpenBroker(c.addr)
		if err == nil || b != nil {
			t.Errorf("%s: %v, %v", c.addr, b, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, c.says) || strings.Contains(text, "hunter2") || !strings.HasPrefix(text, "waybill: ") {
			t.Errorf("%s: %v, want %q", c.addr, err, c.says)
		}
	}
}

func TestAnEmbeddedBrokersDirectoryIsForOneProcess(t *testing.T) {
	addr := "embedded:" + t.TempDir()
	first, err := address.OpenBroker(addr)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := address.OpenBroker(addr); !errors.Is(err, embedded.ErrLocked) || second != nil || !strings.Contains(err.Error(), "one process at a time") {
		t.Errorf("%v, %v", second, err)
	}
	if err := first.(*embedded.Broker).Shutdown(); err != nil {
		t.Error(err)
	}
}
