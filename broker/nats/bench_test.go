package nats_test

import (
	"testing"

	"github.com/waybill-go/waybill/broker/brokertest"
)

func BenchmarkNATS(b *testing.B) {
	s := newServer(b)
	brokertest.Benchmark(b, harness("nats://"+s.address(), ""))
}
