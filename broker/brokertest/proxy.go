package brokertest

import (
	"testing"

	"github.com/waybill-go/waybill/internal/fault/badnet"
)

// Proxy listens on a port of its own and passes TCP connections on to the target, which is
// host:port, until the test ends. Connect to the address; with the Link, the connections
// can be cut and held.
func Proxy(t testing.TB, target string) (address string, link Link) {
	t.Helper()
	p, err := badnet.Listen(t.Context(), target)
	if err != nil {
		t.Fatalf("brokertest: %v", err)
	}
	t.Cleanup(p.Close)
	set := func(w badnet.Way) func() {
		return func() {
			if err := p.Set(badnet.Conditions{Up: w, Down: w}); err != nil {
				t.Errorf("brokertest: %v", err)
			}
		}
	}
	return p.Addr(), Link{Cut: p.Cut, Hold: set(badnet.Way{Hold: true}), Release: set(badnet.Way{})}
}
