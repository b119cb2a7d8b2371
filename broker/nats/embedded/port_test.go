package embedded_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker/nats/embedded"
	"github.com/waybill-go/waybill/internal/test/patience"
)

func TestAPortThatIsFreeSoonIsWaitedForAndAnotherOneIsNot(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := embedded.New(t.TempDir(), &embedded.Options{Listen: l.Addr().String()}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("New with a port that is taken: %v; want that it is in use", err)
	}
	if took := time.Since(began); took > patience.Limit {
		t.Errorf("it took %v to say so, want at most %v", took, patience.Limit)
	}
	left := time.AfterFunc(300*time.Millisecond, func() { l.Close() })
	defer left.Stop()
	b, err := embedded.New(t.TempDir(), &embedded.Options{Listen: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	_ = b.Shutdown()
}
