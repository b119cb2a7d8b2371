package stomp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/go-stomp/stomp/v3/frame"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
	"github.com/waybill-go/waybill/internal/test/patience"
)

const (
	classic = "ActiveMQ/5.18.3"
	artemis = "ActiveMQ-Artemis/2.40.0"
)

// arrival is a MESSAGE, whose subscription and ack delivering adds.
func arrival(body string, headers ...string) *frame.Frame {
	f := frame.New(frame.MESSAGE, headers...)
	f.Body = []byte(body)
	return f
}

// delivering returns a broker that sends each subscriber these messages, numbered by ack.
func delivering(t *testing.T, server string, messages ...*frame.Frame) *fake {
	return newFake(t, server, func(f *frame.Frame) []*frame.Frame {
		answers := receipt(f)
		if f.Command != frame.SUBSCRIBE {
			return answers
		}
		for i, m := range messages {
			m := m.Clone()
			m.Header.Add(frame.Subscription, f.Header.Get(frame.Id))
			m.Header.Add(frame.Ack, string(rune('a'+i)))
			answers = append(answers, m)
		}
		return answers
	})
}

// received receives n messages from a fake.
func received(t *testing.T, server *fake, n int) []broker.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience.Limit)
	defer cancel()
	r, err := dialFake(t, server, nil).Subscribe(ctx, broker.Subscription{Destination: "q", Prefetch: 100})
	if err != nil {
		t.Fatal(err)
	}
	var all []broker.Delivery
	for len(all) < n {
		deliveries, err := r.Receive(ctx, n)
		if err != nil {
			t.Fatalf("after %d of %d: %v", len(all), n, err)
		}
		all = append(all, deliveries...)
	}
	return all
}

func TestABodyThatSTOMPDoesNotShowIsAProblem(t *testing.T) {
	const id = frame.MessageId
	for name, c := range map[string]struct {
		server  string
		message *frame.Frame
		hidden  bool
	}{
		"Classic: nothing":                         {classic, arrival("", id, "ID:x"), true},
		"Classic: a counted body":                  {classic, arrival("", id, "ID:x", frame.ContentLength, "0"), false},
		"Classic: text":                            {classic, arrival("text", id, "ID:x"), false},
		"Artemis: nothing":                         {artemis, arrival("", id, "1"), true},
		"Artemis: bytes that begin with zero":      {artemis, arrival("\x00a", frame.ContentLength, "2", id, "1"), false},
		"Artemis: the beginning of a map":          {artemis, arrival("\x00\xd8\x80", id, "1", frame.ContentLength, "3"), true},
		"Artemis: text":                            {artemis, arrival("text", id, "1", frame.ContentLength, "4"), false},
		"Artemis: no body, by AMQP":                {artemis, arrival("", id, "1", "JMS_AMQP_ORIGINAL_ENCODING", "1"), false},
		"Artemis: text without a body, by AMQP":    {artemis, arrival("", id, "1", "JMS_AMQP_ORIGINAL_ENCODING", "4", "JMS_AMQP_MA_x-opt-jms-msg-type", "5"), false},
		"Artemis: a map, by AMQP":                  {artemis, arrival("\x00x", id, "1", frame.ContentLength, "2", "JMS_AMQP_ORIGINAL_ENCODING", "7"), true},
		"Artemis: a list, by AMQP":                 {artemis, arrival("x", id, "1", "JMS_AMQP_ORIGINAL_ENCODING", "8"), true},
		"Artemis: a Java object, by AMQP":          {artemis, arrival("", id, "1", "JMS_AMQP_ORIGINAL_ENCODING", "2", "JMS_AMQP_MA_x-opt-jms-msg-type", "1"), true},
		"Artemis: a map of Qpid JMS":               {artemis, arrival("x", id, "1", "JMS_AMQP_MA_x-opt-jms-msg-type", "2"), true},
		"Artemis: text of zero and more, by AMQP":  {artemis, arrival("\x00x", id, "1", frame.ContentLength, "2", "JMS_AMQP_ORIGINAL_ENCODING", "5"), false},
		"Classic: an encoded message that is none": {classic, arrival("no AMQP", id, "ID:x", frame.ContentLength, "7", "JMS_AMQP_NATIVE", "true"), true},
	} {
		t.Run(name, func(t *testing.T) {
			d := received(t, delivering(t, c.server, c.message), 1)[0]
			if (d.Problem != nil) != c.hidden {
				t.Errorf("the problem is %v; want one: %v", d.Problem, c.hidden)
			}
			if string(d.Body) != string(c.message.Body) {
				t.Errorf("the body is %q, want what came, %q", d.Body, c.message.Body)
			}
		})
	}
}

func TestTheFieldsOfJMSReachTheHandler(t *testing.T) {
	d := received(t, delivering(t, artemis, arrival("x", "type", "order", "correlation-id", "c:1", "reply-to", "/queue/answers",
		"JMSXDeliveryCount", "1", "NATIVE_MESSAGE_ID", "ID:1", "__HDR_ARRIVAL", "0", "_AMQ_GROUP_SEQUENCE", "0", "kind", "k")), 1)[0]
	want := map[string]string{"JMSType": "order", "JMSCorrelationID": "c:1", "JMSReplyTo": "/queue/answers", "kind": "k"}
	if len(d.Headers) != len(want) {
		t.Errorf("got the headers %v, want %v", d.Headers, want)
	}
	for name, value := range want {
		if got, _ := d.Header(name); got != value {
			t.Errorf("the header %s is %q, want %q", name, got, value)
		}
	}
}

// encoded is a message of AMQP as Classic hands it over, with an id or without one.
func encoded(t *testing.T, body string, id any) *frame.Frame {
	t.Helper()
	m := amqp.Message{Value: body, Properties: &amqp.MessageProperties{MessageID: id}}
	data, err := m.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	shown := "ID:vm-33911-1795794982257-3:8:0:0:7" // the broker's own
	if id != nil {
		shown = "ID:x:5"
	}
	f := arrival(string(data), frame.MessageId, shown, "JMS_AMQP_NATIVE", "true", "JMS_AMQP_PROPERTIES", "true")
	f.Header.Add(frame.ContentLength, strconv.Itoa(len(data)))
	return f
}

// Classic hangs up at the acknowledgement, and the message would come again for ever.
func TestAMessageThatClassicDoesNotLetAcknowledgeEndsItsOwnSubscriptionAlone(t *testing.T) {
	for name, stuck := range map[string]*frame.Frame{
		"encoded":     encoded(t, "stuck", "ID:x:5"),
		"transformed": arrival("stuck", frame.MessageId, "ID:04bd7bff-a590-4033-9a6c-586d335261f1:1:1:1-1", "JMS_AMQP_PROPERTIES", "true"),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience.Limit)
			defer cancel()
			server := delivering(t, classic, stuck, encoded(t, "sound", nil), arrival("sound", frame.MessageId, "ID:x:y"))
			c := dialFake(t, server, nil)
			r, err := c.Subscribe(ctx, broker.Subscription{Destination: "q", Prefetch: 100})
			if err != nil {
				t.Fatal(err)
			}
			sound := 0
			for {
				deliveries, err := r.Receive(ctx, 10)
				if err != nil {
					if !errors.Is(err, jmsbroker.ErrElsewhere) || !strings.Contains(err.Error(), "ID:") {
						t.Errorf("Receive: %v; want ErrElsewhere with the id", err)
					}
					break
				}
				for i := range deliveries {
					if string(deliveries[i].Body) != "sound" {
						t.Errorf("received %q, want nothing that cannot be settled", deliveries[i].Body)
					}
				}
				if err := r.Settle(ctx, deliveries, broker.Ack); err != nil {
					t.Error(err)
				}
				sound += len(deliveries)
			}
			if sound != 2 {
				t.Errorf("received %d messages from behind it, want 2", sound)
			}
			if c.Err() != nil {
				t.Errorf("the connection ended: %v; want that it goes on", c.Err())
			}
			results, err := c.Publish(ctx, batch("after"), durable)
			if err != nil || results[0].Fate != broker.Confirmed {
				t.Errorf("Publish: %v, %v; want confirmed", results, err)
			}
			server.mu.Lock()
			defer server.mu.Unlock()
			for _, f := range server.frames {
				if f.Command == frame.ACK && f.Header.Get(frame.Id) == "a" {
					t.Error("it was acknowledged, want that it is not")
				}
			}
		})
	}
}

func TestABrokerOfAnotherProtocolIsToldFromOneThatIsSlow(t *testing.T) {
	for name, c := range map[string]struct{ says, want string }{
		"silence": {"", "does this port speak STOMP?"},
		"AMQP":    {"AMQP\x00\x01\x00\x00", "AMQP"},
		"HTTP":    {"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, "stomp://"+saying(t, c.says), nil)
			b.SetAnswerTime(50 * time.Millisecond)
			_, err := b.Connect(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Connect: %v; want an error with %q", err, c.want)
			}
		})
	}
}

// saying listens, and says the same to everybody: with nothing to say, it only listens.
func saying(t *testing.T, text string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				if text != "" {
					io.WriteString(c, text)
					c.(*net.TCPConn).CloseWrite()
				}
				io.Copy(io.Discard, c)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}
