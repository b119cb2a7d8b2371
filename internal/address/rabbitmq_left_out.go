//go:build waybill_lean && !waybill_rabbitmq

package address

import "github.com/waybill-go/waybill/broker"

func openRabbitMQ(string, string) (broker.Broker, error) { return nil, leftOutError("rabbitmq") }
