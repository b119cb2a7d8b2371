// Package orders_test runs the two services of the example in one process.
package orders_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/examples/orders/connect"
	"github.com/waybill-go/waybill/examples/orders/order"
	"github.com/waybill-go/waybill/examples/orders/shipment"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
)

// Both services, each with a database of its own, over a broker that loses, repeats
// and reorders messages. Orders are changed while shipping is at work, one of them is
// changed in a way that is not allowed, and both sides end with the same states.
func Example() {
	if err := run(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// order C-3 cannot be delivered: it does not exist, or is not in the state before
	// order A-1 cannot be placed: it was placed before
	// A-1: the shop says delivered, shipping says delivered
	// B-2: the shop says shipped, shipping says shipped
	// C-3: the shop says placed, shipping says placed
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "orders-example-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	quiet := slog.New(slog.DiscardHandler)
	broker := memory.New(nil)
	broker.SetFaults(memory.Fault{Lose: 0.2, Repeat: 0.2, Reorder: 0.2})

	// The order service, with its relay.
	shopDB, dialect, err := connect.Database("sqlite:" + filepath.Join(dir, "shop.db"))
	if err != nil {
		return err
	}
	defer shopDB.Close()
	orders, err := order.New(ctx, shopDB, dialect)
	if err != nil {
		return err
	}
	r, err := relay.New(shopDB, dialect, broker, &relay.Options{
		Producer: "shop", Wake: orders.Committed(), Logger: quiet,
		FirstResend: 100 * time.Millisecond, MinResend: 50 * time.Millisecond, // an example should not take long
	})
	if err != nil {
		return err
	}

	// The shipping service.
	shippingDB, dialect, err := connect.Database("sqlite:" + filepath.Join(dir, "shipping.db"))
	if err != nil {
		return err
	}
	defer shippingDB.Close()
	shipments, err := shipment.New(ctx, shippingDB, dialect, broker, &inbox.Options{Consumer: "shipping", Logger: quiet})
	if err != nil {
		return err
	}

	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- connect.Run(running, r.Run, shipments.Run) }()
	for _, step := range []func() error{
		func() error { return orders.Place(ctx, "A-1") },
		func() error { return orders.Place(ctx, "B-2") },
		func() error { return orders.Change(ctx, "A-1", order.Shipped) },
		func() error { return orders.Change(ctx, "B-2", order.Shipped) },
		func() error { return orders.Change(ctx, "A-1", order.Delivered) },
		func() error { return orders.Place(ctx, "C-3") },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	fmt.Println(orders.Change(ctx, "C-3", order.Delivered))
	fmt.Println(orders.Place(ctx, "A-1"))

	// Every row of the outbox goes when its receipt has come back.
	queue, err := store.NewQueue(shopDB, dialect, "")
	if err != nil {
		return err
	}
	for range time.Tick(5 * time.Millisecond) {
		waiting, err := queue.Count(ctx)
		if err != nil {
			return err
		}
		if len(waiting) == 0 {
			break
		}
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	for _, id := range []string{"A-1", "B-2", "C-3"} {
		said, err := orders.State(ctx, id)
		if err != nil {
			return err
		}
		arrived, err := shipments.State(ctx, id)
		if err != nil {
			return err
		}
		fmt.Printf("%s: the shop says %s, shipping says %s\n", id, said, arrived)
	}
	return nil
}
