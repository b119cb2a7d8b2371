//go:build waybill_lean && !waybill_stomp

package address

import "github.com/waybill-go/waybill/broker"

func openSTOMP(string, string) (broker.Broker, error) { return nil, leftOutError("stomp") }
