package kafka_test

import (
	"context"
	"net/url"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/broker/kafka"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

func BenchmarkKafka(b *testing.B) {
	servertest.SideBySide(b, open(b, testserver.Address(b, server), kafka.Options{}), newBareClient)
}

func plainAuth(user, password string) sasl.Mechanism {
	return plain.Auth{User: user, Pass: password}.AsMechanism()
}

// bareClient is the library used in its fastest way: it produces a whole batch at once, and
// commits offsets once for many messages.
type bareClient struct{ durable, transient, consumer *kgo.Client }

func newBareClient(b *testing.B, topic string) servertest.Client {
	u, err := url.Parse(testserver.Address(b, server))
	if err != nil {
		b.Fatal(err)
	}
	password, _ := u.User.Password()
	client := func(more ...kgo.Opt) *kgo.Client {
		c, err := kgo.NewClient(append(more, kgo.SeedBrokers(u.Host), kgo.SASL(plainAuth(u.User.Username(), password)), kgo.ProducerLinger(0))...)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.Close)
		return c
	}
	return &bareClient{
		durable:   client(),
		transient: client(kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()),
		consumer: client(kgo.ConsumerGroup("bare:"+topic), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())),
	}
}

func (c *bareClient) Publish(ms []broker.Message, transport waybill.Transport) error {
	records := make([]*kgo.Record, len(ms))
	for i := range ms {
		m := &ms[i]
		records[i] = &kgo.Record{Topic: m.Destination, Key: []byte(m.Key), Value: m.Body}
		for _, h := range m.Headers {
			records[i].Headers = append(records[i].Headers, kgo.RecordHeader{Key: h.Name, Value: []byte(h.Value)})
		}
	}
	producer := c.durable
	if transport == waybill.Transient {
		producer = c.transient
	}
	return producer.ProduceSync(context.Background(), records...).FirstErr()
}

func (c *bareClient) Receive(n int) error {
	for n > 0 {
		fetches := c.consumer.PollRecords(context.Background(), min(n, servertest.BenchPrefetch))
		if err := fetches.Err(); err != nil {
			return err
		}
		n -= fetches.NumRecords()
	}
	return c.consumer.CommitUncommittedOffsets(context.Background())
}
