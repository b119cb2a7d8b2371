package kafka_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/broker/kafka"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

// limit is how long a test may take.
var limit = patience.Limit

// hostOf is the host and port of an address.
func hostOf(t testing.TB, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func newName() string { return "kt-" + strings.ToLower(rand.Text()[:12]) }

func connect(t testing.TB, b *kafka.Broker) broker.Conn {
	t.Helper()
	c, err := b.Connect(servertest.Within(t, limit))
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func messages(destination string, n int) []broker.Message {
	ms := make([]broker.Message, n)
	for i := range ms {
		ms[i] = broker.Message{Destination: destination, Key: fmt.Sprint(i), Body: []byte(fmt.Sprint(i))}
	}
	return ms
}

// fates publishes and compares the fates.
func fates(t testing.TB, c broker.Conn, ms []broker.Message, want ...broker.Fate) {
	t.Helper()
	servertest.Fates(servertest.Within(t, limit), t, c, ms, want...)
}

func subscribe(t testing.TB, c broker.Conn, destination string, prefetch int) broker.Receiver {
	t.Helper()
	r, err := c.Subscribe(servertest.Within(t, limit), broker.Subscription{Destination: destination, Prefetch: prefetch})
	if err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	return r
}

// admin is a client of the library's own, for what the adapter does not do.
func admin(t testing.TB, b string) *kgo.Client {
	t.Helper()
	u, err := url.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	client, err := kgo.NewClient(kgo.SeedBrokers(u.Host), kgo.SASL(plainAuth(u.User.Username(), password)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func deleteTopic(t testing.TB, client *kgo.Client, name string) {
	t.Helper()
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TopicNames = []string{name}
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = kmsg.StringPtr(name)
	request.Topics = append(request.Topics, topic)
	request.TimeoutMillis = 10_000
	response, err := request.RequestWith(servertest.Within(t, limit), client)
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("delete %q: %v", name, err)
	}
}

// makeTopic makes a topic of one partition with a setting.
func makeTopic(t testing.TB, client *kgo.Client, name, setting, value string) {
	t.Helper()
	config := kmsg.NewCreateTopicsRequestTopicConfig()
	config.Name, config.Value = setting, kmsg.StringPtr(value)
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
	topic.Configs = append(topic.Configs, config)
	request := kmsg.NewPtrCreateTopicsRequest()
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(servertest.Within(t, limit), client)
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("make %q: %v", name, err)
	}
}

func TestNewSaysWhatIsWrongWithAnAddress(t *testing.T) {
	servertest.WrongAddresses(t, func(address string) error { _, err := kafka.New(address, nil); return err }, map[string]string{
		"nats://host":                           "kafka://",
		"kafka://":                              "no host",
		"kafka://u:s3cret%zz@host":              "valid URL",
		"kafka://u:s3c/ret@host":                "URL",
		"kafka://host?colour=blue":              "colour",
		"kafka://host?sasl=magic":               "magic",
		"kafka://host?sasl=plain":               "no user",
		"kafka://u:s3cret@host?partitions=many": "partitions",
		"kafka://host?create=perhaps":           "create",
		"kafka+tls://u:s3cret@h?ca=/no/where":   "ca",
		"kafka://host1,,host2":                  "no host",
	})
}

func TestNewSaysWhatIsWrongWithAnOption(t *testing.T) {
	for want, o := range map[string]kafka.Options{
		"Partitions": {Partitions: -1}, "Replication": {Replication: -1}, "MaxMessage": {MaxMessage: 1},
		"SessionTimeout": {SessionTimeout: time.Second}, "PingInterval": {PingInterval: 1},
	} {
		t.Run(want, func(t *testing.T) {
			if _, err := kafka.New("kafka://host", &o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("New with %+v: %v; want an error with %q", o, err, want)
			}
		})
	}
}

func TestNewTakesAddressesOfEveryForm(t *testing.T) {
	for _, address := range []string{"kafka://host", "kafka://h1,h2:9093,[::1]:1", "kafka+tls://u:p%2Fq@h1,h2?sasl=scram-sha-512"} {
		t.Run(address, func(t *testing.T) {
			if _, err := kafka.New(address, nil); err != nil {
				t.Errorf("New: %v; want no error", err)
			}
		})
	}
}

func TestAWrongPasswordIsRefused(t *testing.T) {
	u, err := url.Parse(testserver.Address(t, server))
	if err != nil {
		t.Fatal(err)
	}
	for _, mechanism := range []string{"", "plain", "scram-sha-256"} {
		t.Run(cmp.Or(mechanism, "the default"), func(t *testing.T) {
			c, err := open(t, u.String(), kafka.Options{Mechanism: mechanism}).Connect(servertest.Within(t, limit))
			if errors.Is(err, kerr.UnsupportedSaslMechanism) {
				t.Skipf("the server does not offer %s", mechanism)
			}
			if err != nil {
				t.Fatalf("Connect with the right password: %v", err)
			}
			c.Close(servertest.Within(t, limit))
			wrong := *u
			wrong.User = url.UserPassword(u.User.Username(), "not-the-one")
			_, err = open(t, wrong.String(), kafka.Options{Mechanism: mechanism}).Connect(servertest.Within(t, limit))
			if !errors.Is(err, broker.ErrRefused) || strings.Contains(err.Error(), "not-the-one") {
				t.Errorf("Connect with a wrong password: %v; want ErrRefused without the password", err)
			}
		})
	}
}

func TestTheCertificateMustBeTheServers(t *testing.T) {
	address, ca := testserver.Address(t, server+"_TLS"), testserver.Address(t, "WAYBILL_TEST_CA")
	c := connect(t, open(t, address+"?ca="+url.QueryEscape(ca), kafka.Options{}))
	fates(t, c, messages(newName(), 3), broker.Confirmed)
	for what, address := range map[string]string{
		"another authority":  address, // the system's
		"a name not its own": address + "?ca=" + url.QueryEscape(ca) + "&server_name=example.org",
	} {
		t.Run(what, func(t *testing.T) {
			if _, err := open(t, address, kafka.Options{}).Connect(servertest.Within(t, limit)); !errors.Is(err, broker.ErrRefused) {
				t.Errorf("Connect: %v; want ErrRefused", err)
			}
		})
	}
}

// A second subscriber comes while the first one has messages, some of them settled.
func TestARebalanceInMidBatchLosesNothing(t *testing.T) {
	b := open(t, testserver.Address(t, server), kafka.Options{Partitions: 4, SessionTimeout: 6 * time.Second})
	c, name, ctx := connect(t, b), newName(), servertest.Within(t, limit)
	const n = 400
	fates(t, c, messages(name, n), broker.Confirmed)
	first := subscribe(t, c, name, n)
	settled := map[string]bool{}
	held, err := first.Receive(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	half := held[:len(held)/2]
	if err := first.Settle(ctx, half, broker.Ack); err != nil {
		t.Fatal(err)
	}
	for _, d := range half {
		settled[string(d.Body)] = true
	}
	got := make(chan []broker.Delivery, n)
	drain := func(r broker.Receiver) {
		for {
			d, err := r.Receive(ctx, 50)
			if err != nil || r.Settle(ctx, d, broker.Ack) != nil {
				return
			}
			got <- d
		}
	}
	go drain(subscribe(t, connect(t, b), name, n))
	for len(settled) < n {
		select {
		case deliveries := <-got:
			for _, d := range deliveries {
				settled[string(d.Body)] = true
			}
			// The group has rebalanced: what the first one holds may be another's now, and
			// settling it must do no harm.
			if held != nil {
				if err := first.Settle(ctx, held, broker.Ack); err != nil {
					t.Fatal(err)
				}
				for _, d := range held {
					settled[string(d.Body)] = true
				}
				held = nil
				go drain(first)
			}
		case <-ctx.Done():
			t.Fatalf("%d messages were settled in time, want %d", len(settled), n)
		}
	}
}

func TestAMessageThatIsNeverSettledHoldsUpNobodyAndComesAgain(t *testing.T) {
	b := open(t, testserver.Address(t, server), kafka.Options{Partitions: 1})
	c, name, ctx := connect(t, b), newName(), servertest.Within(t, limit)
	fates(t, c, messages(name, 1000), broker.Confirmed)
	r := subscribe(t, c, name, 10)
	for seen := 0; seen < 1000; {
		deliveries, err := r.Receive(ctx, 5)
		if err != nil {
			t.Fatalf("Receive: %v after %d messages", err, seen)
		}
		seen += len(deliveries)
		if string(deliveries[0].Body) == "0" {
			deliveries = deliveries[1:]
		}
		if err := r.Settle(ctx, deliveries, broker.Ack); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(ctx); err != nil {
		t.Fatal(err)
	}
	again, err := subscribe(t, c, name, 10).Receive(ctx, 1)
	if err != nil || string(again[0].Body) != "0" {
		t.Errorf("received %v, error %v; want the one that was not settled", again, err)
	}
}

func TestATopicThatIsDeletedRefusesAndIsMadeAgain(t *testing.T) {
	address := testserver.Address(t, server)
	c, name, client := connect(t, open(t, address, kafka.Options{})), newName(), admin(t, address)
	fates(t, c, messages(name, 3), broker.Confirmed)
	r := subscribe(t, c, name, 10)
	ctx := servertest.Within(t, limit)
	for seen := 0; seen < 3; {
		d, err := r.Receive(ctx, 3)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(d)
	}
	deleteTopic(t, client, name)
	if _, err := r.Receive(ctx, 1); err == nil || ctx.Err() != nil {
		t.Errorf("Receive from a topic that was deleted: %v; want the reason", err)
	}
	fates(t, c, messages(name, 2), broker.Refused)
	fates(t, c, messages(name, 2), broker.Confirmed)
	if err := c.Err(); err != nil {
		t.Errorf("the connection has ended: %v; want it open", err)
	}
}

func TestNamesThatKafkaTakesForTheSameAreTwoTopics(t *testing.T) {
	c, base, ctx := connect(t, open(t, testserver.Address(t, server), kafka.Options{})), newName(), servertest.Within(t, limit)
	for _, name := range []string{base + ".a", base + "_a"} {
		fates(t, c, []broker.Message{{Destination: name, Body: []byte(name)}}, broker.Confirmed)
		d, err := subscribe(t, c, name, 1).Receive(ctx, 1)
		if err != nil || string(d[0].Body) != name {
			t.Errorf("%q brings %v, error %v; want the message that was sent there", name, d, err)
		}
	}
}

func TestATopicThatTakesLessThanABatchRefusesOnlyWhatIsTooLarge(t *testing.T) {
	address := testserver.Address(t, server)
	name, client := newName(), admin(t, address)
	makeTopic(t, client, name, "max.message.bytes", "2000")
	noise := func(n int) []byte { // what no compression makes smaller
		body := make([]byte, n)
		rand.Read(body)
		return body
	}
	ms := messages(name, 6)
	for i := range ms {
		ms[i].Body = noise(900)
	}
	ms[2].Body = noise(5000)
	fates(t, connect(t, open(t, address, kafka.Options{})), ms,
		broker.Confirmed, broker.Confirmed, broker.Unacceptable, broker.Confirmed, broker.Confirmed, broker.Confirmed)
}

// A topic that is compacted takes no record without a key, and refuses the whole batch.
func TestATopicThatRefusesARecordRefusesItAlone(t *testing.T) {
	address := testserver.Address(t, server)
	name, client := newName(), admin(t, address)
	makeTopic(t, client, name, "cleanup.policy", "compact")
	ms := messages(name, 6)
	want := make([]broker.Fate, len(ms))
	for i := range ms {
		ms[i].Key = fmt.Sprint(i)
		want[i] = broker.Confirmed
	}
	ms[3].Key, want[3] = "", broker.Unacceptable
	fates(t, connect(t, open(t, address, kafka.Options{})), ms, want...)
}

// The library puts messages of several calls into one batch.
func TestWhatATopicRefusesIsNoFaultOfOtherCalls(t *testing.T) {
	address := testserver.Address(t, server)
	name, client := newName(), admin(t, address)
	makeTopic(t, client, name, "cleanup.policy", "compact")
	c := connect(t, open(t, address, kafka.Options{}))
	sound := messages(name, 1)
	sound[0].Key = "k"
	fates(t, c, sound, broker.Confirmed) // the topic is known: the others go together
	var calls sync.WaitGroup
	for i := range 60 {
		calls.Go(func() {
			m, want := messages(name, 1), broker.Unacceptable
			m[0].Key = ""
			if i%2 == 0 {
				m[0].Key, want = "k", broker.Confirmed
			}
			fates(t, c, m, want)
		})
	}
	calls.Wait()
}

func TestAConnectionThatIsHalfOpenEnds(t *testing.T) {
	address := testserver.Address(t, server)
	options, link := proxied(t, kafka.Options{PingInterval: time.Second}, address)
	c := connect(t, open(t, address, options))
	r := subscribe(t, c, newName(), 10)
	link.Hold()
	defer link.Release()
	ctx := servertest.Within(t, limit)
	if _, err := r.Receive(ctx, 1); err == nil || ctx.Err() != nil {
		t.Errorf("Receive: %v; want the reason why the connection ended", err)
	}
	if err := c.Err(); err == nil || errors.Is(err, broker.ErrClosed) {
		t.Errorf("Err: %v; want the reason why the connection ended", err)
	}
}
