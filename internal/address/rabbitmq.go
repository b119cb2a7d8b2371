//go:build !waybill_lean || waybill_rabbitmq

package address

import (
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/rabbitmq"
)

func openRabbitMQ(addr, name string) (broker.Broker, error) {
	return orNil(rabbitmq.New(addr, &rabbitmq.Options{Name: name}))
}
