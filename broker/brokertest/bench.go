package brokertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// benchBody is the size of a message's body in bytes.
const benchBody = 256

// Benchmark measures an adapter: publishing until everything is confirmed, receiving and
// acknowledging what waits, and both at the same time over two connections; durable and
// transient, in batches of several sizes. One operation is one message with a body of 256
// bytes and Waybill's headers. It uses Open of the harness and nothing else.
func Benchmark(b *testing.B, h Harness) {
	for _, transport := range []waybill.Transport{waybill.Durable, waybill.Transient} {
		for _, size := range []int{1, 100, 500} {
			for _, kind := range []struct {
				name string
				run  func(b *testing.B, h *Harness, queue string, batch []broker.Message, transport waybill.Transport)
			}{{"publish", benchPublish}, {"receive", benchReceive}, {"both", benchBoth}} {
				b.Run(fmt.Sprintf("%s/%v/batch=%d", kind.name, transport, size), func(b *testing.B) {
					queue := fmt.Sprintf("%s-bench-%d", run, counter.Add(1))
					kind.run(b, &h, queue, benchBatch(queue, size), transport)
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
				})
			}
		}
	}
}

// benchBatch makes a batch of messages.
func benchBatch(queue string, size int) []broker.Message {
	batch := make([]broker.Message, size)
	for i := range batch {
		batch[i] = broker.Message{
			Destination: queue,
			Headers: []broker.Header{
				{Name: "messageId", Value: waybill.NewID().String()},
				{Name: "businessMark", Value: "order-4711"},
				{Name: "timeStamp", Value: "1790000000000001"},
				{Name: "sequence", Value: "17"},
				{Name: "producer", Value: "orders"},
				{Name: "receiptTo", Value: "ack.orders"},
				{Name: "attempt", Value: "0"},
				{Name: "floor", Value: waybill.NewID().String()},
			},
			Body: make([]byte, benchBody),
		}
	}
	return batch
}

func benchConnect(b *testing.B, h *Harness) broker.Conn {
	b.Helper()
	c, err := h.Open(b).Connect(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func benchSubscribe(b *testing.B, h *Harness, queue string) broker.Receiver {
	b.Helper()
	receiver, err := benchConnect(b, h).Subscribe(b.Context(), broker.Subscription{Destination: queue, Prefetch: 2000})
	if err != nil {
		b.Fatal(err)
	}
	return receiver
}

// publishN publishes n messages.
func publishN(ctx context.Context, c broker.Conn, batch []broker.Message, n int, transport waybill.Transport) error {
	for n > 0 {
		part := batch[:min(n, len(batch))]
		if err := publishAll(ctx, c, transport, part); err != nil {
			return err
		}
		n -= len(part)
	}
	return nil
}

// receiveN receives and acknowledges n messages.
func receiveN(b *testing.B, receiver broker.Receiver, n, limit int) {
	for n > 0 {
		ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
		deliveries, err := receiver.Receive(ctx, min(n, limit))
		if err == nil {
			err = receiver.Settle(ctx, deliveries, broker.Ack)
		}
		cancel()
		if err != nil {
			b.Fatalf("%v; %d messages have not been received", err, n)
		}
		n -= len(deliveries)
	}
}

func benchPublish(b *testing.B, h *Harness, queue string, batch []broker.Message, transport waybill.Transport) {
	c := benchConnect(b, h)
	if err := publishN(b.Context(), c, batch, 1, transport); err != nil { // makes the queue
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	if err := publishN(b.Context(), c, batch, b.N, transport); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	receiveN(b, benchSubscribe(b, h, queue), b.N+1, 1000)
}

func benchReceive(b *testing.B, h *Harness, queue string, batch []broker.Message, transport waybill.Transport) {
	c := benchConnect(b, h)
	// What is to be received is published in large batches, whatever size is measured.
	if err := publishN(b.Context(), c, benchBatch(queue, 500), b.N, transport); err != nil {
		b.Fatal(err)
	}
	receiver := benchSubscribe(b, h, queue)
	b.ReportAllocs()
	b.ResetTimer()
	receiveN(b, receiver, b.N, len(batch))
	b.StopTimer()
}

func benchBoth(b *testing.B, h *Harness, queue string, batch []broker.Message, transport waybill.Transport) {
	c, receiver := benchConnect(b, h), benchSubscribe(b, h, queue)
	published := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	go func() { published <- publishN(b.Context(), c, batch, b.N, transport) }()
	receiveN(b, receiver, b.N, len(batch))
	if err := <-published; err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
}
