package relay_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// quiet is a logger for examples, whose output is compared.
var quiet = slog.New(slog.DiscardHandler)

// shop is the service whose messages the examples relay: an outbox in an SQLite file.
// What cannot fail where an example runs panics where it does.
type shop struct {
	db     *sql.DB
	outbox *outbox.Outbox
	dir    string
}

func openShop() *shop {
	dir := must(os.MkdirTemp("", "waybill-example-"))
	db := must(sql.Open("sqlite", "file:"+filepath.Join(dir, "shop.db")+"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=synchronous(off)"))
	check(store.Migrate(context.Background(), db, sqlite.Dialect(), "", store.Producer))
	return &shop{db: db, outbox: must(outbox.New(sqlite.Dialect(), nil)), dir: dir}
}

func (s *shop) close() {
	check(s.db.Close())
	check(os.RemoveAll(s.dir))
}

// send commits messages and returns their ids.
func (s *shop) send(messages ...waybill.Message) []waybill.ID {
	ids := make([]waybill.ID, len(messages))
	for i := range messages {
		ids[i] = waybill.NewID()
		messages[i].ID = ids[i]
	}
	ctx := context.Background()
	check(s.outbox.InTx(ctx, s.db, func(tx *sql.Tx) error { return s.outbox.Send(ctx, tx, messages...) }))
	return ids
}

// rows counts the messages that are in the outbox's table.
func (s *shop) rows() (n int) {
	check(s.db.QueryRow(`SELECT count(*) FROM qmessage`).Scan(&n))
	return n
}

// run starts a relay; stop ends it and waits until it has ended.
func run(r *relay.Relay) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return func() {
		cancel()
		check(<-ended)
	}
}

// waitUntil waits for something that happens soon.
func waitUntil(so func() bool) {
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-deadline:
			panic("it does not happen")
		case <-tick.C:
		}
	}
}

// consumer is one that speaks to the broker by itself, without package inbox.
type consumer struct {
	name     string
	conn     broker.Conn
	receiver broker.Receiver
	answers  string // where the last message wants its receipt
}

func connect(b broker.Broker, name string, s broker.Subscription) *consumer {
	conn := must(b.Connect(context.Background()))
	s.Group, s.Prefetch = name, 100
	return &consumer{name: name, conn: conn, receiver: must(conn.Subscribe(context.Background(), s))}
}

// receive waits for the next message.
func (c *consumer) receive() broker.Message {
	ctx := context.Background()
	deliveries := must(c.receiver.Receive(ctx, 1))
	check(c.receiver.Settle(ctx, deliveries, broker.Ack))
	c.answers, _ = deliveries[0].Header(wire.ReceiptTo)
	return deliveries[0].Message
}

// says sends a receipt to where the last message wants it.
func (c *consumer) says(receipt waybill.Receipt) {
	m := wire.EncodeReceipts(c.answers, c.name, []waybill.Receipt{receipt})
	must(c.conn.Publish(context.Background(), []broker.Message{m}, waybill.Durable))
}

func header(m *broker.Message, name string) string {
	value, ok := m.Header(name)
	if !ok {
		return "none"
	}
	return value
}

func must[T any](x T, err error) T {
	check(err)
	return x
}

func check(err error) {
	if err != nil {
		panic(fmt.Sprint("example: ", err))
	}
}
