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
		t.Run(c.addr, func(t *testing.T) {
			b, err := address.OpenBroker(c.addr)
			if err != nil {
				t.Fatal(err)
			}
			if got := b.Capabilities().Name; !strings.Contains(got, c.name) {
				t.Errorf("got the broker %s, want %s", got, c.name)
			}
			if server, ok := b.(interface{ Shutdown() error }); ok {
				if err := server.Shutdown(); err != nil {
					t.Error(err)
				}
			}
		})
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
		t.Run(c.addr, func(t *testing.T) {
			b, err := address.OpenBroker(c.addr)
			if err == nil || b != nil {
				t.Fatalf("got the broker %v and error %v, want an error", b, err)
			}
			wantError(t, err, c.says)
		})
	}
}

func TestAnEmbeddedBrokersDirectoryIsForOneProcess(t *testing.T) {
	addr := "embedded:" + t.TempDir()
	first, err := address.OpenBroker(addr)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := address.OpenBroker(addr); !errors.Is(err, embedded.ErrLocked) || second != nil || !strings.Contains(err.Error(), "one process at a time") {
		t.Errorf("got the broker %v and error %v, want ErrLocked", second, err)
	}
	if err := first.(*embedded.Broker).Shutdown(); err != nil {
		t.Error(err)
	}
}
