//go:build !waybill_lean || waybill_activemq

package address

import (
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/activemq"
)

func openActiveMQ(addr, name string) (broker.Broker, error) {
	return orNil(activemq.New(addr, &activemq.Options{Name: name}))
}
