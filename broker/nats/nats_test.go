package nats_test

import (
	"strings"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/nats"
	"github.com/waybill-go/waybill/internal/testserver"
)

// options are short here.
type options = nats.Options

// open makes a Broker whose messages come again soon after a connection breaks.
func open(t testing.TB, address string, options options) broker.Broker {
	t.Helper()
	options.AckWait = 2 * time.Second
	b, err := nats.New(address, &options)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// harness is the suite's for a server at an address without a user.
func harness(address string) brokertest.Harness {
	return brokertest.Harness{
		Open: func(t testing.TB) broker.Broker { return open(t, address, options{}) },
		OpenLink: func(t testing.TB) (broker.Broker, brokertest.Link) {
			proxied, link := brokertest.Proxy(t, strings.TrimPrefix(address, "nats://"))
			return open(t, "nats://"+proxied, options{}), link
		},
		OpenNoCreate: func(t testing.TB) broker.Broker { return open(t, address, options{NoCreate: true}) },
	}
}

func TestConformance(t *testing.T) {
	brokertest.Test(t, harness(testserver.Address(t, "WAYBILL_TEST_NATS")))
}
