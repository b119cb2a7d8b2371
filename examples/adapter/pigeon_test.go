package pigeon_test

import (
	"testing"

	"example.com/pigeon"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
)

func TestConformance(t *testing.T) {
	b := pigeon.New()
	brokertest.Test(t, brokertest.Harness{Open: func(testing.TB) broker.Broker { return b }})
}
