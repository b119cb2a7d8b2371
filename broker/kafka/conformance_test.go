package kafka_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/internal/restart"
	"github.com/waybill-go/waybill/broker/kafka"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

const server = "WAYBILL_TEST_KAFKA"

func TestConformance(t *testing.T) {
	for name, options := range map[string]kafka.Options{
		"one partition":      {Partitions: 1},
		"several partitions": {Partitions: 3},
	} {
		options.Mechanism = "plain" // SCRAM is slow on purpose; TestAWrongPasswordIsRefused has it
		options.PingInterval = 3 * time.Second
		options.SessionTimeout = 6 * time.Second
		t.Run(name, func(t *testing.T) {
			address := testserver.Address(t, server)
			harness := brokertest.Harness{
				Server:   testserver.Version(server) + ", " + name,
				Patience: 60 * time.Second, // a group may rebalance for long
				Quiet:    300 * time.Millisecond,
				Open:     func(t testing.TB) broker.Broker { return open(t, address, options) },
				OpenLink: func(t testing.TB) (broker.Broker, brokertest.Link) {
					through, link := proxied(t, options, address)
					return open(t, address, through), link
				},
				OpenNoCreate: func(t testing.TB) broker.Broker {
					options := options
					options.NoCreate = true
					return open(t, address, options)
				},
			}
			if options.Partitions == 1 { // with one of the two it is enough, since it takes long
				hooks := restart.Of("kafka")
				harness.Restart, harness.Stop, harness.Start = hooks.Restart, hooks.Stop, hooks.Start
			}
			brokertest.Test(t, harness)
		})
	}
}

// proxied has the connections go through a proxy. The server advertises its own address,
// so what changes is how it is dialled, and not the address.
func proxied(t testing.TB, options kafka.Options, address string) (kafka.Options, brokertest.Link) {
	t.Helper()
	proxy, link := brokertest.Proxy(t, hostOf(t, address))
	options.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, proxy)
	}
	return options, link
}

// open returns the Broker for an address.
func open(t testing.TB, address string, o kafka.Options) *kafka.Broker {
	t.Helper()
	b, err := kafka.New(address, &o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
