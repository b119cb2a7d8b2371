package waybill_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	_ "modernc.org/sqlite" // the driver "sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// ship is the order service: the change and its message commit together, or not at all.
func ship(ctx context.Context, db *sql.DB, out *outbox.Outbox, order string) error {
	return out.InTx(ctx, db, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE orders SET state = 'shipped' WHERE id = ?`, order); err != nil {
			return err
		}
		return out.Send(ctx, tx, waybill.Message{Destination: "orders", Key: order, Body: []byte("shipped")})
	})
}

// relayOrders runs beside it, or as a process of its own ('waybill relay').
func relayOrders(ctx context.Context, db *sql.DB, b broker.Broker, out *outbox.Outbox) error {
	r, err := relay.New(db, sqlite.Dialect(), b, &relay.Options{Producer: "shop", Wake: out.Committed()})
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// keepShipments is the shipping service: the handler's writes commit together with the
// guard's record of the message.
func keepShipments(ctx context.Context, db *sql.DB, b broker.Broker) error {
	in, err := inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping"})
	if err != nil {
		return err
	}
	in.Handle("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO shipments (order_id) VALUES (?)`, m.Key)
		return err
	})
	return in.Run(ctx)
}

// The shipment is made once, though the broker delivers every message twice.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	shop, remove := database(`CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT); INSERT INTO orders VALUES ('A-7', 'placed')`)
	defer remove()
	check(store.Migrate(ctx, shop, sqlite.Dialect(), "", store.Producer))
	shipping, remove := database(`CREATE TABLE shipments (order_id TEXT)`)
	defer remove()
	check(store.Migrate(ctx, shipping, sqlite.Dialect(), "", store.Consumer))

	b := memory.New(nil)
	b.SetFaults(memory.Fault{Repeat: 1})
	out, err := outbox.New(sqlite.Dialect(), nil)
	check(err)
	running, stop := context.WithCancel(ctx)
	services, running := errgroup.WithContext(running)
	services.Go(func() error { return relayOrders(running, shop, b, out) })
	services.Go(func() error { return keepShipments(running, shipping, b) })

	check(ship(ctx, shop, out, "A-7"))
	awaitReceipts(ctx, shop)
	stop()
	check(services.Wait())

	var shipments int
	check(shipping.QueryRow(`SELECT count(*) FROM shipments WHERE order_id = 'A-7'`).Scan(&shipments))
	fmt.Println("shipments of order A-7:", shipments)
	// Output:
	// shipments of order A-7: 1
}

// awaitReceipts waits until the outbox is empty: each row goes with its receipt.
func awaitReceipts(ctx context.Context, db *sql.DB) {
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	check(err)
	for range time.Tick(2 * time.Millisecond) {
		waiting, err := queue.Count(ctx)
		check(err)
		if len(waiting) == 0 {
			return
		}
	}
}

// database makes an SQLite database, with the settings that package store/sqlite asks for,
// and returns what closes and deletes it.
func database(setUp string) (db *sql.DB, remove func()) {
	dir, err := os.MkdirTemp("", "waybill-example-")
	check(err)
	db, err = sql.Open("sqlite", "file:"+filepath.Join(dir, "example.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)")
	check(err)
	_, err = db.Exec(setUp)
	check(err)
	return db, func() {
		db.Close()
		os.RemoveAll(dir)
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
