package servertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// BenchBatch is how many messages a benchmark publishes at once, BenchPrefetch how many
// it has under way unsettled.
const (
	BenchBatch    = 500
	BenchPrefetch = 2000
)

// benchTurn is how many batches one way does before it is the other's turn, so that what
// else the machine does meets both alike, and the ratio is worth more than the figures.
const benchTurn = 20

// Way is a way to publish to one queue and to receive from it.
type Way interface {
	// Publish sends messages and returns once the broker has confirmed them all.
	Publish(ms []broker.Message, transport waybill.Transport) error
	// Receive receives and acknowledges n messages.
	Receive(n int) error
}

// SideBySide measures an adapter beside its client library, on the same server and in
// the same run: messages of 256 bytes, in batches. bare makes the way in which the
// library by itself is the fastest, for a queue that is there.
func SideBySide(b *testing.B, adapter broker.Broker, bare func(b *testing.B, queue string) Way) {
	b.Helper()
	publish := func(transport waybill.Transport) func(Way, []broker.Message) error {
		return func(w Way, ms []broker.Message) error {
			for range benchTurn {
				if err := w.Publish(ms, transport); err != nil {
					return err
				}
			}
			return nil
		}
	}
	receive := func(w Way, _ []broker.Message) error { return w.Receive(benchTurn * BenchBatch) }
	for _, phase := range []struct {
		name               string
		before, run, after func(Way, []broker.Message) error
	}{
		{"publish", nil, publish(waybill.Durable), receive},
		{"publish_transient", nil, publish(waybill.Transient), receive},
		{"receive", publish(waybill.Durable), receive, nil},
	} {
		b.Run(phase.name, func(b *testing.B) {
			c := connect(b.Context(), b, adapter)
			var ways []Way
			var messages [][]broker.Message
			for k := range 2 {
				queue := "bench-" + strings.ToLower(rand.Text()[:10])
				ms := benchMessages(queue)
				w := Way(&seam{conn: c, queue: queue})
				do(b, w.Publish(ms, waybill.Durable)) // makes the queue
				if k == 0 {
					w = bare(b, queue)
				}
				do(b, w.Receive(BenchBatch)) // until it is at work
				ways, messages = append(ways, w), append(messages, ms)
			}
			took := make([]time.Duration, len(ways))
			for i := range b.N {
				for k := range ways {
					k = (k + i) % len(ways)
					if phase.before != nil {
						do(b, phase.before(ways[k], messages[k]))
					}
					began := time.Now()
					do(b, phase.run(ways[k], messages[k]))
					took[k] += time.Since(began)
					if phase.after != nil {
						do(b, phase.after(ways[k], messages[k]))
					}
				}
			}
			rate := func(k int) float64 { return float64(b.N) * benchTurn * BenchBatch / took[k].Seconds() }
			b.ReportMetric(rate(0), "bare-msgs/s")
			b.ReportMetric(rate(1), "seam-msgs/s")
			b.ReportMetric(rate(1)/rate(0), "seam/bare")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func do(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func benchMessages(queue string) []broker.Message {
	ms := make([]broker.Message, BenchBatch)
	for i := range ms {
		ms[i] = broker.Message{Destination: queue, Key: fmt.Sprint(i), Body: []byte(strings.Repeat("0123456789abcdef", 16)), Headers: []broker.Header{
			{Name: "messageId", Value: waybill.NewID().String()}, {Name: "businessMark", Value: fmt.Sprint(i)}, {Name: "timeStamp", Value: "1790000000000001"},
			{Name: "sequence", Value: "12"}, {Name: "producer", Value: "bench"}, {Name: "receiptTo", Value: "ack.bench"}, {Name: "attempt", Value: "0"},
			{Name: "floor", Value: waybill.NewID().String()},
		}}
	}
	return ms
}

// seam is the way through an adapter.
type seam struct {
	conn     broker.Conn
	queue    string
	receiver broker.Receiver
}

func (s *seam) Publish(ms []broker.Message, transport waybill.Transport) error {
	results, err := s.conn.Publish(context.Background(), ms, transport)
	if err != nil {
		return err
	}
	for _, r := range results {
		if r.Fate != broker.Confirmed {
			return fmt.Errorf("not confirmed: %w", r.Err)
		}
	}
	return nil
}

func (s *seam) Receive(n int) error {
	ctx := context.Background()
	if s.receiver == nil {
		var err error
		s.receiver, err = s.conn.Subscribe(ctx, broker.Subscription{Destination: s.queue, Prefetch: BenchPrefetch})
		if err != nil {
			return err
		}
	}
	for n > 0 {
		deliveries, err := s.receiver.Receive(ctx, min(n, BenchBatch))
		if err == nil {
			err = s.receiver.Settle(ctx, deliveries, broker.Ack)
		}
		if err != nil {
			return err
		}
		n -= len(deliveries)
	}
	return nil
}
