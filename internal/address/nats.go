//go:build !waybill_lean || waybill_nats

package address

import (
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/nats"
)

func openNATS(addr, name string) (broker.Broker, error) {
	return orNil(nats.New(addr, &nats.Options{Name: name}))
}
