package rabbitmq_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/broker/rabbitmq"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// limit is how long a test may take.
var limit = patience.Limit

// rig is what a test works with: a connection, one of the client library's own, and names
// that are new.
type rig struct {
	testing.TB
	ctx  context.Context
	conn broker.Conn
	bare *amqp.Channel
}

func newRig(t testing.TB, options rabbitmq.Options) *rig {
	t.Helper()
	r := &rig{TB: t, ctx: servertest.Within(t, limit)}
	r.conn = r.connect(open(t, testserver.Address(t, server), options))
	ch, err := bare(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	r.bare = ch
	return r
}

func (r *rig) connect(b *rabbitmq.Broker) broker.Conn {
	r.Helper()
	c, err := b.Connect(r.ctx)
	if err != nil {
		r.Fatalf("Connect: %v", err)
	}
	r.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// name returns the name of a queue that is removed with the test.
func (r *rig) name() string {
	name := "rt-" + strings.ToLower(rand.Text()[:12])
	r.Cleanup(func() { r.bare.QueueDelete(name, false, false, false) })
	return name
}

func (r *rig) publish(ms ...broker.Message) []broker.Result {
	r.Helper()
	results, err := r.conn.Publish(r.ctx, ms, waybill.Durable)
	if err != nil || len(results) != len(ms) {
		r.Fatalf("Publish: %d results for %d messages, error %v", len(results), len(ms), err)
	}
	return results
}

// fates publishes and compares the fates.
func (r *rig) fates(ms []broker.Message, want ...broker.Fate) []broker.Result {
	r.Helper()
	return servertest.Fates(r.ctx, r, r.conn, ms, want...)
}

func (r *rig) subscribe(sub broker.Subscription) broker.Receiver {
	r.Helper()
	receiver, err := r.conn.Subscribe(r.ctx, sub)
	if err != nil {
		r.Fatalf("Subscribe: %v", err)
	}
	return receiver
}

func (r *rig) receive(receiver broker.Receiver, n int) []broker.Delivery {
	r.Helper()
	var all []broker.Delivery
	for len(all) < n {
		deliveries, err := receiver.Receive(r.ctx, n-len(all))
		if err != nil {
			r.Fatalf("Receive: %v after %d of %d messages", err, len(all), n)
		}
		all = append(all, deliveries...)
	}
	if err := receiver.Settle(r.ctx, all, broker.Ack); err != nil {
		r.Fatalf("Settle: %v", err)
	}
	return all
}

// holds checks that a queue has exactly these messages, in this order.
func (r *rig) holds(queue string, want ...string) {
	r.Helper()
	for i := 0; ; i++ {
		d, ok, err := r.bare.Get(queue, true)
		if err != nil {
			r.Fatalf("get from %q: %v", queue, err)
		}
		switch {
		case !ok && i == len(want):
			return
		case !ok:
			r.Fatalf("%q holds %d messages, want %d: %q", queue, i, len(want), want)
		case i == len(want):
			r.Fatalf("%q holds %.40q too, want no more than %q", queue, d.Body, want)
		case string(d.Body) != want[i]:
			r.Fatalf("message %d in %q is %.40q, want %q", i, queue, d.Body, want[i])
		}
	}
}

func message(destination, body string) broker.Message {
	return broker.Message{Destination: destination, Body: []byte(body), Headers: []broker.Header{{Name: "messageId", Value: waybill.NewID().String()}}}
}

const (
	confirmed    = broker.Confirmed
	refused      = broker.Refused
	unacceptable = broker.Unacceptable
)

func TestNewSaysWhatIsWrongWithAnAddress(t *testing.T) {
	servertest.WrongAddresses(t, func(address string) error { _, err := rabbitmq.New(address, nil); return err }, map[string]string{
		"amqp://host":                            "rabbitmq://",
		"rabbitmq://":                            "no host",
		"rabbitmq://u:s3cret%zz@host":            "valid URL",
		"rabbitmq://u:s3c/ret@host":              "percent-encode",
		"rabbitmq://host/a/b":                    "percent-encode",
		"rabbitmq://host?colour=blue":            "colour",
		"rabbitmq://host?ca=x":                   "TLS",
		"rabbitmq://host?queue_type=stream":      "stream",
		"rabbitmq://host?declare=perhaps":        "declare",
		"rabbitmqs://u:s3cret@host?ca=/no/where": "ca",
	})
}

func TestNewSaysWhatIsWrongWithAnOption(t *testing.T) {
	for want, o := range map[string]rabbitmq.Options{
		"queue type": {QueueType: "x"}, "HeartBeat": {HeartBeat: time.Millisecond}, "MaxMessage": {MaxMessage: -1},
		"Arguments": {Arguments: map[string]any{"x": struct{}{}}},
	} {
		t.Run(want, func(t *testing.T) {
			if _, err := rabbitmq.New("rabbitmq://host", &o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("New with %+v: %v; want an error with %q", o, err, want)
			}
		})
	}
}

func TestNewTakesAddressesOfEveryForm(t *testing.T) {
	for _, address := range []string{"rabbitmq://host", "rabbitmq://u:p%2Fq@host:1/", "rabbitmqs://host/%2Fvhost", "rabbitmq://host/v?queue_type=quorum&declare=false"} {
		t.Run(address, func(t *testing.T) {
			if _, err := rabbitmq.New(address, nil); err != nil {
				t.Errorf("New: %v; want no error", err)
			}
		})
	}
}

func TestAnUnknownVirtualHostAndAPortWithoutTLSAreRefused(t *testing.T) {
	for what, change := range map[string]func(u *url.URL){
		"an unknown virtual host": func(u *url.URL) { u.Path = "/nowhere" },
		"TLS to a plain port":     func(u *url.URL) { u.Scheme = "rabbitmqs" },
	} {
		t.Run(what, func(t *testing.T) {
			u, err := url.Parse(testserver.Address(t, server))
			if err != nil {
				t.Fatal(err)
			}
			change(u)
			if _, err := open(t, u.String(), rabbitmq.Options{}).Connect(servertest.Within(t, limit)); !errors.Is(err, broker.ErrRefused) {
				t.Errorf("Connect: %v; want ErrRefused", err)
			}
		})
	}
}

func TestConnectionsThatBreakDuringTheLoginAreNotRefused(t *testing.T) {
	u, err := url.Parse(testserver.Address(t, server))
	if err != nil {
		t.Fatal(err)
	}
	s := newScript(t, u.Host)
	u.Host = s.address
	s.cutAtLogin.Store(true)
	_, err = open(t, u.String(), rabbitmq.Options{}).Connect(servertest.Within(t, limit))
	if err == nil || errors.Is(err, broker.ErrRefused) {
		t.Errorf("Connect to a server that hangs up: %v; want an error that is not ErrRefused", err)
	}
}

func TestAQueueThatIsDeletedRefusesAndIsMadeAgain(t *testing.T) {
	r := newRig(t, rabbitmq.Options{})
	queue, other := r.name(), r.name()
	r.fates([]broker.Message{message(queue, "1"), message(other, "1")}, confirmed, confirmed)
	if _, err := r.bare.QueueDelete(queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	r.fates([]broker.Message{message(other, "2"), message(queue, "2"), message(queue, "2"), message(other, "3")}, confirmed, refused, refused, confirmed)
	r.fates([]broker.Message{message(queue, "3")}, confirmed)
	r.holds(queue, "3")
	r.holds(other, "1", "2", "3")
}

func TestASubscriptionOfAQueueThatIsDeletedEnds(t *testing.T) {
	r := newRig(t, rabbitmq.Options{})
	queue, other := r.name(), r.name()
	receiver, survivor := r.subscribe(broker.Subscription{Destination: queue, Prefetch: 10}), r.subscribe(broker.Subscription{Destination: other, Prefetch: 10})
	if _, err := r.bare.QueueDelete(queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	if _, err := receiver.Receive(r.ctx, 1); err == nil || errors.Is(err, broker.ErrClosed) || r.ctx.Err() != nil {
		t.Errorf("Receive from a queue that was deleted: %v; want the reason", err)
	}
	if err := receiver.Close(r.ctx); err != nil {
		t.Errorf("Close: %v; want no error", err)
	}
	again := r.subscribe(broker.Subscription{Destination: queue, Prefetch: 10})
	r.fates([]broker.Message{message(queue, "again"), message(other, "other")}, confirmed, confirmed)
	r.receive(again, 1)
	r.receive(survivor, 1)
}

func TestAMessageThatTheServerFindsTooLargeIsAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("it sends 128 MiB")
	}
	r := newRig(t, rabbitmq.Options{})
	queue := r.name()
	large := broker.Message{Destination: queue, Body: make([]byte, 128<<20+1)}
	r.fates([]broker.Message{message(queue, "1"), message(queue, "2"), large, message(queue, "3"), large, message(queue, "4")},
		confirmed, confirmed, unacceptable, confirmed, unacceptable, confirmed)
	if err := r.conn.Err(); err != nil {
		t.Errorf("the connection has ended: %v; want it open", err)
	}
	r.holds(queue, "1", "2", "3", "4")
}

func TestHeadersThatFitNoFrameAreUnacceptable(t *testing.T) {
	r := newRig(t, rabbitmq.Options{})
	queue := r.name()
	// The largest header frame that the server takes, and one byte more.
	var ms []broker.Message
	for _, over := range []int{0, 1} {
		m := broker.Message{Destination: queue, ContentType: "text/plain"}
		size := 131072 - 8 - 14 - 1 - 4 - 1 - len(m.ContentType)
		for i := 0; size > 0; i++ {
			h := broker.Header{Name: fmt.Sprintf("h%d", i), Value: strings.Repeat("v", min(size, 30_000)-6-2)}
			size -= 6 + len(h.Name) + len(h.Value)
			m.Headers = append(m.Headers, h)
		}
		m.Headers[0].Value += strings.Repeat("v", over)
		ms = append(ms, m)
	}
	long := message(queue, "")
	long.ContentType = strings.Repeat("x", 256)
	r.fates(append(ms, long, message(queue, "small")), confirmed, unacceptable, unacceptable, confirmed)
	r.holds(queue, "", "small")
}

func TestAFullQueueRefuses(t *testing.T) {
	r := newRig(t, rabbitmq.Options{Arguments: map[string]any{"x-max-length": 3, "x-overflow": "reject-publish"}})
	queue := r.name()
	var ms []broker.Message
	for i := range 6 {
		ms = append(ms, message(queue, fmt.Sprint(i)))
	}
	results := r.publish(ms...)
	kept := []string{}
	for i, result := range results {
		switch result.Fate {
		case broker.Confirmed:
			kept = append(kept, fmt.Sprint(i))
		case broker.Refused:
		default:
			t.Errorf("message %d is %v: %v; want confirmed or refused", i, result.Fate, result.Err)
		}
	}
	if len(kept) == len(ms) {
		t.Errorf("a queue of three takes %d messages, want fewer", len(kept))
	}
	r.holds(queue, kept...)
}

func TestAQueueThatExistsIsUsedAsItIs(t *testing.T) {
	r := newRig(t, rabbitmq.Options{QueueType: "quorum"})
	queue := r.name()
	if _, err := r.bare.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-max-length": 100}); err != nil {
		t.Fatal(err)
	}
	topic := r.name()
	if err := r.bare.ExchangeDeclare(topic, "topic", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.bare.ExchangeDelete(topic, false, false) })
	t.Cleanup(func() { r.bare.QueueDelete(topic+">g", false, false, false) })
	receiver := r.subscribe(broker.Subscription{Destination: topic, Topic: true, Group: "g", Prefetch: 10})
	onTopic := message(topic, "to the topic")
	onTopic.Topic = true
	r.fates([]broker.Message{message(queue, "to the queue"), onTopic}, confirmed, confirmed)
	r.receive(receiver, 1)
	r.receive(r.subscribe(broker.Subscription{Destination: queue, Prefetch: 10}), 1)
}

func TestATopicThatIsDeletedRefusesAndLeavesTheOthersAlone(t *testing.T) {
	r := newRig(t, rabbitmq.Options{})
	topic, queue := r.name(), r.name()
	onTopic := message(topic, "t")
	onTopic.Topic = true
	r.fates([]broker.Message{onTopic, message(queue, "0")}, confirmed, confirmed)
	if err := r.bare.ExchangeDelete(topic, false, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.bare.ExchangeDelete(topic, false, false) })
	r.fates([]broker.Message{onTopic, message(queue, "1"), onTopic, message(queue, "2")}, refused, confirmed, refused, confirmed)
	r.fates([]broker.Message{onTopic}, confirmed)
	r.holds(queue, "0", "1", "2")
}

func TestADeadLetterGoesWhereTheQueueSays(t *testing.T) {
	r := newRig(t, rabbitmq.Options{})
	dead := r.name()
	r.fates([]broker.Message{message(dead, "0")}, confirmed)
	r.conn = r.connect(open(t, testserver.Address(t, server), rabbitmq.Options{Arguments: map[string]any{
		"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead,
	}}))
	queue := r.name()
	r.fates([]broker.Message{message(queue, "bad")}, confirmed)
	receiver := r.subscribe(broker.Subscription{Destination: queue, Prefetch: 10})
	d, err := receiver.Receive(r.ctx, 1)
	if err == nil {
		err = receiver.Settle(r.ctx, d, broker.DeadLetter)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := r.receive(r.subscribe(broker.Subscription{Destination: dead, Prefetch: 10}), 2)
	if string(got[1].Body) != "bad" {
		t.Errorf("the dead letters end with %q, want bad", got[1].Body)
	}
	if death, _ := got[1].Header("x-death"); !strings.Contains(death, queue) {
		t.Errorf("the header x-death is %q; want text that names the queue", death)
	}
}

func TestHeadersOfForeignProducersArriveAsText(t *testing.T) {
	r := newRig(t, rabbitmq.Options{})
	queue := r.name()
	r.fates([]broker.Message{message(queue, "makes it")}, confirmed)
	values := amqp.Table{
		"businessMark": int64(4711), "bool": true, "float": 1.5, "bytes": []byte("raw"), "binary": []byte{0xff}, "none": nil,
		"time": time.Unix(1790000000, 0), "list": []any{int32(1), "x"}, "table": amqp.Table{"a": "b"},
		"decimal": amqp.Decimal{Scale: 2, Value: 150}, "small": amqp.Decimal{Scale: 3, Value: 5},
	}
	want := map[string]string{
		"businessMark": "4711", "bool": "true", "float": "1.5", "bytes": "raw", "binary": "\xff", "none": "",
		"time": "2026-09-21T14:13:20Z", "list": `[1,"x"]`, "table": `{"a":"b"}`, "decimal": "1.50", "small": "0.005", "content-encoding": "gzip",
	}
	if err := r.bare.PublishWithContext(r.ctx, "", queue, false, false, amqp.Publishing{Headers: values, ContentType: "text/plain", ContentEncoding: "gzip", Body: []byte("foreign")}); err != nil {
		t.Fatal(err)
	}
	d := r.receive(r.subscribe(broker.Subscription{Destination: queue, Prefetch: 10}), 2)[1]
	for name, value := range want {
		if got, ok := d.Header(name); !ok || got != value {
			t.Errorf("header %s is %q, %v; want %q", name, got, ok, value)
		}
	}
	if d.Key != "4711" || d.ContentType != "text/plain" || string(d.Body) != "foreign" {
		t.Errorf("received %+v; want the key 4711, the type text/plain and the body foreign", d)
	}
}

func TestABrokerThatBlocksPublishersRefuses(t *testing.T) {
	u, err := url.Parse(testserver.Address(t, server))
	if err != nil {
		t.Fatal(err)
	}
	s := newScript(t, u.Host)
	u.Host = s.address
	r := newRig(t, rabbitmq.Options{})
	r.conn = r.connect(open(t, u.String(), rabbitmq.Options{}))
	queue := r.name()
	r.fates([]broker.Message{message(queue, "1")}, confirmed)
	receiver := r.subscribe(broker.Subscription{Destination: queue, Prefetch: 10})
	publisher := s.first(t)

	publisher.inject(t, blockedFrame("short of everything"))
	ms := []broker.Message{message(queue, "2"), message(queue, "3")}
	until(r.ctx, t, func() bool { return r.publish(ms...)[0].Fate == broker.Refused }, "a blocked connection refuses")
	results := r.fates(ms, refused, refused)
	if !strings.Contains(results[0].Err.Error(), "short of everything") {
		t.Errorf("the reason is %q; want the broker's", results[0].Err)
	}
	r.receive(receiver, 1) // consuming goes on

	publisher.inject(t, unblockedFrame)
	until(r.ctx, t, func() bool { return r.publish(ms...)[0].Fate == broker.Confirmed }, "a connection that is not blocked any more publishes")
}

func TestASilentConnectionEnds(t *testing.T) {
	address, link := servertest.Through(t, testserver.Address(t, server))
	err := servertest.Silence(t, open(t, address, rabbitmq.Options{HeartBeat: 2 * time.Second}), link, 5*time.Second)
	if err == nil || !strings.Contains(err.Error(), "heart-beat") {
		t.Errorf("Err is %v; want the reason", err)
	}
}

func TestMoreSubscriptionsThanAConnectionHasChannelsAreSpread(t *testing.T) {
	r := newRig(t, rabbitmq.Options{ChannelMax: 5})
	const n = 23
	var receivers []broker.Receiver
	var queues []string
	for range n {
		queues = append(queues, r.name())
		receivers = append(receivers, r.subscribe(broker.Subscription{Destination: queues[len(queues)-1], Prefetch: 10}))
	}
	var ms []broker.Message
	for _, queue := range queues {
		ms = append(ms, broker.Message{Destination: queue, Body: []byte(queue)})
	}
	r.publish(ms...)
	take := func(i int) {
		got, err := receivers[i].Receive(r.ctx, 10)
		if err != nil || len(got) != 1 || string(got[0].Body) != queues[i] {
			t.Fatalf("queue %d: got %d messages, error %v; want its own", i, len(got), err)
		}
		if err := receivers[i].Settle(r.ctx, got, broker.Ack); err != nil {
			t.Errorf("Settle: %v", err)
		}
	}
	for i := range receivers {
		take(i)
	}
	// A channel that was given back is used again.
	if err := receivers[0].Close(r.ctx); err != nil {
		t.Fatal(err)
	}
	receivers[0] = r.subscribe(broker.Subscription{Destination: queues[0], Prefetch: 10})
	r.publish(ms[0])
	take(0)
	// Publishing has few channels then, and goes on all the same.
	done := make(chan error)
	for range 8 {
		go func() {
			_, err := r.conn.Publish(r.ctx, ms, waybill.Durable)
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Errorf("Publish: %v", err)
		}
	}
	if err := r.conn.Close(r.ctx); err != nil {
		t.Error(err)
	}
}
