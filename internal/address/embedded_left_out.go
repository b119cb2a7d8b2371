//go:build waybill_lean && !waybill_embedded

package address

import "github.com/waybill-go/waybill/broker"

func openEmbedded(string) (broker.Broker, error) { return nil, leftOutError("embedded") }
