package kafka_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/kafka"
	"github.com/waybill-go/waybill/internal/testserver"
)

const (
	benchBatch    = 500
	benchPrefetch = 2000
	// Both ways take turns of benchTurn batches, so that what else the machine does
	// meets both alike, and the ratio is worth more than the figures.
	benchTurn = 40
)

func plainAuth(user, password string) sasl.Mechanism {
	return plain.Auth{User: user, Pass: password}.AsMechanism()
}

func benchMessages(destination string) []broker.Message {
	ms := make([]broker.Message, benchBatch)
	for i := range ms {
		ms[i] = broker.Message{Destination: destination, Key: fmt.Sprint(i), Body: []byte(strings.Repeat("0123456789abcdef", 16)), Headers: []broker.Header{
			{Name: "messageId", Value: waybill.NewID().String()}, {Name: "producer", Value: "bench"}, {Name: "attempt", Value: "0"},
		}}
	}
	return ms
}

type benchWay interface {
	publish(b *testing.B)
	receive(b *testing.B, n int)
}

type benchSeam struct {
	conn     broker.Conn
	receiver broker.Receiver
	ms       []broker.Message
}

func (s *benchSeam) publish(b *testing.B) {
	results, err := s.conn.Publish(context.Background(), s.ms, waybill.Durable)
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
	for n > 0 {
		deliveries, err := s.receiver.Receive(context.Background(), min(n, benchBatch))
		if err == nil {
			err = s.receiver.Settle(context.Background(), deliveries, broker.Ack)
		}
		if err != nil {
			b.Fatal(err)
		}
		n -= len(deliveries)
	}
}

type benchBare struct {
	producer, consumer *kgo.Client
	ms                 []broker.Message
}

func newBenchBare(b *testing.B, topic string) *benchBare {
	u, err := url.Parse(testserver.Address(b, server))
	if err != nil {
		b.Fatal(err)
	}
	password, _ := u.User.Password()
	s := &benchBare{ms: benchMessages(topic)}
	options := []kgo.Opt{kgo.SeedBrokers(u.Host), kgo.SASL(plainAuth(u.User.Username(), password))}
	if s.producer, err = kgo.NewClient(append(options, kgo.ProducerLinger(0))...); err == nil {
		b.Cleanup(s.producer.Close)
		s.consumer, err = kgo.NewClient(append(options, kgo.ConsumerGroup("bare:"+topic), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit())...)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.consumer.Close)
	return s
}

func (s *benchBare) publish(b *testing.B) {
	records := make([]*kgo.Record, len(s.ms))
	for i := range s.ms {
		m := &s.ms[i]
		records[i] = &kgo.Record{Topic: m.Destination, Key: []byte(m.Key), Value: m.Body}
		for _, h := range m.Headers {
			records[i].Headers = append(records[i].Headers, kgo.RecordHeader{Key: h.Name, Value: []byte(h.Value)})
		}
	}
	if err := s.producer.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		b.Fatal(err)
	}
}

func (s *benchBare) receive(b *testing.B, n int) {
	for n > 0 {
		fetches := s.consumer.PollRecords(context.Background(), min(n, benchPrefetch))
		if err := fetches.Err(); err != nil {
			b.Fatal(err)
		}
		n -= fetches.NumRecords()
	}
	if err := s.consumer.CommitUncommittedOffsets(context.Background()); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkKafka(b *testing.B) {
	publish := func(b *testing.B, w benchWay) {
		for range benchTurn {
			w.publish(b)
		}
	}
	receive := func(b *testing.B, w benchWay) { w.receive(b, benchTurn*benchBatch) }
	for _, phase := range []struct {
		name               string
		before, run, after func(*testing.B, benchWay)
	}{
		{"publish", nil, publish, receive},
		{"receive", publish, receive, nil},
	} {
		b.Run(phase.name, func(b *testing.B) {
			c := connect(b, open(b, testserver.Address(b, server), kafka.Options{}))
			names := []string{newName(), newName()}
			ways := make([]benchWay, 2)
			for k, name := range names {
				fates(b, c, benchMessages(name), broker.Confirmed) // makes the topic
				if k == 0 {
					ways[k] = newBenchBare(b, name)
				} else {
					ways[k] = &benchSeam{conn: c, receiver: subscribe(b, c, name, benchPrefetch), ms: benchMessages(name)}
				}
				ways[k].receive(b, benchBatch) // until the group has assigned partitions
			}
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
					if phase.after != nil {
						phase.after(b, ways[k])
					}
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
