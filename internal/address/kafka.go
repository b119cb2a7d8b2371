//go:build !waybill_lean || waybill_kafka

package address

import (
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/kafka"
)

func openKafka(addr string) (broker.Broker, error) { return orNil(kafka.New(addr, nil)) }
