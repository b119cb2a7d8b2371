package foreign

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// service is a shipping service of examples/foreign: how it is started on queues of the test's
// own, how it is told to send a message, and its database.
type service struct {
	broker broker.Broker
	db     *sql.DB
	starts func(orders, payments string) *program
	sends  func(queue, key, body string) *program
}

// TestTheExampleInPython runs examples/foreign/python on RabbitMQ and SQLite.
func TestTheExampleInPython(t *testing.T) {
	t.Parallel()
	interpreter := python(t)
	at := rewritten(t, testserver.Address(t, "WAYBILL_TEST_RABBITMQ"), "amqp")
	file := filepath.Join(t.TempDir(), "shipping.db")
	dir := filepath.Join(root, "examples", "foreign", "python")
	env := []string{"PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=" + dir}
	const renamed = `import shipping, sys
broker, database, orders, payments = sys.argv[1:]
shipping.QUEUES = {orders: shipping.QUEUES["orders"], payments: shipping.QUEUES["payments"]}
shipping.main(broker, database)`
	service{
		broker: connector{"rabbitmq", "WAYBILL_TEST_RABBITMQ"}.broker(t),
		db:     open(t, "sqlite:"+file, store.Consumer),
		starts: func(orders, payments string) *program {
			return start(t, "shipping.py", env, interpreter, "-c", renamed, at, file, orders, payments)
		},
		sends: func(queue, key, body string) *program {
			return start(t, "send.py", env, interpreter, filepath.Join(dir, "send.py"), at, queue, key, body)
		},
	}.judge(t)
}

// TestTheExampleInJava runs examples/foreign/java, as Maven has built it, on ActiveMQ Classic and
// PostgreSQL.
func TestTheExampleInJava(t *testing.T) {
	t.Parallel()
	jar := filepath.Join(testserver.Foreign(t, root, "spring"), "shipping.jar")
	openWire := parsed(t, testserver.Address(t, "WAYBILL_TEST_ACTIVEMQ_OPENWIRE"))
	b := connector{"stomp", "WAYBILL_TEST_ACTIVEMQ_STOMP"}.broker(t)
	database := newPostgres(t)
	brokersPassword, _ := openWire.User.Password()
	databasesPassword, _ := database.User.Password()
	env := []string{
		"SPRING_ACTIVEMQ_BROKERURL=tcp://" + openWire.Host + "?jms.redeliveryPolicy.maximumRedeliveries=-1",
		"SPRING_ACTIVEMQ_USER=" + openWire.User.Username(), "SPRING_ACTIVEMQ_PASSWORD=" + brokersPassword,
		"SPRING_DATASOURCE_URL=jdbc:postgresql://" + database.Host + database.Path,
		"SPRING_DATASOURCE_USERNAME=" + database.User.Username(), "SPRING_DATASOURCE_PASSWORD=" + databasesPassword,
	}
	run := func(env []string, args ...string) *program {
		return start(t, "shipping.jar", env, java(), append([]string{"-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", jar}, args...)...)
	}
	service{
		broker: b,
		db:     open(t, database.String(), store.Consumer),
		starts: func(orders, payments string) *program {
			return run(append(env[:len(env):len(env)], "QUEUE_ORDERS="+orders, "QUEUE_PAYMENTS="+payments))
		},
		sends: func(queue, key, body string) *program { return run(env, queue, key, body) },
	}.judge(t)
}

// judge sends the service states of orders and payments through a relay, and kills it on the
// way; has copies and old states come to it that a broker or a second relay might deliver; and
// has it send a message to an inbox.
func (s service) judge(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	suffix := strings.ToLower(strings.ReplaceAll(waybill.NewID().String(), "-", ""))
	orders, payments, parcels := "orders."+suffix, "payments."+suffix, "parcels."+suffix
	shop := open(t, "sqlite:"+filepath.Join(t.TempDir(), "shop.db"), store.Producer)
	out, err := outbox.New(sqlite.Dialect(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(shop, sqlite.Dialect(), s.broker, &relay.Options{Producer: "shop", Wake: out.Committed(), Logger: quiet(t), MinRetry: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	runs(t, r.Run)
	sends := func(queue, key, body string) {
		t.Helper()
		err := out.InTx(ctx, shop, func(tx *sql.Tx) error {
			return out.Send(ctx, tx, waybill.Message{Destination: queue, Key: key, Body: []byte(body)})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var p *program
	settled := func() {
		t.Helper()
		pending := 0
		patience.Until(t, "every message has its receipt", func() bool {
			pending = int(number(t, shop, `SELECT count(*) FROM qmessage WHERE status = 0`))
			return pending == 0
		}, func() any { return fmt.Sprint(pending, r.Stats().Copies, p.progress()) })
	}

	sends(orders, "A-1", `{"state":"placed"}`)
	sends(payments, "A-1", `{"cents":1250}`)
	sends(payments, "A-1", `{"cents":-1}`)
	p = s.starts(orders, payments)
	settled()
	p.kill()
	sends(orders, "A-1", `{"state":"shipped"}`)
	sends(orders, "B-2", `{"state":"placed"}`)
	sends(payments, "A-1", `{"cents":300}`)
	p = s.starts(orders, payments)
	settled()

	// What has been handled comes again, and an old state that was under way for long. Behind
	// them comes a last message: when that is done, these have been seen.
	s.repeats(t, payments, `{"cents":1250}`, value(t, s.db, `SELECT CAST(message_id AS text) FROM n1_record ORDER BY time_stamp LIMIT 1`), "0")
	s.repeats(t, orders, `{"state":"placed"}`, waybill.NewID().String(), "1")
	sends(payments, "B-2", `{"cents":500}`)
	sends(orders, "B-2", `{"state":"delivered"}`)
	settled()

	got := value(t, s.db, `SELECT string_agg(order_id || ' ' || state, ', ') FROM (SELECT * FROM shipments ORDER BY order_id) AS s`) + "; " +
		value(t, s.db, `SELECT string_agg(order_id || ' ' || cents, ', ') FROM (SELECT * FROM paid ORDER BY order_id) AS p`) + "; " +
		value(t, shop, `SELECT group_concat(last_error) FROM qmessage`)
	if want := "A-1 shipped, B-2 delivered; A-1 1550, B-2 500; shipping: -1 cents are no payment"; got != want {
		t.Errorf("the service has %q, want %q", got, want)
	}
	p.kill()

	arrived := make(chan *waybill.Message, 1)
	desk := open(t, "sqlite:"+filepath.Join(t.TempDir(), "desk.db"), store.Consumer)
	in, err := inbox.New(desk, sqlite.Dialect(), s.broker, &inbox.Options{Consumer: "desk", Logger: quiet(t)})
	if err != nil {
		t.Fatal(err)
	}
	in.Handle(parcels, waybill.Latest, func(_ context.Context, _ *sql.Tx, m *waybill.Message) error {
		arrived <- m
		return nil
	})
	runs(t, in.Run)
	p = s.sends(parcels, "P-7", `{"state":"lost"}`)
	patience.Until(t, "what the service sends arrives", func() bool { return len(arrived) > 0 }, func() any { return p.progress() })
	if m := <-arrived; m.Key != "P-7" || string(m.Body) != `{"state":"lost"}` || m.TimeStamp == 0 || m.Producer == "" {
		t.Errorf("the service has sent %+v, want the key P-7, the state, a time stamp and a producer", m)
	}
}

// repeats publishes a message of the key A-1 as a relay would.
func (s service) repeats(t *testing.T, queue, body, id, stamp string) {
	t.Helper()
	ctx := patience.Context(t)
	conn, err := s.broker.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	m := broker.Message{Destination: queue, Key: "A-1", Body: []byte(body), Headers: []broker.Header{
		{Name: "messageId", Value: id}, {Name: "businessMark", Value: "A-1"}, {Name: "timeStamp", Value: stamp},
		{Name: "producer", Value: "shop"}, {Name: "attempt", Value: "1"},
	}}
	results, err := conn.Publish(ctx, []broker.Message{m}, waybill.Durable)
	if err != nil || results[0].Fate != broker.Confirmed {
		t.Fatalf("publish: got %v, error %v", results, err)
	}
}

// open opens a database and makes one side's tables.
func open(t *testing.T, at string, side store.Side) *sql.DB {
	t.Helper()
	db, dialect, err := address.OpenDatabase(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := store.Migrate(context.Background(), db, dialect, "", side); err != nil {
		t.Fatal(err)
	}
	return db
}

// newPostgres makes a database of the test's own and returns its address.
func newPostgres(t *testing.T) *url.URL {
	t.Helper()
	at := testserver.Address(t, "WAYBILL_TEST_POSTGRES")
	admin, _, err := address.OpenDatabase(at)
	if err != nil {
		t.Fatal(err)
	}
	name := "foreign_" + strings.ReplaceAll(waybill.NewID().String(), "-", "")
	if _, err := admin.ExecContext(context.Background(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		admin.Close()
	})
	u := parsed(t, at)
	u.Path = "/" + name
	return u
}

func number(t *testing.T, db *sql.DB, query string) (n int64) {
	t.Helper()
	if err := db.QueryRowContext(context.Background(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func value(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	var s sql.NullString
	if err := db.QueryRowContext(context.Background(), query).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s.String
}
