package servertest

import (
	"context"
	"testing"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// BenchBatch is how many messages one operation of Bare is.
const BenchBatch = 200

// Bare measures what a client library does by itself, without its adapter: publish
// sends a batch of messages of 256 bytes to a queue of its own and waits until all
// are confirmed. What it has sent is then received over b.
func Bare(t *testing.B, b broker.Broker, publish func(queue string, messages []broker.Message) error) {
	t.Helper()
	queue := "bench-" + waybill.NewID().String()
	messages := make([]broker.Message, BenchBatch)
	for i := range messages {
		messages[i] = broker.Message{Destination: queue, Key: "k", Body: make([]byte, 256), Headers: []broker.Header{
			{Name: "messageId", Value: waybill.NewID().String()}, {Name: "businessMark", Value: "k"}, {Name: "timeStamp", Value: "1790000000000001"},
			{Name: "sequence", Value: "12"}, {Name: "producer", Value: "bench"}, {Name: "receiptTo", Value: "ack.bench"}, {Name: "attempt", Value: "0"},
			{Name: "floor", Value: waybill.NewID().String()},
		}}
	}
	for t.Loop() {
		if err := publish(queue, messages); err != nil {
			t.Fatal(err)
		}
	}
	t.ReportMetric(float64(t.N*BenchBatch)/t.Elapsed().Seconds(), "messages/s")
	t.StopTimer()
	drain(t.Context(), t, b, queue, t.N*BenchBatch)
}

// drain receives and acknowledges n messages.
func drain(ctx context.Context, t testing.TB, b broker.Broker, queue string, n int) {
	t.Helper()
	r, err := connect(ctx, t, b).Subscribe(ctx, broker.Subscription{Destination: queue, Prefetch: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for n > 0 {
		deliveries, err := r.Receive(ctx, BenchBatch)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Settle(ctx, deliveries, broker.Ack); err != nil {
			t.Fatal(err)
		}
		n -= len(deliveries)
	}
}
