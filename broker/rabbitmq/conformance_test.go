package rabbitmq_test

import (
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/broker/rabbitmq"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

const server = "WAYBILL_TEST_RABBITMQ"

func TestConformance(t *testing.T) {
	for name, options := range map[string]rabbitmq.Options{
		"classic": {QueueType: "classic"},
		"quorum":  {QueueType: "quorum", MaxMessage: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			h := servertest.Harness(t, server, opener(options))
			h.Server += ", " + name + " queues"
			h.Patience = 30 * time.Second
			h.OpenNoCreate = func(t testing.TB) broker.Broker {
				options := options
				options.NoDeclare = true
				return open(t, testserver.Address(t, server), options)
			}
			// After a restart a quorum queue has no leader at first, and RabbitMQ 3.10 may not
			// answer calls for half a minute. Relays and inboxes try again; the suite does not.
			if name == "quorum" {
				h.Restart, h.Stop, h.Start = nil, nil, nil
			}
			brokertest.Test(t, h)
		})
	}
}

func TestOnlyClientsWithTheRightCredentialsAndCertificatesAreLetIn(t *testing.T) {
	servertest.AccessTo(t, server, opener(rabbitmq.Options{})).Test(t)
}

// opener opens with these options.
func opener(o rabbitmq.Options) servertest.Open {
	return func(t testing.TB, address string) broker.Broker {
		t.Helper()
		return open(t, address, o)
	}
}

// open returns the Broker for an address.
func open(t testing.TB, address string, o rabbitmq.Options) *rabbitmq.Broker {
	t.Helper()
	b, err := rabbitmq.New(address, &o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
