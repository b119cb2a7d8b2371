package supervisor_test

import (
	"errors"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker/nats/embedded"
	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
)

func TestABrokerWaitsForTheLockOfItsDirectory(t *testing.T) {
	dir := t.TempDir()
	predecessor, err := embedded.New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	address, err := supervisor.BrokerAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	released := make(chan error, 1)
	time.AfterFunc(700*time.Millisecond, func() { released <- predecessor.Shutdown() }) // some tries later
	b, err := supervisor.StartBroker(t.Context(), address, dir, nil)
	if err := errors.Join(err, <-released); err != nil {
		t.Fatalf("got %v, want a broker once the other one is gone", err)
	}
	if err := b.Shutdown(); err != nil {
		t.Error(err)
	}
}
