//go:build !waybill_lean || waybill_kafka

package address

import (
	"strings"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/kafka"
)

func openKafka(addr, name string) (broker.Broker, error) {
	return orNil(kafka.New(addr, &kafka.Options{ClientID: clientID(name)}))
}

// clientID makes of the name of a program's connections what quotas are set for and metrics
// are kept by: without host and process, which change, and of letters that all tools take.
func clientID(name string) string {
	name, _, _ = strings.Cut(name, "@")
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, name)
}
