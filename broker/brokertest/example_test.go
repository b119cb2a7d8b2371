package brokertest_test

import (
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/memory"
)

// The test of an adapter, which would be named TestConformance. This one runs the suite on
// the memory broker; examples/adapter has an adapter outside of Waybill's own module.
func Example() {
	_ = func(t *testing.T) {
		b := memory.New(nil)
		brokertest.Test(t, brokertest.Harness{
			Open: func(testing.TB) broker.Broker { return b },
		})
	}
}

// With a Link and a way to stop the server, the suite can ask more.
func ExampleHarness() {
	_ = func(t *testing.T) {
		b := memory.New(nil)
		brokertest.Test(t, brokertest.Harness{
			Server: "in-process",
			Open:   func(testing.TB) broker.Broker { return b },
			OpenLink: func(testing.TB) (broker.Broker, brokertest.Link) {
				return b, brokertest.Link{Cut: b.Break, Hold: b.Hold, Release: b.Release}
			},
			Stop:  func(testing.TB) { b.Down() },
			Start: func(testing.TB) { b.Up() },
			Quiet: 50 * time.Millisecond,
		})
	}
}
