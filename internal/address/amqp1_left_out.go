//go:build waybill_lean && !waybill_amqp1

package address

import "github.com/waybill-go/waybill/broker"

func openAMQP1(string, string) (broker.Broker, error) { return nil, leftOutError("amqp1") }
