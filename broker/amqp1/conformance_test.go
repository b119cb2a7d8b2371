package amqp1_test

import (
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/amqp1"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/internal/servertest"
)

// kinds are the kinds of the servers that this adapter is tested on, by the variables
// that have their addresses.
var kinds = map[string]string{"WAYBILL_TEST_ACTIVEMQ_AMQP1": "classic", "WAYBILL_TEST_ARTEMIS_AMQP1": "artemis"}

func TestConformance(t *testing.T) {
	for variable, kind := range kinds {
		t.Run(variable, func(t *testing.T) {
			h := servertest.Harness(t, variable, func(t testing.TB, address string) broker.Broker {
				return open(t, address+"?kind="+kind, nil)
			})
			h.Patience = time.Minute
			brokertest.Test(t, h)
		})
	}
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

func TestOnlyClientsWithTheRightCredentialsAndCertificatesAreLetIn(t *testing.T) {
	for variable := range kinds {
		t.Run(variable, func(t *testing.T) {
			servertest.AccessTo(t, variable, func(t testing.TB, address string) broker.Broker { return open(t, address, nil) }).Test(t)
		})
	}
}
