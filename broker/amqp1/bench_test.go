package amqp1_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/Azure/go-amqp"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/testserver"
)

const benchBatch = 200

func benchMessages(queue string) []broker.Message {
	ms := make([]broker.Message, benchBatch)
	for i := range ms {
		ms[i] = broker.Message{Destination: queue, Key: "k", Body: make([]byte, 256), Headers: []broker.Header{
			{Name: "messageId", Value: waybill.NewID().String()}, {Name: "businessMark", Value: "k"}, {Name: "timeStamp", Value: "1790000000000001"},
			{Name: "sequence", Value: "12"}, {Name: "producer", Value: "bench"}, {Name: "receiptTo", Value: "ack.bench"}, {Name: "attempt", Value: "0"},
			{Name: "floor", Value: waybill.NewID().String()},
		}}
	}
	return ms
}

// One operation is a batch of 200 messages of 256 bytes published, and as many
// received and acknowledged.
func BenchmarkPublish(b *testing.B) {
	for _, variable := range servers {
		for _, transport := range []waybill.Transport{durable, waybill.Transient} {
			b.Run(fmt.Sprintf("%s/%v", variable, transport), func(b *testing.B) {
				c := benchConn(b, variable)
				ms := benchMessages("bench-" + waybill.NewID().String())
				for b.Loop() {
					results, err := c.Publish(b.Context(), ms, transport)
					if err != nil || results[0].Fate != broker.Confirmed {
						b.Fatal(results[0], err)
					}
				}
				rate(b)
				b.StopTimer()
				drain(b, c, ms[0].Destination, b.N*benchBatch)
			})
		}
	}
}

func BenchmarkConsume(b *testing.B) {
	for _, variable := range servers {
		for _, transport := range []waybill.Transport{durable, waybill.Transient} {
			b.Run(fmt.Sprintf("%s/%v", variable, transport), func(b *testing.B) {
				c := benchConn(b, variable)
				ms := benchMessages("bench-" + waybill.NewID().String())
				for range b.N {
					if _, err := c.Publish(b.Context(), ms, transport); err != nil {
						b.Fatal(err)
					}
				}
				b.ResetTimer()
				drain(b, c, ms[0].Destination, b.N*benchBatch)
				rate(b)
			})
		}
	}
}

// What the client library does by itself: all of a batch sent before it waits.
func BenchmarkBareLibraryPublish(b *testing.B) {
	for _, variable := range servers {
		for _, transport := range []waybill.Transport{durable, waybill.Transient} {
			b.Run(fmt.Sprintf("%s/%v", variable, transport), func(b *testing.B) {
				ms := benchMessages("bench-" + waybill.NewID().String())
				bare, err := amqp.Dial(b.Context(), strings.Replace(testserver.Address(b, variable), "amqp1://", "amqp://", 1), nil)
				if err != nil {
					b.Fatal(err)
				}
				defer bare.Close()
				session, err := bare.NewSession(b.Context(), nil)
				if err != nil {
					b.Fatal(err)
				}
				sender, err := session.NewSender(b.Context(), ms[0].Destination, &amqp.SenderOptions{TargetCapabilities: []string{"queue"}})
				if err != nil {
					b.Fatal(err)
				}
				var receipts []amqp.SendReceipt
				for b.Loop() {
					receipts = receipts[:0]
					for i := range ms {
						m := amqp.NewMessage(ms[i].Body)
						m.Header = &amqp.MessageHeader{Durable: transport == durable}
						m.ApplicationProperties = map[string]any{}
						for _, h := range ms[i].Headers {
							m.ApplicationProperties[h.Name] = h.Value
						}
						receipt, err := sender.SendWithReceipt(b.Context(), m, nil)
						if err != nil {
							b.Fatal(err)
						}
						receipts = append(receipts, receipt)
					}
					for i := range receipts {
						if _, err := receipts[i].Wait(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
				}
				rate(b)
				b.StopTimer()
				drain(b, benchConn(b, variable), ms[0].Destination, b.N*benchBatch)
			})
		}
	}
}

func benchConn(b *testing.B, variable string) broker.Conn {
	b.Helper()
	c, err := open(b, testserver.Address(b, variable), nil).Connect(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// drain receives and acknowledges n messages.
func drain(b *testing.B, c broker.Conn, queue string, n int) {
	b.Helper()
	r, err := c.Subscribe(b.Context(), broker.Subscription{Destination: queue, Prefetch: 1000})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close(context.Background())
	for n > 0 {
		d, err := r.Receive(b.Context(), benchBatch)
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Settle(b.Context(), d, broker.Ack); err != nil {
			b.Fatal(err)
		}
		n -= len(d)
	}
}

func rate(b *testing.B) {
	b.ReportMetric(float64(b.N*benchBatch)/b.Elapsed().Seconds(), "messages/s")
}
