package servertest

import (
	"strings"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// kinds are the two servers of ActiveMQ, as scripts/services names them, with the value of
// an address's parameter kind.
var kinds = map[string]string{"activemq": "classic", "artemis": "artemis"}

// variable is the one with the server's address for a protocol, STOMP or AMQP1.
func variable(server, protocol string) string {
	return "WAYBILL_TEST_" + strings.ToUpper(server) + "_" + protocol
}

// OnActiveMQ calls f, as a test of its own, for ActiveMQ Classic and for Artemis, with the
// variable that has the server's address for the protocol and the value of the parameter
// kind.
func OnActiveMQ(t *testing.T, protocol string, f func(t *testing.T, variable, kind string)) {
	t.Helper()
	for server, kind := range kinds {
		t.Run(variable(server, protocol), func(t *testing.T) { f(t, variable(server, protocol), kind) })
	}
}

// ActiveMQConformance runs the conformance suite on both servers, whose kinds the adapter
// is told.
func ActiveMQConformance(t *testing.T, protocol string, open Open) {
	t.Helper()
	OnActiveMQ(t, protocol, func(t *testing.T, variable, kind string) {
		h := Harness(t, variable, func(t testing.TB, address string) broker.Broker { return open(t, address+"?kind="+kind) })
		h.Patience = time.Minute
		brokertest.Test(t, h)
	})
}

// ActiveMQAccess tests who may connect to both servers.
func ActiveMQAccess(t *testing.T, protocol string, open Open) {
	t.Helper()
	OnActiveMQ(t, protocol, func(t *testing.T, variable, _ string) { AccessTo(t, variable, open).Test(t) })
}

// WrongActiveMQAddresses is WrongAddresses for an adapter with these two schemes.
func WrongActiveMQAddresses(t *testing.T, plain, secure string, open func(address string) error) {
	t.Helper()
	WrongAddresses(t, open, map[string]string{
		"tcp://h":                      plain + "://",
		"http://h":                     secure + "://",
		plain + "://":                  "no host",
		plain + "://u:s3cret#@h":       "", // the password's end is taken for a fragment
		plain + "://u:s3cr%et@h":       "percent-encoded",
		plain + "://h/path":            "path",
		plain + "://h?ca=x":            "needs a scheme with TLS",
		plain + "://h?prefetch=1":      "unknown parameter",
		plain + "://h?kind=rabbit":     "kind",
		secure + "://h?ca=/nowhere":    "ca",
		secure + "://h?cert=/x":        "go together",
		secure + "://u:s3cret@h?x=%zz": "",
	})
}

// ActiveMQSideBySide is SideBySide on both servers.
func ActiveMQSideBySide(b *testing.B, protocol string, open Open, bare func(b *testing.B, address, queue string) Client) {
	b.Helper()
	for server := range kinds {
		b.Run(variable(server, protocol), func(b *testing.B) {
			address := testserver.Address(b, variable(server, protocol))
			SideBySide(b, open(b, address), func(b *testing.B, queue string) Client { return bare(b, address, queue) })
		})
	}
}
