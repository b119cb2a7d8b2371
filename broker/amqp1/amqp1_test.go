package amqp1_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/amqp1"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/internal/testserver"
)

const durable = waybill.Durable

func TestNewTellsWhatIsWrong(t *testing.T) {
	for address, want := range map[string]string{
		"tcp://h":                   "begins with none of amqp1://, amqp1s://",
		"amqp1://":                  "no host",
		"amqp1://u:s3cret#@h":       "", // the password's end is taken for a fragment
		"amqp1://u:s3cr%et@h":       "percent-encoded",
		"amqp1://h/path":            "path",
		"amqp1://h?ca=x":            "needs a scheme with TLS",
		"amqp1://h?prefetch=1":      "unknown parameter",
		"amqp1://h?kind=rabbit":     "kind",
		"amqp1s://h?ca=/nowhere":    "ca",
		"amqp1s://h?cert=/x":        "go together",
		"amqp1s://u:s3cret@h?x=%zz": "",
	} {
		_, err := amqp1.New(address, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", address, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cr") {
			t.Errorf("%s: the error shows the password: %v", address, err)
		}
	}
	_, err := amqp1.New("amqp1://h?kind=x", &amqp1.Options{IdleTimeout: -1, MaxMessage: -1})
	for _, want := range []string{"kind", "IdleTimeout", "MaxMessage"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s in it, too", err, want)
		}
	}
}

func TestAWrongPasswordIsRefusedAndNotShown(t *testing.T) {
	for _, variable := range servers {
		t.Run(variable, func(t *testing.T) {
			u, err := url.Parse(testserver.Address(t, variable))
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.UserPassword(u.User.Username(), "wr0ng-w0rd")
			_, err = open(t, u.String(), nil).Connect(t.Context())
			if !errors.Is(err, broker.ErrRefused) || strings.Contains(err.Error(), "wr0ng") {
				t.Errorf("Connect: %v; want ErrRefused without the password", err)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	for _, variable := range servers {
		t.Run(variable, func(t *testing.T) {
			address := testserver.Address(t, variable+"_TLS")
			ca := "?ca=" + url.QueryEscape(os.Getenv("WAYBILL_TEST_CA"))
			c, err := open(t, address+ca, nil).Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			results, err := c.Publish(t.Context(), batch("over TLS"), durable)
			if err != nil || results[0].Fate != broker.Confirmed {
				t.Errorf("%v, %v", results, err)
			}
			r, err := c.Subscribe(t.Context(), broker.Subscription{Destination: "q", Prefetch: 10})
			if err != nil {
				t.Fatal(err)
			}
			d, err := r.Receive(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Settle(t.Context(), d, broker.Ack); err != nil {
				t.Error(err)
			}
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
			for what, address := range map[string]string{
				"an authority that is not trusted": address,
				"a name that is not the broker's":  address + ca + "&server_name=other.example",
			} {
				if _, err := open(t, address, nil).Connect(t.Context()); !errors.Is(err, broker.ErrRefused) {
					t.Errorf("%s: %v; want ErrRefused", what, err)
				}
			}
		})
	}
}

func TestAConnectionWhoseOtherEndFallsSilentEnds(t *testing.T) {
	for _, variable := range servers {
		t.Run(variable, func(t *testing.T) {
			u, err := url.Parse(testserver.Address(t, variable))
			if err != nil {
				t.Fatal(err)
			}
			var link brokertest.Link
			u.Host, link = brokertest.Proxy(t, u.Host)
			c, err := open(t, u.String(), &amqp1.Options{IdleTimeout: time.Second}).Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(context.Background())
			if _, err := c.Subscribe(t.Context(), broker.Subscription{Destination: "silence", Prefetch: 10}); err != nil {
				t.Fatal(err)
			}
			// Alive while both ends beat, for longer than silence is borne.
			select {
			case <-c.Done():
				t.Fatalf("an idle connection ended: %v", c.Err())
			case <-time.After(4 * time.Second):
			}
			link.Hold()
			defer link.Release()
			select {
			case <-c.Done():
				if err := c.Err(); err == nil || errors.Is(err, broker.ErrClosed) {
					t.Errorf("it ended with %v; want the reason", err)
				}
			case <-time.After(30 * time.Second):
				t.Error("it lives on")
			}
		})
	}
}

func TestARejectedMessageIsADeadLetter(t *testing.T) {
	for variable, deadLetters := range map[string]string{"WAYBILL_TEST_ACTIVEMQ_AMQP1": "ActiveMQ.DLQ", "WAYBILL_TEST_ARTEMIS_AMQP1": "DLQ"} {
		t.Run(variable, func(t *testing.T) {
			c, err := open(t, testserver.Address(t, variable), nil).Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(context.Background())
			queue := "dead-" + waybill.NewID().String()
			m := broker.Message{Destination: queue, Body: []byte("dead"), Headers: []broker.Header{{Name: "messageId", Value: queue}}}
			if results, err := c.Publish(t.Context(), []broker.Message{m}, durable); err != nil || results[0].Fate != broker.Confirmed {
				t.Fatal(results, err)
			}
			r, err := c.Subscribe(t.Context(), broker.Subscription{Destination: queue, Prefetch: 1})
			if err != nil {
				t.Fatal(err)
			}
			d, err := r.Receive(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Settle(t.Context(), d, broker.DeadLetter); err != nil {
				t.Fatal(err)
			}
			dead, err := c.Subscribe(t.Context(), broker.Subscription{Destination: deadLetters, Prefetch: 100})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			for {
				ds, err := dead.Receive(ctx, 100)
				if err != nil {
					t.Fatalf("the dead letter is not in %s: %v", deadLetters, err)
				}
				if err := dead.Settle(ctx, ds, broker.Ack); err != nil {
					t.Fatal(err)
				}
				for i := range ds {
					if id, _ := ds[i].Header("messageId"); id == queue {
						return
					}
				}
			}
		})
	}
}

func TestARequeuedMessageSaysRedelivered(t *testing.T) {
	for _, variable := range servers {
		t.Run(variable, func(t *testing.T) {
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
					t.Errorf("delivery %d says Redelivered %v", i, d[0].Redelivered)
				}
				if err := r.Settle(t.Context(), d, disposition); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func batch(bodies ...string) []broker.Message {
	var ms []broker.Message
	for _, body := range bodies {
		ms = append(ms, broker.Message{Destination: "q", Body: []byte(body)})
	}
	return ms
}
