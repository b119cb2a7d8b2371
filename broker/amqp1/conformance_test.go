package amqp1_test

import (
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/amqp1"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/internal/servertest"
)

// servers are the variables of the servers that this adapter is tested on.
var servers = []string{"WAYBILL_TEST_ACTIVEMQ_AMQP1", "WAYBILL_TEST_ARTEMIS_AMQP1"}

// kinds are what they are.
var kinds = map[string]amqp1.Kind{"WAYBILL_TEST_ACTIVEMQ_AMQP1": amqp1.Classic, "WAYBILL_TEST_ARTEMIS_AMQP1": amqp1.Artemis}

func TestConformance(t *testing.T) {
	for _, variable := range servers {
		t.Run(variable, func(t *testing.T) {
			h := servertest.Harness(t, variable, opener(amqp1.Options{Kind: kinds[variable]}))
			h.Patience = time.Minute
			brokertest.Test(t, h)
		})
	}
}

func open(t testing.TB, address string, options *amqp1.Options) *amqp1.Broker {
	t.Helper()
	b, err := amqp1.New(address, options)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// opener opens with these options.
func opener(options amqp1.Options) servertest.Open {
	return func(t testing.TB, address string) broker.Broker {
		t.Helper()
		return open(t, address, &options)
	}
}
