package nats_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/nats"
	"github.com/waybill-go/waybill/internal/test/patience"
)

// local starts a server in the test's process, on a port of its own.
func local(t testing.TB, change func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true}
	if change != nil {
		change(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience.Limit) {
		t.Fatal("the server did not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// jetStream connects the client library to a server.
func jetStream(t testing.TB, s *server.Server) jetstream.JetStream {
	t.Helper()
	nc, err := natsgo.Connect("nats://" + hostOf(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// hostOf is the server's host and port.
func hostOf(s *server.Server) string { return s.Addr().String() }

// rig is a connection and what a test does with it.
type rig struct {
	testing.TB
	ctx context.Context
	broker.Conn
}

func connect(t testing.TB, address string, o options) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience.Limit)
	t.Cleanup(cancel)
	c, err := open(t, address, o).Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return &rig{t, ctx, c}
}

// send publishes one message for each body and returns the results.
func (r *rig) send(queue string, transport waybill.Transport, bodies ...string) []broker.Result {
	r.Helper()
	var ms []broker.Message
	for _, body := range bodies {
		ms = append(ms, broker.Message{Destination: queue, Body: []byte(body)})
	}
	results, err := r.Publish(r.ctx, ms, transport)
	if err != nil {
		r.Fatal(err)
	}
	return results
}

// sent publishes messages, each of which has to be Confirmed.
func (r *rig) sent(queue string, bodies ...string) {
	r.Helper()
	for i, result := range r.send(queue, waybill.Durable, bodies...) {
		if result.Fate != broker.Confirmed {
			r.Fatalf("message %d is %v: %v; want confirmed", i, result.Fate, result.Err)
		}
	}
}

func (r *rig) subscribe(queue string, prefetch int) broker.Receiver {
	r.Helper()
	receiver, err := r.Subscribe(r.ctx, broker.Subscription{Destination: queue, Prefetch: prefetch})
	if err != nil {
		r.Fatal(err)
	}
	return receiver
}

// receive returns n deliveries and their bodies.
func (r *rig) receive(receiver broker.Receiver, n int) (all []broker.Delivery, bodies string) {
	r.Helper()
	for len(all) < n {
		some, err := receiver.Receive(r.ctx, n-len(all))
		if err != nil {
			r.Fatalf("%v after %d of %d messages", err, len(all), n)
		}
		for _, d := range some {
			bodies += string(d.Body) + " "
		}
		all = append(all, some...)
	}
	return all, strings.TrimSpace(bodies)
}

func TestAMessageThatIsHeldForLongDoesNotComeAgain(t *testing.T) {
	s := local(t, nil)
	b := connect(t, "nats://"+hostOf(s), options{}) // AckWait is 2 s
	r := b.subscribe("q", 10)
	b.sent("q", "a", "b", "c")
	held, _ := b.receive(r, 1) // the others wait within the receiver
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	<-ctx.Done()
	rest, bodies := b.receive(r, 2)
	if bodies != "b c" || rest[0].Redelivered {
		t.Errorf("received %q, redelivered %v; want b c once", bodies, rest[0].Redelivered)
	}
	if err := r.Settle(b.ctx, append(held, rest...), broker.Ack); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(b.ctx); err != nil {
		t.Fatal(err)
	}
	b.sent("q", "last")
	if _, bodies := b.receive(b.subscribe("q", 10), 1); bodies != "last" {
		t.Errorf("received %q, want last", bodies)
	}
}

func TestACopyThatIsSentAgainArrives(t *testing.T) {
	s := local(t, nil)
	b := connect(t, "nats://"+hostOf(s), options{})
	id := waybill.NewID().String()
	m := broker.Message{Destination: "q", Body: []byte("x"), Headers: []broker.Header{{Name: "messageId", Value: id}, {Name: "Nats-Msg-Id", Value: id}}}
	results, err := b.Publish(b.ctx, []broker.Message{m, m, m}, waybill.Durable)
	if err != nil || results[2].Fate != broker.Confirmed {
		t.Fatalf("Publish: %v, %v; want confirmed", results, err)
	}
	ds, _ := b.receive(b.subscribe("q", 10), 3)
	if value, _ := ds[2].Header("Nats-Msg-Id"); value != id {
		t.Errorf("the header Nats-Msg-Id arrived as %q, want %q", value, id)
	}
}

func TestForeignProducersAndConsumersUseTheSubject(t *testing.T) {
	s := local(t, nil)
	b := connect(t, "nats://"+hostOf(s), options{})
	r := b.subscribe("orders.eu", 10)
	js := jetStream(t, s)
	m := natsgo.NewMsg("orders.eu")
	m.Header["messageId"] = []string{"x"}
	m.Header["Content-Type"] = []string{"text/plain"}
	m.Header["many"] = []string{"1", "2"}
	m.Header["odd*"] = []string{"%zz"}
	m.Data = []byte("from elsewhere")
	if _, err := js.PublishMsg(b.ctx, m); err != nil {
		t.Fatal(err)
	}
	ds, bodies := b.receive(r, 1)
	if bodies != "from elsewhere" || ds[0].ContentType != "text/plain" || ds[0].Destination != "orders.eu" {
		t.Errorf("received %+v; want the message from elsewhere at orders.eu, as text/plain", ds[0])
	}
	if odd, _ := ds[0].Header("odd*"); odd != "%zz" {
		t.Errorf("a header that only looks encoded arrived as %q, want %%zz", odd)
	}
	if many := fmt.Sprint(ds[0].Headers); !strings.Contains(many, "{many 1} {many 2}") {
		t.Errorf("a header with two values arrived as %s, want both", many)
	}
}

func TestAStreamOfTheUsersOwnIsUsed(t *testing.T) {
	s := local(t, nil)
	b := connect(t, "nats://"+hostOf(s), options{})
	js := jetStream(t, s)
	own, err := js.CreateStream(b.ctx, jetstream.StreamConfig{Name: "SHOP", Subjects: []string{"shop.>"}, MaxMsgs: 5, Discard: jetstream.DiscardNew})
	if err != nil {
		t.Fatal(err)
	}
	b.sent("shop.one", "1", "2")
	b.sent("shop.two", "3", "4")
	for queue, want := range map[string]string{"shop.one": "1 2", "shop.two": "3 4"} {
		t.Run(queue, func(t *testing.T) {
			if _, bodies := b.receive(b.subscribe(queue, 10), 2); bodies != want {
				t.Errorf("got %q, want %q", bodies, want)
			}
		})
	}
	if info, err := own.Info(b.ctx); err != nil || info.State.Msgs != 4 {
		t.Errorf("the stream has %v, error %v; want 4 messages", info, err)
	}
	results := b.send("shop.one", waybill.Durable, "5", "6", "7")
	if results[0].Fate != broker.Confirmed || results[1].Fate != broker.Refused || results[2].Fate != broker.Refused {
		t.Errorf("a stream with room for one more: %v; want confirmed, refused, refused", results)
	}
}

func TestAStreamThatIsDeletedIsMadeAgain(t *testing.T) {
	s := local(t, nil)
	b := connect(t, "nats://"+hostOf(s), options{})
	js := jetStream(t, s)
	for _, transport := range []waybill.Transport{waybill.Durable, waybill.Transient} {
		// A queue for each: a server that is still removing the files of a deleted stream keeps
		// those of the next one of that name (os.Rename in fileStore.Delete, nats-server 2.15).
		queue := "q-" + transport.String()
		r := b.subscribe(queue, 10)
		b.sent(queue, "a", "b")
		if err := js.DeleteStream(b.ctx, "waybill-queue-"+queue); err != nil {
			t.Fatal(err)
		}
		for { // what has arrived is received first
			if _, err := r.Receive(b.ctx, 10); err != nil {
				if errors.Is(err, broker.ErrClosed) || b.ctx.Err() != nil {
					t.Errorf("Receive: %v; want the reason why the subscription ended", err)
				}
				break
			}
		}
		for i, result := range b.send(queue, transport, "c", "d") {
			if result.Fate != broker.Refused {
				t.Errorf("%v message %d to a stream that is gone is %v, want refused", transport, i, result.Fate)
			}
		}
		b.sent(queue, "e", "f")
		again := b.subscribe(queue, 10)
		ds, bodies := b.receive(again, 2)
		if bodies != "e f" {
			t.Errorf("received %q, want e f", bodies)
		}
		if err := again.Settle(b.ctx, ds, broker.Ack); err != nil {
			t.Fatal(err)
		}
		if err := again.Close(b.ctx); err != nil {
			t.Fatal(err)
		}
		if err := b.Err(); err != nil {
			t.Fatalf("the connection ended: %v; want it open", err)
		}
	}
}

func TestAServerWithoutJetStreamRefuses(t *testing.T) {
	s := local(t, func(o *server.Options) { o.JetStream = false })
	b := connect(t, "nats://"+hostOf(s), options{})
	for _, result := range b.send("q", waybill.Durable, "a", "b") {
		if result.Fate != broker.Refused || !strings.Contains(result.Err.Error(), "--jetstream") {
			t.Errorf("%v, %v; want refused, and what to do", result.Fate, result.Err)
		}
	}
	if _, err := b.Subscribe(b.ctx, broker.Subscription{Destination: "q", Prefetch: 1}); err == nil || !strings.Contains(err.Error(), "--jetstream") {
		t.Errorf("Subscribe: %v; want what to do", err)
	}
}

func TestWhatTheUserMayNotDoIsRefused(t *testing.T) {
	s := local(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: "s3cret", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"forbidden.>"}},
		}}}
	})
	b := connect(t, "nats://u:s3cret@"+hostOf(s), options{})
	for _, transport := range []waybill.Transport{waybill.Durable, waybill.Transient} {
		t.Run(transport.String(), func(t *testing.T) {
			results, err := b.Publish(b.ctx, []broker.Message{{Destination: "ok"}, {Destination: "forbidden.x"}, {Destination: "ok"}}, transport)
			if err != nil || results[0].Fate != broker.Confirmed || results[1].Fate != broker.Refused || results[2].Fate != broker.Confirmed {
				t.Errorf("got %v, %v; want confirmed, refused, confirmed", results, err)
			}
		})
	}
}

func TestAWrongPasswordIsRefusedAndNotRepeated(t *testing.T) {
	s := local(t, func(o *server.Options) { o.Username, o.Password = "u", "s3cret" })
	connect(t, "nats://u:s3cret@"+hostOf(s), options{})
	connect(t, "nats://"+hostOf(s), options{User: "u", Password: "s3cret"})
	for _, address := range []string{"nats://u:wr0ng@" + hostOf(s), "nats://wr0ng@" + hostOf(s), "nats://" + hostOf(s)} {
		t.Run(address, func(t *testing.T) {
			b, err := nats.New(address, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = b.Connect(t.Context())
			if !errors.Is(err, broker.ErrRefused) || strings.Contains(err.Error(), "wr0ng") {
				t.Errorf("Connect: %v; want ErrRefused without the password", err)
			}
		})
	}
}

func TestOneOfSeveralServersIsEnough(t *testing.T) {
	s := local(t, nil)
	b := connect(t, "nats://127.0.0.1:1,"+hostOf(s)+",127.0.0.1:2", options{Prefix: "wb"})
	b.sent("q", "a")
	b.receive(b.subscribe("q", 1), 1)
	away, err := nats.New("nats://127.0.0.1:1,127.0.0.1:2", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := away.Connect(t.Context()); err == nil || errors.Is(err, broker.ErrRefused) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Connect: %v; want the dialer's error", err)
	}
}
