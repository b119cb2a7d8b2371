package amqp1_test

import (
	"context"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/amqp1"
	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

const durable = waybill.Durable

func TestNewSaysWhatIsWrong(t *testing.T) {
	servertest.WrongActiveMQAddresses(t, "amqp1", "amqp1s", func(address string) error { _, err := amqp1.New(address, nil); return err })
	_, err := amqp1.New("amqp1://h?kind=x", &amqp1.Options{IdleTimeout: -1, MaxMessage: -1})
	for _, want := range []string{"kind", "IdleTimeout", "MaxMessage"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v; want %s in it, too", err, want)
		}
	}
}

func TestAConnectionWhoseOtherEndFallsSilentEnds(t *testing.T) {
	servertest.OnActiveMQ(t, protocol, func(t *testing.T, variable, _ string) {
		address, link := servertest.Through(t, testserver.Address(t, variable))
		_ = servertest.Silence(t, open(t, address, &amqp1.Options{IdleTimeout: time.Second}), link, 4*time.Second)
	})
}

func TestARejectedMessageIsADeadLetter(t *testing.T) {
	for variable, deadLetters := range map[string]string{"WAYBILL_TEST_ACTIVEMQ_AMQP1": "ActiveMQ.DLQ", "WAYBILL_TEST_ARTEMIS_AMQP1": "DLQ"} {
		t.Run(variable, func(t *testing.T) {
			servertest.DeadLetter(t, open(t, testserver.Address(t, variable), nil), deadLetters)
		})
	}
}

func TestARequeuedMessageSaysRedelivered(t *testing.T) {
	servertest.OnActiveMQ(t, protocol, func(t *testing.T, variable, _ string) {
		c, err := open(t, testserver.Address(t, variable), nil).Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(context.Background())
		queue := "again-" + waybill.NewID().String()
		if results, err := c.Publish(t.Context(), []broker.Message{{Destination: queue}}, durable); err != nil || results[0].Fate != broker.Confirmed {
			t.Fatal(results, err)
		}
		r, err := c.Subscribe(t.Context(), broker.Subscription{Destination: queue, Prefetch: 1})
		if err != nil {
			t.Fatal(err)
		}
		for i, disposition := range []broker.Disposition{broker.Requeue, broker.Requeue, broker.Ack} {
			d, err := r.Receive(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			if d[0].Redelivered != (i > 0) {
				t.Errorf("delivery %d says Redelivered %v, want %v", i, d[0].Redelivered, i > 0)
			}
			if err := r.Settle(t.Context(), d, disposition); err != nil {
				t.Fatal(err)
			}
		}
	})
}
