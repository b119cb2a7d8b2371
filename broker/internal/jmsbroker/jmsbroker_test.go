package jmsbroker

import (
	"testing"

	waybill "github.com/waybill-go/waybill"
)

// A header that the adapters refuse or drop must not get as far as a broker.
func TestHeadersThatAreTakenAreRefusedToSenders(t *testing.T) {
	names := []string{"JMS_AMQP_NATIVE", "_AMQ_DUPL_ID", "__AMQ_CID"}
	for name := range taken {
		names = append(names, name)
	}
	for _, name := range names {
		if !Taken(name) {
			t.Errorf("%s is not taken", name)
		}
		if err := waybill.CheckHeader(name, "x"); (err == nil) != (name == "content-type") {
			t.Errorf("%s: %v; want it refused, but for content-type", name, err)
		}
	}
}
