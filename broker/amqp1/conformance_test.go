package amqp1_test

import (
	"testing"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/amqp1"
	"github.com/waybill-go/waybill/broker/internal/servertest"
)

// protocol is this adapter's, in the names of the variables with the servers' addresses.
const protocol = "AMQP1"

func TestConformance(t *testing.T) { servertest.ActiveMQConformance(t, protocol, openDefault) }

func TestOnlyClientsWithTheRightCredentialsAndCertificatesAreLetIn(t *testing.T) {
	servertest.ActiveMQAccess(t, protocol, openDefault)
}

// open returns the Broker for an address.
func open(t testing.TB, address string, o *amqp1.Options) *amqp1.Broker {
	t.Helper()
	b, err := amqp1.New(address, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// openDefault is open without options.
func openDefault(t testing.TB, address string) broker.Broker {
	t.Helper()
	return open(t, address, nil)
}
