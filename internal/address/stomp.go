//go:build !waybill_lean || waybill_stomp

package address

import (
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/stomp"
)

func openSTOMP(addr, name string) (broker.Broker, error) {
	return orNil(stomp.New(addr, &stomp.Options{Name: name}))
}
