// Command member is one process of the fleet that package upgrade upgrades: a producer, a
// relay or a consumer, or what makes the tables. It is built twice, of this revision and
// within the tree of the older one, and so uses only what both have.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/nats"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/mysql"
	"github.com/waybill-go/waybill/store/postgres"
	"github.com/waybill-go/waybill/store/sqlite"
)

// pace is the time between two transactions of a producer.
const pace = 10 * time.Millisecond

// consumers are the services that a consumer process is, beside the first: each gets the
// topics' messages.
var consumers = []string{"shipping", "audit"}

type member struct {
	db      *sql.DB
	dialect store.Dialect
	dollars bool // placeholders are $1, $2
	broker  *nats.Broker
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "member failed:", err)
		os.Exit(1)
	}
}

func run() error {
	role := flag.String("role", "", "init, producer, relay or consumer")
	driver := flag.String("driver", "", "pgx, mysql or sqlite")
	source := flag.String("db", "", "the driver's data source name")
	at := flag.String("broker", "", "address of the NATS server")
	flag.Parse()

	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	m := member{dialect: map[string]store.Dialect{"pgx": postgres.Dialect(), "mysql": mysql.Dialect(), "sqlite": sqlite.Dialect()}[*driver], dollars: *driver == "pgx"}
	var err error
	if m.db, err = sql.Open(*driver, *source); err != nil {
		return err
	}
	defer m.db.Close()
	m.db.SetMaxOpenConns(8)
	if m.broker, err = nats.New(*at, &nats.Options{AckWait: 2 * time.Second}); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { // ends with the process; so that this one ends with the test's
		defer stop()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	switch *role {
	case "init":
		return errors.Join(store.Migrate(ctx, m.db, m.dialect, "", store.Producer), store.Migrate(ctx, m.db, m.dialect, "", store.Consumer))
	case "producer":
		return m.produce(ctx)
	case "relay":
		return m.relay(ctx)
	case "consumer":
		return m.consume(ctx)
	}
	return fmt.Errorf("no role is called %q", *role)
}

func (m *member) exec(ctx context.Context, tx *sql.Tx, query string, args ...any) error {
	_, err := tx.ExecContext(ctx, m.bind(query), args...)
	return err
}

// bind writes the database's placeholders for "?".
func (m *member) bind(query string) string {
	if !m.dollars {
		return query
	}
	var bound []byte
	n := 0
	for _, c := range []byte(query) {
		if c == '?' {
			n++
			bound = append(append(bound, '$'), strconv.Itoa(n)...)
			continue
		}
		bound = append(bound, c)
	}
	return string(bound)
}

// produce commits business changes until ctx ends. One that lost to another transaction is
// made again; any other error is a failure of the upgrade.
func (m *member) produce(ctx context.Context) error {
	out, err := outbox.New(m.dialect, nil)
	if err != nil {
		return err
	}
	queue, err := store.NewQueue(m.db, m.dialect, "")
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		err := out.InTx(ctx, m.db, func(tx *sql.Tx) error { return m.change(ctx, tx, out) })
		if err != nil && ctx.Err() == nil && queue.Condition(err) != store.Conflict {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pace):
		}
	}
	return nil
}

// change is a business change: a payment, an entry of a ledger, and the next state of an
// order and of a price. Now and then there are several entries in one Send.
func (m *member) change(ctx context.Context, tx *sql.Tx, out *outbox.Outbox) error {
	messages := []waybill.Message{{Destination: "payments"}}
	account := fmt.Sprint("account ", rand.IntN(3))
	for range 1 + rand.IntN(10)/9*3 {
		messages = append(messages, waybill.Message{Destination: "ledger", Key: account})
	}
	for _, state := range []waybill.Message{
		{Destination: "orders", Key: fmt.Sprint("order ", rand.IntN(3))},
		{Destination: "prices", Key: fmt.Sprint("price ", rand.IntN(3)), Topic: true},
	} {
		if err := m.exec(ctx, tx, `UPDATE states SET version = version + 1 WHERE business_key = ?`, state.Key); err != nil {
			return err
		}
		var version int64
		if err := tx.QueryRowContext(ctx, m.bind(`SELECT version FROM states WHERE business_key = ?`), state.Key).Scan(&version); err != nil {
			return err
		}
		state.Headers = map[string]string{"version": strconv.FormatInt(version, 10)}
		messages = append(messages, state)
	}
	for i := range messages {
		message := &messages[i]
		message.Body = []byte(waybill.NewID().String())
		version, _ := strconv.ParseInt(message.Headers["version"], 10, 64) // 0 where there is none
		if err := m.exec(ctx, tx, `INSERT INTO made (destination, business_key, version, body) VALUES (?, ?, ?, ?)`,
			message.Destination, message.Key, version, string(message.Body)); err != nil {
			return err
		}
	}
	return out.Send(ctx, tx, messages...)
}

func (m *member) relay(ctx context.Context) error {
	r, err := relay.New(m.db, m.dialect, m.broker, &relay.Options{
		Producer: "shop", Poll: 50 * time.Millisecond, Lease: 3 * time.Second, Sweep: time.Second,
		MinResend: time.Second, FirstResend: 2 * time.Second, MaxResend: 4 * time.Second,
		Destinations: map[string]relay.Destination{"prices": {Consumers: consumers}},
	})
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// consume is each of the services, in one process. Handlers take every effect that comes:
// the inbox alone keeps copies and stale states away.
func (m *member) consume(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(consumers))
	var running sync.WaitGroup
	for i, consumer := range consumers {
		in, err := inbox.New(m.db, m.dialect, m.broker, &inbox.Options{Consumer: consumer, PruneEvery: time.Second})
		if err != nil {
			return err
		}
		effect := func(ctx context.Context, tx *sql.Tx, d *waybill.Message) error {
			version, _ := strconv.ParseInt(d.Headers["version"], 10, 64)
			return m.exec(ctx, tx, `INSERT INTO effects (consumer, destination, business_key, version, sequence, time_stamp, body) VALUES (?, ?, ?, ?, ?, ?, ?)`,
				consumer, d.Destination, d.Key, version, d.Sequence, d.TimeStamp, string(d.Body))
		}
		in.HandleWith("prices", waybill.Latest, effect, &inbox.HandleOptions{Topic: true})
		if i == 0 {
			in.Handle("payments", waybill.Once, effect)
			in.Handle("ledger", waybill.Once, effect)
			in.Handle("orders", waybill.Latest, effect)
		}
		running.Go(func() {
			defer stop()
			errs[i] = in.Run(ctx)
		})
	}
	running.Wait()
	return errors.Join(errs...)
}
