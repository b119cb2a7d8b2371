//go:build waybill_lean && !waybill_activemq

package address

import "github.com/waybill-go/waybill/broker"

func openActiveMQ(string, string) (broker.Broker, error) { return nil, leftOutError("activemq") }
