package stomp_test

import (
	"context"
	"fmt"
	"net/url"
	"testing"

	gostomp "github.com/go-stomp/stomp/v3"
	"github.com/go-stomp/stomp/v3/frame"

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
		for _, transport := range []waybill.Transport{durable, transient} {
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
		for _, transport := range []waybill.Transport{durable, transient} {
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

// What the client library does by itself, in the same transactions.
func BenchmarkBareLibraryPublish(b *testing.B) {
	for _, variable := range servers {
		b.Run(variable, func(b *testing.B) {
			u, err := url.Parse(testserver.Address(b, variable))
			if err != nil {
				b.Fatal(err)
			}
			password, _ := u.User.Password()
			bare, err := gostomp.Dial("tcp", u.Host, gostomp.ConnOpt.Login(u.User.Username(), password), gostomp.ConnOpt.HeartBeat(0, 0))
			if err != nil {
				b.Fatal(err)
			}
			defer bare.MustDisconnect()
			ms := benchMessages("bench-" + waybill.NewID().String())
			// A prefix that Artemis as the tests set it up knows, too.
			destination := "/queue/" + ms[0].Destination
			for b.Loop() {
				tx, err := bare.BeginWithError()
				if err != nil {
					b.Fatal(err)
				}
				for i := range ms {
					options := []func(*frame.Frame) error{gostomp.SendOpt.Header("persistent", "true")}
					for _, h := range ms[i].Headers {
						options = append(options, gostomp.SendOpt.Header(h.Name, h.Value))
					}
					if err := tx.Send(destination, "", ms[i].Body, options...); err != nil {
						b.Fatal(err)
					}
				}
				if err := tx.CommitWithReceipt(); err != nil {
					b.Fatal(err)
				}
			}
			rate(b)
			b.StopTimer()
			c := benchConn(b, variable)
			drain(b, c, ms[0].Destination, b.N*benchBatch)
		})
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
