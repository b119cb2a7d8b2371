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
	servertest.WrongActiveMQAddresses(t, "stomp", "stomp+tls", func(address string) error { _, err := stomp.New(address, nil); return err })
	_, err := stomp.New("stomp://h?kind=x", &stomp.Options{HeartBeat: -1, MaxMessage: -1})
	for _, want := range []string{"kind", "HeartBeat", "MaxMessage"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v; want %s in it, too", err, want)
		}
	}
}

func TestAConnectionWhoseOtherEndFallsSilentEnds(t *testing.T) {
	servertest.OnActiveMQ(t, protocol, func(t *testing.T, variable, _ string) {
		address, link := servertest.Through(t, testserver.Address(t, variable))
		_ = servertest.Silence(t, open(t, address, &stomp.Options{HeartBeat: time.Second}), link, 4*time.Second)
	})
}

func TestDeadLettersAreDeclaredForTheKindClassicOnly(t *testing.T) {
	address := testserver.Address(t, "WAYBILL_TEST_ACTIVEMQ_STOMP")
	if open(t, address, nil).Capabilities().DeadLetter {
		t.Error("DeadLetter is declared without a kind, want that it is not: Artemis drops what gets a NACK")
	}
	b := open(t, address+"?kind=classic", nil)
	if !b.Capabilities().DeadLetter {
		t.Fatal("DeadLetter is not declared with kind=classic, want that it is")
	}
	servertest.DeadLetter(t, b, "ActiveMQ.DLQ")
}
