// Command whole is an order service and a shipping service in one program, until Ctrl-C.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os/signal"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, "whole.db", time.Second); err != nil {
		log.Fatal(err)
	}
}

// run is both services until ctx ends: an order is placed at each interval.
func run(ctx context.Context, file string, interval time.Duration) error {
	db, err := sql.Open("sqlite", "file:"+file+"?_txlock=immediate&_pragma=busy_timeout(30000)&_pragma=journal_mode(wal)")
	if err != nil {
		return err
	}
	defer db.Close()
	dialect, brk := sqlite.Dialect(), memory.New(nil) // with a server: rabbitmq.New(address, nil) and so on
	out, err := outbox.New(dialect, nil)
	if err != nil {
		return err
	}
	in, inErr := inbox.New(db, dialect, brk, &inbox.Options{Consumer: "shipping"})
	r, relayErr := relay.New(db, dialect, brk, &relay.Options{Producer: "shop", Wake: out.Committed()})
	_, tablesErr := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY); CREATE TABLE IF NOT EXISTS shipments (order_id TEXT PRIMARY KEY)`)
	if err := errors.Join(inErr, relayErr, tablesErr, store.Migrate(ctx, db, dialect, "", store.Producer), store.Migrate(ctx, db, dialect, "", store.Consumer)); err != nil {
		return err
	}
	in.Handle("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO shipments (order_id) VALUES ($1)`, m.Key) // commits with the record
		fmt.Printf("order %s is shipped\n", m.Key)
		return err
	})
	place := func(tx *sql.Tx) error {
		var id string
		if err := tx.QueryRowContext(ctx, `INSERT INTO orders DEFAULT VALUES RETURNING id`).Scan(&id); err != nil {
			return err
		}
		fmt.Printf("order %s is placed\n", id)
		return out.Send(ctx, tx, waybill.Message{Destination: "orders", Key: id}) // commits with the order
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 2)
	for _, part := range []func(context.Context) error{r.Run, in.Run} { // each ends with ctx, within its Drain
		go func() { ended <- part(ctx); stop() }()
	}
	for ctx.Err() == nil {
		if err := out.InTx(ctx, db, place); err != nil && ctx.Err() == nil {
			log.Print(err) // neither an order nor its message
		}
		select {
		case <-time.After(interval):
		case <-ctx.Done():
		}
	}
	return errors.Join(<-ended, <-ended)
}
