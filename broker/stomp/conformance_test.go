package stomp_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/internal/restart"
	"github.com/waybill-go/waybill/broker/stomp"
	"github.com/waybill-go/waybill/internal/testserver"
)

// servers are the variables of the servers that this adapter is tested on.
var servers = []string{"WAYBILL_TEST_ACTIVEMQ_STOMP", "WAYBILL_TEST_ARTEMIS_STOMP"}

func TestConformance(t *testing.T) {
	for _, variable := range servers {
		t.Run(variable, func(t *testing.T) {
			address := testserver.Address(t, variable)
			hooks := restart.Of(strings.ToLower(strings.Split(variable, "_")[2]))
			brokertest.Test(t, brokertest.Harness{
				Server:   testserver.Version(variable),
				Patience: time.Minute, Restart: hooks.Restart, Stop: hooks.Stop, Start: hooks.Start,
				Open: func(t testing.TB) broker.Broker { return open(t, address, nil) },
				OpenLink: func(t testing.TB) (broker.Broker, brokertest.Link) {
					u, err := url.Parse(address)
					if err != nil {
						t.Fatal(err)
					}
					var link brokertest.Link
					u.Host, link = brokertest.Proxy(t, u.Host)
					return open(t, u.String(), nil), link
				},
			})
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
