//go:build waybill_lean && !waybill_nats

package address

import "github.com/waybill-go/waybill/broker"

func openNATS(string, string) (broker.Broker, error) { return nil, leftOutError("nats") }
