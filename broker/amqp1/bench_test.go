package amqp1_test

import (
	"strings"
	"testing"

	"github.com/Azure/go-amqp"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/servertest"
)

func BenchmarkAMQP1(b *testing.B) {
	servertest.ActiveMQSideBySide(b, protocol, openDefault, newBareClient)
}

// bareClient is the library used in its fastest way: it sends a whole batch before it
// waits, and does not wait for acceptances.
type bareClient struct {
	b        *testing.B
	sender   *amqp.Sender
	receiver *amqp.Receiver
}

func newBareClient(b *testing.B, address, queue string) servertest.Client {
	c := &bareClient{b: b}
	session := func() *amqp.Session {
		c, err := amqp.Dial(b.Context(), strings.Replace(address, "amqp1://", "amqp://", 1), nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Close() })
		s, err := c.NewSession(b.Context(), nil)
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	var err error
	if c.sender, err = session().NewSender(b.Context(), queue, &amqp.SenderOptions{TargetCapabilities: []string{"queue"}}); err == nil {
		// With credit for more, ActiveMQ Classic stops after two of its pages.
		c.receiver, err = session().NewReceiver(b.Context(), queue, &amqp.ReceiverOptions{Credit: 200, SourceCapabilities: []string{"queue"}})
	}
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func (c *bareClient) Publish(ms []broker.Message, transport waybill.Transport) error {
	receipts := make([]amqp.SendReceipt, 0, len(ms))
	for i := range ms {
		m := amqp.NewMessage(ms[i].Body)
		m.Header = &amqp.MessageHeader{Durable: transport == durable}
		m.ApplicationProperties = map[string]any{}
		for _, h := range ms[i].Headers {
			m.ApplicationProperties[h.Name] = h.Value
		}
		receipt, err := c.sender.SendWithReceipt(c.b.Context(), m, nil)
		if err != nil {
			return err
		}
		receipts = append(receipts, receipt)
	}
	for i := range receipts {
		if _, err := receipts[i].Wait(c.b.Context()); err != nil {
			return err
		}
	}
	return nil
}

func (c *bareClient) Receive(n int) error {
	for range n {
		m, err := c.receiver.Receive(c.b.Context(), nil)
		if err == nil {
			err = c.receiver.AcceptMessage(c.b.Context(), m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
