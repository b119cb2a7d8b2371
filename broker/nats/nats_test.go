package nats_test

import (
	"net/url"
	"os"
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

// harness is the suite's for the server of this version at an address.
func harness(address, server string) brokertest.Harness {
	return brokertest.Harness{
		Server: server,
		Open:   func(t testing.TB) broker.Broker { return open(t, address, options{}) },
		OpenLink: func(t testing.TB) (broker.Broker, brokertest.Link) {
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			var link brokertest.Link
			u.Host, link = brokertest.Proxy(t, u.Host)
			return open(t, u.String(), options{}), link
		},
		OpenNoCreate: func(t testing.TB) broker.Broker { return open(t, address, options{NoCreate: true}) },
	}
}

func TestConformance(t *testing.T) {
	brokertest.Test(t, harness(testserver.Address(t, "WAYBILL_TEST_NATS"), testserver.Version("WAYBILL_TEST_NATS")))
}

func TestConformanceOverTLS(t *testing.T) {
	address := testserver.Address(t, "WAYBILL_TEST_NATS_TLS")
	if ca := os.Getenv("WAYBILL_TEST_CA"); ca != "" {
		address += "?ca=" + ca
	}
	brokertest.Test(t, harness(address, testserver.Version("WAYBILL_TEST_NATS")+", over TLS"))
}
