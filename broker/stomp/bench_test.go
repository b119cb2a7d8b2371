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
	"github.com/waybill-go/waybill/internal/test/testserver"
)

func BenchmarkSTOMP(b *testing.B) {
	for _, variable := range servers {
		b.Run(variable, func(b *testing.B) {
			address := testserver.Address(b, variable)
			servertest.SideBySide(b, open(b, address, nil), func(b *testing.B, queue string) servertest.Way {
				return newBareWay(b, address, queue)
			})
		})
	}
}

// bareWay is the client's own fastest: batches in transactions, and one acknowledgement
// for many messages. A goroutine acknowledges, since the library stands still where the
// one that receives does it while its channel is full.
type bareWay struct {
	publisher, reader *gostomp.Conn
	queue             string // as the server knows it
	messages          *gostomp.Subscription
	acks              chan *gostomp.Message
	acked             chan error
}

func newBareWay(b *testing.B, address, queue string) *bareWay {
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
	w := &bareWay{publisher: dial(), reader: dial(), queue: "/queue/" + queue, acks: make(chan *gostomp.Message, 2*servertest.BenchPrefetch), acked: make(chan error, 2*servertest.BenchPrefetch)}
	window := strconv.Itoa(servertest.BenchPrefetch << 10)
	w.messages, err = w.reader.Subscribe(w.queue, gostomp.AckClient,
		gostomp.SubscribeOpt.Header("activemq.prefetchSize", strconv.Itoa(servertest.BenchPrefetch)),
		gostomp.SubscribeOpt.Header("consumer-window-size", window))
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for m := range w.acks {
			w.acked <- w.reader.Ack(m)
		}
	}()
	b.Cleanup(func() { close(w.acks) })
	return w
}

func (w *bareWay) Publish(ms []broker.Message, transport waybill.Transport) error {
	tx, err := w.publisher.BeginWithError()
	if err != nil {
		return err
	}
	persistent := strconv.FormatBool(transport == waybill.Durable)
	for i := range ms {
		options := []func(*frame.Frame) error{gostomp.SendOpt.Header("persistent", persistent)}
		for _, h := range ms[i].Headers {
			options = append(options, gostomp.SendOpt.Header(h.Name, h.Value))
		}
		if err := tx.Send(w.queue, "", ms[i].Body, options...); err != nil {
			return err
		}
	}
	return tx.CommitWithReceipt()
}

// ackEvery is how many messages one acknowledgement is for.
const ackEvery = 100

func (w *bareWay) Receive(n int) error {
	var last error
	for i := 1; i <= n; i++ {
		m := <-w.messages.C
		if m.Err != nil {
			return m.Err
		}
		if i%ackEvery != 0 {
			continue
		}
		w.acks <- m
		if i == n {
			for range n / ackEvery {
				if err := <-w.acked; err != nil {
					last = err
				}
			}
		}
	}
	return last
}
