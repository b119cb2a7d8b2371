//go:build !waybill_lean || waybill_amqp1

package address

import (
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/amqp1"
)

func openAMQP1(addr, name string) (broker.Broker, error) {
	return orNil(amqp1.New(addr, &amqp1.Options{Name: name}))
}
