package embedded_test

import (
	"context"
	"fmt"
	"log"
	"os"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/nats/embedded"
)

// What was confirmed is in the directory, and survives the end of the server.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "waybill-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b, err := embedded.New(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Shutdown()

	conn, err := b.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	message := broker.Message{Destination: "orders", Body: []byte("a bicycle")}
	results, err := conn.Publish(ctx, []broker.Message{message}, waybill.Durable)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(results[0].Fate)

	b.Kill()
	<-conn.Done() // the connection says that it has ended
	if err := b.Start(); err != nil {
		log.Fatal(err)
	}

	conn, err = b.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	receiver, err := conn.Subscribe(ctx, broker.Subscription{Destination: "orders", Prefetch: 10})
	if err != nil {
		log.Fatal(err)
	}
	deliveries, err := receiver.Receive(ctx, 10)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("received %s\n", deliveries[0].Body)
	if err := receiver.Settle(ctx, deliveries, broker.Ack); err != nil {
		log.Fatal(err)
	}
	// Output:
	// confirmed
	// received a bicycle
}

// How many messages wait, by queue.
func ExampleBroker_Depths() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "waybill-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b, err := embedded.New(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Shutdown()
	conn, err := b.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	batch := []broker.Message{{Destination: "orders"}, {Destination: "orders"}, {Destination: "invoices"}}
	if _, err := conn.Publish(ctx, batch, waybill.Durable); err != nil {
		log.Fatal(err)
	}
	depths, err := b.Depths()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(depths)
	// Output: map[invoices:1 orders:2]
}
