package rabbitmq_test

import (
	"context"
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
			// A quorum queue has no leader at first after a restart, and RabbitMQ 3.10 then
			// leaves calls unanswered for half a minute; callers try again, the suite does not.
			if name == "quorum" {
				h.Restart, h.Stop, h.Start = nil, nil, nil
			}
			brokertest.Test(t, h)
		})
	}
}

// opener opens with these options.
func opener(options rabbitmq.Options) servertest.Open {
	return func(t testing.TB, address string) broker.Broker {
		t.Helper()
		return open(t, address, options)
	}
}

func open(t testing.TB, address string, options rabbitmq.Options) *rabbitmq.Broker {
	t.Helper()
	b, err := rabbitmq.New(address, &options)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// within is the context of a test that should not take this long.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
