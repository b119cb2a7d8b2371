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
	servertest.SideBySide(b, adapter, func(b *testing.B, queue string) servertest.Way { return newBareWay(b, address, queue) })
}

// bareWay is the client's own fastest: published asynchronously, fetched in batches,
// and acknowledged without waiting.
type bareWay struct {
	js       jetstream.JetStream
	consumer jetstream.Consumer
}

func newBareWay(b *testing.B, address, queue string) *bareWay {
	c, err := natsgo.Connect(address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	w := &bareWay{}
	if w.js, err = jetstream.New(c, jetstream.WithPublishAsyncMaxPending(servertest.BenchBatch)); err == nil {
		// The stream's only consumer: a work queue has one.
		w.consumer, err = w.js.Consumer(b.Context(), "waybill-queue-"+queue, "waybill")
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			w.consumer, err = w.js.CreateConsumer(b.Context(), "waybill-queue-"+queue, jetstream.ConsumerConfig{
				Durable: "waybill", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1,
			})
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	return w
}

func (w *bareWay) Publish(ms []broker.Message, _ waybill.Transport) error {
	futures := make([]jetstream.PubAckFuture, len(ms))
	for i := range ms {
		m := natsgo.NewMsg(ms[i].Destination)
		m.Data = ms[i].Body
		for _, h := range ms[i].Headers {
			m.Header.Set(h.Name, h.Value)
		}
		var err error
		if futures[i], err = w.js.PublishMsgAsync(m); err != nil {
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

func (w *bareWay) Receive(n int) error {
	for n > 0 {
		batch, err := w.consumer.Fetch(min(n, servertest.BenchBatch), jetstream.FetchMaxWait(time.Minute))
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
