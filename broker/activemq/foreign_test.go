package activemq_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/go-amqp"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/amqp1"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
	"github.com/waybill-go/waybill/broker/stomp"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// foreigner sends what JMS clients of AMQP send.
type foreigner struct {
	session *amqp.Session
	server  string
}

func newForeigner(ctx context.Context, t *testing.T, server string) *foreigner {
	t.Helper()
	u, err := url.Parse(testserver.Address(t, "WAYBILL_TEST_"+server+"_AMQP1"))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	conn, err := amqp.Dial(ctx, "amqp://"+u.Host, &amqp.ConnOptions{SASLType: amqp.SASLTypePlain(u.User.Username(), password)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &foreigner{session, server}
}

func (f *foreigner) send(ctx context.Context, t *testing.T, destination string, topic bool, messages ...*amqp.Message) {
	t.Helper()
	kind, capability := jmsbroker.Classic, "queue"
	if f.server == "ARTEMIS" {
		kind = jmsbroker.Artemis
	}
	if topic {
		capability = "topic"
	}
	sender, err := f.session.NewSender(ctx, jmsbroker.AMQPAddress(kind, destination, topic), &amqp.SenderOptions{TargetCapabilities: []string{capability}})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		m.Header = &amqp.MessageHeader{Durable: true}
		if err := sender.Send(ctx, m, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// jms is a message of Qpid JMS: kind is its number there, id may be nil.
func jms(kind int8, value any, id any) *amqp.Message {
	order, answers := "order", "queue://answers"
	m := &amqp.Message{
		Annotations: amqp.Annotations{"x-opt-jms-msg-type": kind},
		Properties:  &amqp.MessageProperties{MessageID: id, Subject: &order, CorrelationID: "c-1", ReplyTo: &answers},
		Value:       value,
	}
	if data, ok := value.([]byte); ok {
		m.Value, m.Data = nil, [][]byte{data}
	}
	return m
}

// nextOf receives n messages, subscribing again where a subscription ends, and acknowledges
// them. It returns the ends' reasons, too.
func nextOf(ctx context.Context, t *testing.T, c broker.Conn, sub broker.Subscription, n int) (all []broker.Delivery, ends []error) {
	t.Helper()
	for {
		r, err := c.Subscribe(ctx, sub)
		if err != nil {
			t.Fatal(err)
		}
		for len(all) < n {
			var deliveries []broker.Delivery
			if deliveries, err = r.Receive(ctx, n); err != nil {
				break
			}
			if err := r.Settle(ctx, deliveries, broker.Ack); err != nil {
				t.Fatal(err)
			}
			all = append(all, deliveries...)
		}
		if closing := r.Close(ctx); closing != nil {
			t.Error(closing)
		}
		if err == nil {
			return all, ends
		}
		if ctx.Err() != nil {
			t.Fatalf("after %d of %d messages: %v, after %v", len(all), n, err, ends)
		}
		ends = append(ends, err)
	}
}

// What JMS clients send over AMQP is read, or refused with a reason, over each adapter, and
// nothing arrives empty that is not.
func TestWhatJMSSendsIsReadOrRefused(t *testing.T) {
	for _, server := range []string{"ACTIVEMQ", "ARTEMIS"} {
		for _, adapter := range []string{"stomp", "amqp1", "activemq"} {
			t.Run(server+"/"+adapter, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), patience.Limit)
				defer cancel()
				var b broker.Broker
				var err error
				switch adapter {
				case "stomp":
					b, err = stomp.New(testserver.Address(t, "WAYBILL_TEST_"+server+"_STOMP"), nil)
				case "amqp1":
					b, err = amqp1.New(testserver.Address(t, "WAYBILL_TEST_"+server+"_AMQP1"), nil)
				default:
					b = open(t, address(t, server, ""))
				}
				if err != nil {
					t.Fatal(err)
				}
				c := connection(ctx, t, b)
				queue := "jms-" + waybill.NewID().String()
				hidden := server == "ARTEMIS" && adapter == "stomp"
				sent := map[string]*amqp.Message{
					"hällo 🚚": jms(5, "hällo 🚚", nil), "": jms(0, nil, nil), "\x00\x01é": jms(3, []byte("\x00\x01é"), nil),
					`{"n":5,"raw":"AQI=","state":"shipped"}`: jms(2, map[string]any{"state": "shipped", "n": int32(5), "raw": []byte{1, 2}}, nil),
					"java":                                   jms(1, []byte("java"), nil),
				}
				if !hidden { // Artemis does not hand over a list over STOMP
					sent[`["one",2]`] = jms(4, []any{"one", int32(2)}, nil)
				}
				var messages []*amqp.Message
				for body, m := range sent {
					m.ApplicationProperties = map[string]any{"want": body}
					messages = append(messages, m)
				}
				newForeigner(ctx, t, server).send(ctx, t, queue, false, messages...)
				all, ends := nextOf(ctx, t, c, broker.Subscription{Destination: queue, Prefetch: 100}, len(sent))
				if len(ends) > 0 {
					t.Errorf("subscriptions ended: %v; want none", ends)
				}
				for i := range all {
					d := &all[i]
					want, _ := d.Header("want")
					refused := want == "java" || hidden && strings.HasPrefix(want, "{")
					switch {
					case refused != (d.Problem != nil):
						t.Errorf("%q has the problem %v; want one: %v", want, d.Problem, refused)
					case !refused && string(d.Body) != want:
						t.Errorf("%q arrived as %q", want, d.Body)
					}
					for name, want := range map[string]string{"JMSType": "order", "JMSCorrelationID": "c-1"} {
						if got, _ := d.Header(name); got != want {
							t.Errorf("the header %s is %q, want %q", name, got, want)
						}
					}
					if reply, _ := d.Header("JMSReplyTo"); !strings.Contains(reply, "answers") {
						t.Errorf("JMSReplyTo is %q, want the queue", reply)
					}
					for _, h := range d.Headers {
						if jmsbroker.ReservedHeader(h.Name) {
							t.Errorf("the header %s reaches the handler", h.Name)
						}
					}
				}
			})
		}
	}
}

// ids are of every type that AMQP has for them, and of forms that STOMP escapes.
var ids = []any{"ID:04bd7bff-a590-4033-9a6c-586d335261f1:1:1:1-1", "ID:x:5", "a\nb:c\\d", "", uint64(7), amqp.UUID{1}, []byte{0xff, 0, 10}}

func TestAnyIDOfAMessageIsTakenOverOneConnectorOrTheOther(t *testing.T) {
	for _, server := range []string{"ACTIVEMQ", "ARTEMIS"} {
		for _, topic := range []bool{false, true} {
			t.Run(server+map[bool]string{true: "/topic"}[topic], func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), patience.Limit)
				defer cancel()
				c := connection(ctx, t, open(t, address(t, server, "")))
				sub := broker.Subscription{Destination: "ids-" + waybill.NewID().String(), Topic: topic, Group: "shop", Prefetch: 100}
				r, err := c.Subscribe(ctx, sub) // a topic has a subscription from now on
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Close(ctx); err != nil {
					t.Fatal(err)
				}
				var messages []*amqp.Message
				for _, id := range ids {
					messages = append(messages, jms(5, "text", id))
				}
				newForeigner(ctx, t, server).send(ctx, t, sub.Destination, topic, messages...)
				all, ends := nextOf(ctx, t, c, sub, len(ids))
				for i := range all {
					if string(all[i].Body) != "text" || all[i].Problem != nil {
						t.Errorf("a message arrived as %q, with the problem %v", all[i].Body, all[i].Problem)
					}
				}
				if moved := server == "ACTIVEMQ"; len(ends) > 1 || (len(ends) == 1) != moved {
					t.Errorf("subscriptions ended for %v; want once, with Classic", ends)
				}
				for _, err := range ends {
					if !errors.Is(err, jmsbroker.ErrElsewhere) {
						t.Errorf("a subscription ended for %v, want ErrElsewhere", err)
					}
				}
				if c.Err() != nil {
					t.Errorf("the connection ended: %v", c.Err())
				}
				if topic {
					if err := c.(broker.Remover).Remove(ctx, sub); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

func connection(ctx context.Context, t *testing.T, b broker.Broker) broker.Conn {
	t.Helper()
	c, err := b.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	return c
}
