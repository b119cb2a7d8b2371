package stomp_test

import (
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/broker/stomp"
)

// servers are the variables of the servers that this adapter is tested on.
var servers = []string{"WAYBILL_TEST_ACTIVEMQ_STOMP", "WAYBILL_TEST_ARTEMIS_STOMP"}

// kinds are what they are.
var kinds = map[string]stomp.Kind{"WAYBILL_TEST_ACTIVEMQ_STOMP": stomp.Classic, "WAYBILL_TEST_ARTEMIS_STOMP": stomp.Artemis}

func TestConformance(t *testing.T) {
	for _, variable := range servers {
		t.Run(variable, func(t *testing.T) {
			h := servertest.Harness(t, variable, opener(stomp.Options{Kind: kinds[variable]}))
			h.Patience = time.Minute
			brokertest.Test(t, h)
		})
	}
}

func open(t testing.TB, address string, options *stomp.Options) *stomp.Broker {
	t.Helper()
	b, err := stomp.New(address, options)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// opener opens with these options.
func opener(options stomp.Options) servertest.Open {
	return func(t testing.TB, address string) broker.Broker {
		t.Helper()
		return open(t, address, &options)
	}
}
