package rabbitmq_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/rabbitmq"
	"github.com/waybill-go/waybill/internal/testserver"
)

// The benchmarks publish batches with confirmations and receive with
// acknowledgements, through the seam and with the bare client in the way that is the
// fastest there: confirmations pipelined, and one acknowledgement for a batch.

const (
	benchBatch    = 500
	benchPrefetch = 2000
)

var benchBody = []byte(strings.Repeat("0123456789abcdef", 16))

func benchMessages(queue string) []broker.Message {
	ms := make([]broker.Message, benchBatch)
	for i := range ms {
		ms[i] = broker.Message{Destination: queue, Body: benchBody, Headers: []broker.Header{
			{Name: "messageId", Value: waybill.NewID().String()},
			{Name: "producer", Value: "bench"},
			{Name: "attempt", Value: "0"},
		}}
	}
	return ms
}

func benchQueue(b *testing.B) string {
	return "bench-" + strings.ToLower(rand.Text()[:8]) + "-" + fmt.Sprint(b.N)
}

// bare opens a connection of the client library's own, and removes queues at the end.
func bare(t testing.TB, queues ...string) *amqp.Connection {
	t.Helper()
	u, err := url.Parse(testserver.Address(t, server))
	if err != nil {
		t.Fatal(err)
	}
	u.Scheme = "amqp"
	c, err := amqp.Dial(u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer c.Close()
		for _, queue := range queues {
			if ch, err := c.Channel(); err == nil {
				ch.QueueDelete(queue, false, false, false)
			}
		}
	})
	return c
}

type benchSeam struct {
	conn     broker.Conn
	receiver broker.Receiver
	ms       []broker.Message
}

func newBenchSeam(b *testing.B, queue string) *benchSeam {
	c, err := open(b, testserver.Address(b, server), rabbitmq.Options{}).Connect(within(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close(context.Background()) })
	return &benchSeam{conn: c, ms: benchMessages(queue)}
}

func (s *benchSeam) publish(b *testing.B, transport waybill.Transport) {
	results, err := s.conn.Publish(context.Background(), s.ms, transport)
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range results {
		if r.Fate != broker.Confirmed {
			b.Fatal(r.Err)
		}
	}
}

func (s *benchSeam) receive(b *testing.B, n int) {
	ctx := context.Background()
	if s.receiver == nil {
		var err error
		s.receiver, err = s.conn.Subscribe(ctx, broker.Subscription{Destination: s.ms[0].Destination, Prefetch: benchPrefetch})
		if err != nil {
			b.Fatal(err)
		}
	}
	for n > 0 {
		deliveries, err := s.receiver.Receive(ctx, benchBatch)
		if err == nil {
			err = s.receiver.Settle(ctx, deliveries, broker.Ack)
		}
		if err != nil {
			b.Fatal(err)
		}
		n -= len(deliveries)
	}
}

type benchBare struct {
	queue             string
	publisher, reader *amqp.Channel
	deliveries        <-chan amqp.Delivery
	ms                []broker.Message
}

func newBenchBare(b *testing.B, queue string) *benchBare {
	s := &benchBare{queue: queue, ms: benchMessages(queue)}
	for _, ch := range []**amqp.Channel{&s.publisher, &s.reader} {
		var err error
		if *ch, err = bare(b).Channel(); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := s.publisher.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		b.Fatal(err)
	}
	if err := s.publisher.Confirm(false); err != nil {
		b.Fatal(err)
	}
	return s
}

func (s *benchBare) publish(b *testing.B, transport waybill.Transport) {
	mode := amqp.Persistent
	if transport == waybill.Transient {
		mode = amqp.Transient
	}
	confirms := make([]*amqp.DeferredConfirmation, len(s.ms))
	for i := range s.ms {
		headers := amqp.Table{}
		for _, h := range s.ms[i].Headers {
			headers[h.Name] = h.Value
		}
		var err error
		confirms[i], err = s.publisher.PublishWithDeferredConfirm("", s.queue, true, false, amqp.Publishing{DeliveryMode: mode, Headers: headers, Body: s.ms[i].Body})
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, confirm := range confirms {
		if !confirm.Wait() {
			b.Fatal("not confirmed")
		}
	}
}

func (s *benchBare) receive(b *testing.B, n int) {
	if s.deliveries == nil {
		var err error
		if err = s.reader.Qos(benchPrefetch, 0, false); err == nil {
			s.deliveries, err = s.reader.Consume(s.queue, "", false, false, false, false, nil)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	for i := 1; i <= n; i++ {
		d := <-s.deliveries
		if i%benchBatch == 0 {
			if err := d.Ack(true); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkRabbitMQ(b *testing.B) {
	type way interface {
		publish(*testing.B, waybill.Transport)
		receive(*testing.B, int)
	}
	ways := map[string]func(*testing.B, string) way{
		"seam": func(b *testing.B, queue string) way { return newBenchSeam(b, queue) },
		"bare": func(b *testing.B, queue string) way { return newBenchBare(b, queue) },
	}
	phases := []struct {
		name string
		run  func(b *testing.B, w way)
	}{
		{"publish", func(b *testing.B, w way) {
			for b.Loop() {
				w.publish(b, waybill.Durable)
			}
		}},
		{"publish_transient", func(b *testing.B, w way) {
			for b.Loop() {
				w.publish(b, waybill.Transient)
			}
		}},
		{"receive", func(b *testing.B, w way) {
			for range b.N {
				w.publish(b, waybill.Durable)
			}
			w.receive(b, benchBatch)
			b.ResetTimer()
			w.receive(b, b.N*benchBatch)
		}},
		{"both", func(b *testing.B, w way) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				w.receive(b, b.N*benchBatch)
			}()
			for range b.N {
				w.publish(b, waybill.Durable)
			}
			<-done
		}},
	}
	for _, phase := range phases {
		for _, name := range []string{"bare", "seam"} {
			b.Run(phase.name+"/"+name, func(b *testing.B) {
				queue := benchQueue(b)
				bare(b, queue)
				w := ways[name](b, queue)
				w.publish(b, waybill.Durable) // makes the queue
				b.ResetTimer()
				phase.run(b, w)
				b.ReportMetric(float64(b.N)*benchBatch/b.Elapsed().Seconds(), "msgs/s")
			})
		}
	}
}
