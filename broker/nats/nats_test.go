package nats_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/broker/nats"
	"github.com/waybill-go/waybill/internal/test/testserver"
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

// opened is open with nothing special.
func opened(t testing.TB, address string) broker.Broker {
	t.Helper()
	return open(t, address, options{})
}

// harness is the suite's for the server of this version at an address.
func harness(address, server string) brokertest.Harness {
	h := servertest.HarnessAt(address, opened)
	h.Server = server
	h.OpenNoCreate = func(t testing.TB) broker.Broker { return open(t, address, options{NoCreate: true}) }
	return h
}

const natsServer = "WAYBILL_TEST_NATS"

func TestConformance(t *testing.T) {
	brokertest.Test(t, harness(testserver.Address(t, natsServer), testserver.Version(natsServer)))
}

func TestConformanceOverTLS(t *testing.T) {
	address := testserver.Address(t, natsServer+"_TLS") + "?ca=" + url.QueryEscape(testserver.Address(t, "WAYBILL_TEST_CA"))
	brokertest.Test(t, harness(address, testserver.Version(natsServer)+", over TLS"))
}

func TestTheDoor(t *testing.T) { servertest.DoorOf(t, natsServer, opened).Test(t) }
