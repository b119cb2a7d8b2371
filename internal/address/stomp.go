//go:build !waybill_lean || waybill_stomp

package address

import (
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/stomp"
)

func openSTOMP(addr string) (broker.Broker, error) { return orNil(stomp.New(addr, nil)) }
