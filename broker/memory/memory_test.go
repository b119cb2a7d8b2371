package memory_test

import (
	"testing"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/memory"
)

func TestConformance(t *testing.T) {
	for name, options := range map[string]*memory.Options{
		"in-process":                          nil,
		"in-process, with a greatest message": {MaxMessage: 100_000},
	} {
		t.Run(name, func(t *testing.T) {
			b := memory.New(options)
			brokertest.Test(t, brokertest.Harness{
				Server: name,
				Quiet:  50 * time.Millisecond,
				Open:   func(testing.TB) broker.Broker { return b },
				OpenLink: func(testing.TB) (broker.Broker, brokertest.Link) {
					return b, brokertest.Link{Cut: b.Break, Hold: b.Hold, Release: b.Release}
				},
				Restart: func(testing.TB) { b.Down(); b.Up() },
				Stop:    func(testing.TB) { b.Down() },
				Start:   func(testing.TB) { b.Up() },
			})
		})
	}
}
