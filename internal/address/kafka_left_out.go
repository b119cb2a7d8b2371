//go:build waybill_lean && !waybill_kafka

package address

import "github.com/waybill-go/waybill/broker"

func openKafka(string, string) (broker.Broker, error) { return nil, leftOutError("kafka") }
