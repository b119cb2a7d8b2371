package amqp1_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/Azure/go-amqp"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/amqp1"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/internal/testserver"
)

func BenchmarkAMQP1(b *testing.B) {
	for _, variable := range servers {
		b.Run(variable, func(b *testing.B) {
			brokertest.Benchmark(b, servertest.Harness(b, variable, opener(amqp1.Options{})))
		})
	}
}

// What the client library does by itself: all of a batch sent before it waits.
func BenchmarkBareLibraryPublish(b *testing.B) {
	for _, variable := range servers {
		for _, transport := range []waybill.Transport{durable, waybill.Transient} {
			b.Run(fmt.Sprintf("%s/%v", variable, transport), func(b *testing.B) {
				address := testserver.Address(b, variable)
				bare, err := amqp.Dial(b.Context(), strings.Replace(address, "amqp1://", "amqp://", 1), nil)
				if err != nil {
					b.Fatal(err)
				}
				defer bare.Close()
				session, err := bare.NewSession(b.Context(), nil)
				if err != nil {
					b.Fatal(err)
				}
				var sender *amqp.Sender
				servertest.Bare(b, open(b, address, nil), func(queue string, ms []broker.Message) error {
					if sender == nil {
						sender, err = session.NewSender(b.Context(), queue, &amqp.SenderOptions{TargetCapabilities: []string{"queue"}})
						if err != nil {
							return err
						}
					}
					return barePublish(b, sender, ms, transport)
				})
			})
		}
	}
}

func barePublish(b *testing.B, sender *amqp.Sender, ms []broker.Message, transport waybill.Transport) error {
	receipts := make([]amqp.SendReceipt, 0, len(ms))
	for i := range ms {
		m := amqp.NewMessage(ms[i].Body)
		m.Header = &amqp.MessageHeader{Durable: transport == durable}
		m.ApplicationProperties = map[string]any{}
		for _, h := range ms[i].Headers {
			m.ApplicationProperties[h.Name] = h.Value
		}
		receipt, err := sender.SendWithReceipt(b.Context(), m, nil)
		if err != nil {
			return err
		}
		receipts = append(receipts, receipt)
	}
	for i := range receipts {
		if _, err := receipts[i].Wait(b.Context()); err != nil {
			return err
		}
	}
	return nil
}
