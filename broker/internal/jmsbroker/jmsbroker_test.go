package jmsbroker

import (
	"maps"
	"slices"
	"strings"
	"testing"

	waybill "github.com/waybill-go/waybill"
)

// A header that the adapters refuse or drop must not get as far as a broker.
func TestReservedHeadersAreRefusedToSenders(t *testing.T) {
	names := slices.Sorted(maps.Keys(reservedHeaders))
	names = append(names, "JMS_AMQP_NATIVE", "_AMQ_DUPL_ID", "__AMQ_CID", "__HDR_ARRIVAL", "JMSXDeliveryCount") // by their prefixes
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			if !ReservedHeader(name) {
				t.Error("it is not reserved here, want that it is")
			}
			if got, want := waybill.IsReservedHeader(name), reservedHeaders[name] && name != "content-type"; got != want {
				t.Errorf("waybill.IsReservedHeader is %v, want %v", got, want)
			}
			if err := waybill.CheckHeader(name, "x"); (err == nil) != (name == "content-type") {
				t.Errorf("CheckHeader: %v; want it refused, but for content-type", err)
			}
		})
	}
}

func TestNamesAreMappedOneToOne(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"a", "a.b", "a:b", "a::b", "a:::b", "a::::b", "/a", "//a", "/queue/a", "a/b", "queue://a", ""} {
		mapped := Name(name)
		if other, ok := seen[mapped]; ok {
			t.Errorf("%q and %q are both %q", name, other, mapped)
		}
		seen[mapped] = name
		if strings.Contains(mapped, "::") || strings.HasPrefix(mapped, "/") {
			t.Errorf("%q is %q; want no \"::\", and no '/' at the beginning", name, mapped)
		}
	}
}
