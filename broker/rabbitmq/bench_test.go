package rabbitmq_test

import (
	"errors"
	"net/url"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/broker/rabbitmq"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

func BenchmarkRabbitMQ(b *testing.B) {
	servertest.SideBySide(b, open(b, testserver.Address(b, server), rabbitmq.Options{}), newBareClient)
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

// bareClient is the library used in its fastest way: it waits for the confirmations of a
// batch together, and acknowledges many messages at once.
type bareClient struct {
	queue             string
	publisher, reader *amqp.Channel
	deliveries        <-chan amqp.Delivery
}

func newBareClient(b *testing.B, queue string) servertest.Client {
	c := &bareClient{queue: queue}
	for _, ch := range []**amqp.Channel{&c.publisher, &c.reader} {
		var err error
		if *ch, err = bare(b, queue).Channel(); err != nil {
			b.Fatal(err)
		}
	}
	err := c.publisher.Confirm(false)
	if err == nil {
		err = c.reader.Qos(servertest.BenchPrefetch, 0, false)
	}
	if err == nil {
		c.deliveries, err = c.reader.Consume(queue, "", false, false, false, false, nil)
	}
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func (c *bareClient) Publish(ms []broker.Message, transport waybill.Transport) error {
	mode := amqp.Persistent
	if transport == waybill.Transient {
		mode = amqp.Transient
	}
	confirms := make([]*amqp.DeferredConfirmation, len(ms))
	for i := range ms {
		headers := amqp.Table{}
		for _, h := range ms[i].Headers {
			headers[h.Name] = h.Value
		}
		var err error
		confirms[i], err = c.publisher.PublishWithDeferredConfirm("", c.queue, true, false, amqp.Publishing{DeliveryMode: mode, Headers: headers, Body: ms[i].Body})
		if err != nil {
			return err
		}
	}
	for _, confirm := range confirms {
		if !confirm.Wait() {
			return errors.New("not confirmed")
		}
	}
	return nil
}

func (c *bareClient) Receive(n int) error {
	for i := 1; i <= n; i++ {
		d := <-c.deliveries
		if i%servertest.BenchBatch == 0 {
			if err := d.Ack(true); err != nil {
				return err
			}
		}
	}
	return nil
}
