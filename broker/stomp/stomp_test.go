package stomp_test

import (
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/broker/stomp"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

const (
	durable   = waybill.Durable
	transient = waybill.Transient
)

func TestNewSaysWhatIsWrong(t *testing.T) {
	servertest.WrongAddresses(t, func(address string) error { _, err := stomp.New(address, nil); return err }, map[string]string{
		"tcp://h":                      "begins with none of stomp+tls://, stomp://",
		"stomp://":                     "no host",
		"stomp://u:s3cret#@h":          "", // the password's end is taken for a fragment
		"stomp://u:s3cr%et@h":          "percent-encoded",
		"stomp://h/path":               "path",
		"stomp://h?ca=x":               "needs a scheme with TLS",
		"stomp://h?prefetch=1":         "unknown parameter",
		"stomp://h?kind=rabbit":        "kind",
		"stomp+tls://h?ca=/nowhere":    "ca",
		"stomp+tls://h?cert=/x":        "go together",
		"stomp+tls://u:s3cret@h?x=%zz": "",
	})
	_, err := stomp.New("stomp://h?kind=x", &stomp.Options{HeartBeat: -1, MaxMessage: -1})
	for _, want := range []string{"kind", "HeartBeat", "MaxMessage"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v; want %s in it, too", err, want)
		}
	}
}

func TestAConnectionWhoseOtherEndFallsSilentEnds(t *testing.T) {
	for variable := range kinds {
		t.Run(variable, func(t *testing.T) {
			address, link := servertest.Through(t, testserver.Address(t, variable))
			_ = servertest.Silence(t, open(t, address, &stomp.Options{HeartBeat: time.Second}), link, 4*time.Second)
		})
	}
}

func TestDeadLettersAreDeclaredForTheKindClassicOnly(t *testing.T) {
	address := testserver.Address(t, "WAYBILL_TEST_ACTIVEMQ_STOMP")
	if open(t, address, nil).Capabilities().DeadLetter {
		t.Error("DeadLetter is declared for any kind; Artemis drops what is sent back")
	}
	b := open(t, address+"?kind=classic", nil)
	if !b.Capabilities().DeadLetter {
		t.Fatal("DeadLetter is not declared for the kind classic")
	}
	servertest.DeadLetter(t, b, "ActiveMQ.DLQ")
}
