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

// options is a shorter name.
type options = nats.Options

// open returns a Broker whose messages come again soon after a connection breaks.
func open(t testing.TB, address string, o options) broker.Broker {
	t.Helper()
	o.AckWait = 2 * time.Second
	b, err := nats.New(address, &o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// openDefault opens with no more options.
func openDefault(t testing.TB, address string) broker.Broker {
	t.Helper()
	return open(t, address, options{})
}

// harness is the suite's harness for the server of this version at an address.
func harness(address, server string) brokertest.Harness {
	h := servertest.HarnessAt(address, openDefault)
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

func TestOnlyClientsWithTheRightCredentialsAndCertificatesAreLetIn(t *testing.T) {
	servertest.AccessTo(t, natsServer, openDefault).Test(t)
}
