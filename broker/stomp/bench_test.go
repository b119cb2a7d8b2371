package stomp_test

import (
	"net/url"
	"strconv"
	"testing"

	gostomp "github.com/go-stomp/stomp/v3"
	"github.com/go-stomp/stomp/v3/frame"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/servertest"
)

func BenchmarkSTOMP(b *testing.B) {
	servertest.ActiveMQSideBySide(b, protocol, openDefault, newBareClient)
}

// bareClient is the library used in its fastest way: batches in transactions, and one
// acknowledgement for many messages. It acknowledges in a goroutine of its own, since the
// library stops when the receiving one does that while the channel of messages is full.
type bareClient struct {
	publisher, reader *gostomp.Conn
	queue             string // as the server knows it
	messages          *gostomp.Subscription
	acks              chan *gostomp.Message
	acked             chan error
}

func newBareClient(b *testing.B, address, queue string) servertest.Client {
	u, err := url.Parse(address)
	if err != nil {
		b.Fatal(err)
	}
	password, _ := u.User.Password()
	dial := func() *gostomp.Conn {
		c, err := gostomp.Dial("tcp", u.Host, gostomp.ConnOpt.Login(u.User.Username(), password), gostomp.ConnOpt.HeartBeat(0, 0))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.MustDisconnect() })
		return c
	}
	// A prefix that Artemis as the tests set it up knows, too.
	c := &bareClient{publisher: dial(), reader: dial(), queue: "/queue/" + queue, acks: make(chan *gostomp.Message, 2*servertest.BenchPrefetch), acked: make(chan error, 2*servertest.BenchPrefetch)}
	window := strconv.Itoa(servertest.BenchPrefetch << 10)
	c.messages, err = c.reader.Subscribe(c.queue, gostomp.AckClient,
		gostomp.SubscribeOpt.Header("activemq.prefetchSize", strconv.Itoa(servertest.BenchPrefetch)),
		gostomp.SubscribeOpt.Header("consumer-window-size", window))
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for m := range c.acks {
			c.acked <- c.reader.Ack(m)
		}
	}()
	b.Cleanup(func() { close(c.acks) })
	return c
}

func (c *bareClient) Publish(ms []broker.Message, transport waybill.Transport) error {
	tx, err := c.publisher.BeginWithError()
	if err != nil {
		return err
	}
	persistent := strconv.FormatBool(transport == waybill.Durable)
	for i := range ms {
		options := []func(*frame.Frame) error{gostomp.SendOpt.Header("persistent", persistent)}
		for _, h := range ms[i].Headers {
			options = append(options, gostomp.SendOpt.Header(h.Name, h.Value))
		}
		if err := tx.Send(c.queue, "", ms[i].Body, options...); err != nil {
			return err
		}
	}
	return tx.CommitWithReceipt()
}

// ackEvery is how many messages one acknowledgement is for.
const ackEvery = 100

func (c *bareClient) Receive(n int) error {
	var last error
	for i := 1; i <= n; i++ {
		m := <-c.messages.C
		if m.Err != nil {
			return m.Err
		}
		if i%ackEvery != 0 {
			continue
		}
		c.acks <- m
		if i == n {
			for range n / ackEvery {
				if err := <-c.acked; err != nil {
					last = err
				}
			}
		}
	}
	return last
}
