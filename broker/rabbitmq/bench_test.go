package rabbitmq_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

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
		deliveries, err := s.receiver.Receive(ctx, min(n, benchBatch))
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

// benchWay is one of the two ways.
type benchWay interface {
	publish(b *testing.B, transport waybill.Transport)
	receive(b *testing.B, n int)
}

// Both ways take turns of benchTurn batches, so that what else the machine does
// meets both alike, and the ratio is worth more than the figures.
const benchTurn = 20

func BenchmarkRabbitMQ(b *testing.B) {
	publish := func(transport waybill.Transport) func(*testing.B, benchWay) {
		return func(b *testing.B, w benchWay) {
			for range benchTurn {
				w.publish(b, transport)
			}
		}
	}
	receive := func(b *testing.B, w benchWay) { w.receive(b, benchTurn*benchBatch) }
	both := func(b *testing.B, w benchWay) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			receive(b, w)
		}()
		publish(waybill.Durable)(b, w)
		<-done
	}
	phases := []struct {
		name        string
		before, run func(*testing.B, benchWay)
	}{
		{"publish", nil, publish(waybill.Durable)},
		{"publish_transient", nil, publish(waybill.Transient)},
		{"receive", publish(waybill.Durable), receive},
		{"both", nil, both},
	}
	for _, phase := range phases {
		b.Run(phase.name, func(b *testing.B) {
			names := []string{benchQueue(b) + "-bare", benchQueue(b) + "-seam"}
			bare(b, names...)
			ways := []benchWay{newBenchBare(b, names[0]), newBenchSeam(b, names[1])}
			took := make([]time.Duration, len(ways))
			for i := range b.N {
				for k := range ways {
					k = (k + i) % len(ways)
					if phase.before != nil {
						phase.before(b, ways[k])
					}
					began := time.Now()
					phase.run(b, ways[k])
					took[k] += time.Since(began)
				}
			}
			rate := func(k int) float64 { return float64(b.N) * benchTurn * benchBatch / took[k].Seconds() }
			b.ReportMetric(rate(0), "bare-msgs/s")
			b.ReportMetric(rate(1), "seam-msgs/s")
			b.ReportMetric(rate(1)/rate(0), "seam/bare")
			b.ReportMetric(0, "ns/op")
		})
	}
}
