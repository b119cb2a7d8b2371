package memory_test

import (
	"testing"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/memory"
)

func BenchmarkMemory(b *testing.B) {
	m := memory.New(nil)
	brokertest.Benchmark(b, brokertest.Harness{Open: func(testing.TB) broker.Broker { return m }})
}
