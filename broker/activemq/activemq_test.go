package activemq_test

import (
	"context"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/activemq"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// address makes the activemq address of a server out of its two others.
func address(t testing.TB, server, suffix string) string {
	t.Helper()
	amqp, err := url.Parse(testserver.Address(t, "WAYBILL_TEST_"+server+"_AMQP1"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	stomp, err := url.Parse(testserver.Address(t, "WAYBILL_TEST_"+server+"_STOMP"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	u := url.URL{Scheme: "activemq", User: amqp.User, Host: amqp.Hostname()}
	u.RawQuery = url.Values{"amqp_port": {amqp.Port()}, "stomp_port": {stomp.Port()}}.Encode()
	if suffix == "_TLS" {
		u.Scheme = "activemq+tls"
	}
	return u.String()
}

func open(t testing.TB, address string) *activemq.Broker {
	t.Helper()
	b, err := activemq.New(address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConformance(t *testing.T) {
	for _, server := range []string{"ACTIVEMQ", "ARTEMIS"} {
		t.Run(server, func(t *testing.T) {
			address := address(t, server, "")
			brokertest.Test(t, brokertest.Harness{
				Server:   testserver.Version("WAYBILL_TEST_" + server),
				Patience: time.Minute,
				Open:     func(t testing.TB) broker.Broker { return open(t, address) },
			})
		})
	}
}

func TestTheBetterProtocolThatAnswersIsUsed(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(closed.Addr().String())
	closed.Close()
	without := func(name, address string) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		query := u.Query()
		query.Set(name, port)
		u.RawQuery = query.Encode()
		return u.String()
	}
	classic, artemis := address(t, "ACTIVEMQ", ""), address(t, "ARTEMIS", "")
	trusted := "&ca=" + url.QueryEscape(testserver.Address(t, "WAYBILL_TEST_CA"))
	for name, c := range map[string]struct{ address, want string }{
		"Classic":                   {classic, "*stomp.conn"},
		"Classic, said to be":       {classic + "&kind=classic", "*stomp.conn"},
		"Classic without STOMP":     {without("stomp_port", classic), "*amqp1.conn"},
		"Classic without AMQP":      {without("amqp_port", classic), "*stomp.conn"},
		"Classic over TLS":          {address(t, "ACTIVEMQ", "_TLS") + trusted, "*stomp.conn"},
		"Artemis":                   {artemis, "*amqp1.conn"},
		"Artemis, said to be":       {artemis + "&kind=artemis", "*amqp1.conn"},
		"Artemis without AMQP":      {without("amqp_port", artemis), "*stomp.conn"},
		"Artemis over TLS":          {address(t, "ARTEMIS", "_TLS") + trusted, "*amqp1.conn"},
		"Classic, said to be other": {classic + "&kind=artemis", "*amqp1.conn"},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, c.address)
			for range 2 { // the second time it is known what the broker is
				conn, err := b.Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if got := activemq.AdapterOf(conn); got != c.want {
					t.Errorf("connected as %s, want %s", got, c.want)
				}
				results, err := conn.Publish(t.Context(), []broker.Message{{Destination: "connector-" + waybill.NewID().String()}}, waybill.Durable)
				if err != nil || results[0].Fate != broker.Confirmed {
					t.Errorf("Publish: %v, %v; want confirmed", results, err)
				}
				if err := conn.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	nowhere := without("amqp_port", without("stomp_port", classic))
	if _, err := open(t, nowhere).Connect(t.Context()); err == nil || strings.Count(err.Error(), "connect to") != 2 {
		t.Errorf("Connect where nobody answers: %v; want the errors of both protocols", err)
	}
}

func TestOnlyClientsWithTheRightCredentialsAndCertificatesAreLetIn(t *testing.T) {
	for _, server := range []string{"ACTIVEMQ", "ARTEMIS"} {
		for kind, parameter := range map[string]string{"found out": "", "said to be Classic": "&kind=classic", "said to be Artemis": "&kind=artemis"} {
			t.Run(server+", "+kind, func(t *testing.T) {
				servertest.Access{
					Open:  func(t testing.TB, address string) broker.Broker { return open(t, address) },
					Plain: address(t, server, "") + parameter,
					TLS:   address(t, server, "_TLS") + parameter,
				}.Test(t)
			})
		}
	}
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	servertest.WrongAddresses(t, func(address string) error { _, err := activemq.New(address, nil); return err }, map[string]string{
		"activemq://h:5672":        "amqp_port",
		"activemq://h?amqp_port=x": "amqp_port",
		"activemq://h?kind=x":      "kind",
		"activemq://h?ca=x":        "TLS",
		"amqp1://h":                "begins with none of",
	})
}

func TestNewTakesAddressesOfEveryForm(t *testing.T) {
	for _, address := range []string{"activemq://h", "activemq://[::1]", "activemq://u:p%40%3A%2F@h?amqp_port=1&stomp_port=2", "activemq+tls://h"} {
		t.Run(address, func(t *testing.T) {
			if _, err := activemq.New(address, nil); err != nil {
				t.Errorf("New: %v; want no error", err)
			}
		})
	}
}
