package rabbitmq_test

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/internal/restart"
	"github.com/waybill-go/waybill/broker/rabbitmq"
	"github.com/waybill-go/waybill/internal/testserver"
)

const server = "WAYBILL_TEST_RABBITMQ"

func TestConformance(t *testing.T) {
	for name, options := range map[string]rabbitmq.Options{
		"classic": {QueueType: "classic"},
		"quorum":  {QueueType: "quorum", MaxMessage: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			address := testserver.Address(t, server)
			harness := brokertest.Harness{
				Server:   testserver.Version(server) + ", " + name + " queues",
				Patience: 30 * time.Second,
				Open:     func(t testing.TB) broker.Broker { return open(t, address, options) },
				OpenLink: func(t testing.TB) (broker.Broker, brokertest.Link) {
					u, err := url.Parse(address)
					if err != nil {
						t.Fatal(err)
					}
					var link brokertest.Link
					u.Host, link = brokertest.Proxy(t, u.Host)
					return open(t, u.String(), options), link
				},
				OpenNoCreate: func(t testing.TB) broker.Broker {
					options := options
					options.NoDeclare = true
					return open(t, address, options)
				},
			}
			// A quorum queue has no leader at first after a restart, and RabbitMQ 3.10 then
			// leaves calls unanswered for half a minute; callers try again, the suite does not.
			if name == "classic" {
				hooks := restart.Of("rabbitmq")
				harness.Restart, harness.Stop, harness.Start = hooks.Restart, hooks.Stop, hooks.Start
			}
			brokertest.Test(t, harness)
		})
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
