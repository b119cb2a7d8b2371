package nats_test

import (
	"context"
	"errors"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/broker/nats"
)

func BenchmarkNATS(b *testing.B) {
	address := "nats://" + newServer(b).address()
	adapter, err := nats.New(address, nil)
	if err != nil {
		b.Fatal(err)
	}
	servertest.SideBySide(b, adapter, func(b *testing.B, queue string) servertest.Client { return newBareClient(b, address, queue) })
}

// bareClient is the library used in its fastest way: it publishes asynchronously, fetches
// batches and acknowledges without waiting.
type bareClient struct {
	js       jetstream.JetStream
	consumer jetstream.Consumer
}

func newBareClient(b *testing.B, address, queue string) *bareClient {
	nc, err := natsgo.Connect(address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	c := &bareClient{}
	if c.js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(servertest.BenchBatch)); err == nil {
		// A work queue has one consumer, the adapter's.
		c.consumer, err = c.js.Consumer(b.Context(), "waybill-queue-"+queue, "waybill")
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			c.consumer, err = c.js.CreateConsumer(b.Context(), "waybill-queue-"+queue, jetstream.ConsumerConfig{
				Durable: "waybill", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1,
			})
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func (c *bareClient) Publish(ms []broker.Message, _ waybill.Transport) error {
	futures := make([]jetstream.PubAckFuture, len(ms))
	for i := range ms {
		m := natsgo.NewMsg(ms[i].Destination)
		m.Data = ms[i].Body
		for _, h := range ms[i].Headers {
			m.Header.Set(h.Name, h.Value)
		}
		var err error
		if futures[i], err = c.js.PublishMsgAsync(m); err != nil {
			return err
		}
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return err
		}
	}
	return nil
}

func (c *bareClient) Receive(n int) error {
	for n > 0 {
		batch, err := c.consumer.Fetch(min(n, servertest.BenchBatch), jetstream.FetchMaxWait(time.Minute))
		if err != nil {
			return err
		}
		for m := range batch.Messages() {
			if err := m.Ack(); err != nil {
				return err
			}
			n--
		}
		if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	return nil
}
