package memory_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
)

// open opens a connection and subscribes to a queue.
func open(b *memory.Broker, queue string) (broker.Conn, broker.Receiver) {
	conn, err := b.Connect(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	receiver, err := conn.Subscribe(context.Background(), broker.Subscription{Destination: queue, Prefetch: 10})
	if err != nil {
		log.Fatal(err)
	}
	return conn, receiver
}

// send publishes a durable message for each body and prints its fate.
func send(conn broker.Conn, queue string, bodies ...string) {
	var messages []broker.Message
	for _, body := range bodies {
		messages = append(messages, broker.Message{Destination: queue, Body: []byte(body)})
	}
	results, err := conn.Publish(context.Background(), messages, waybill.Durable)
	if err != nil {
		log.Fatal(err)
	}
	for i, result := range results {
		fmt.Println(bodies[i], "is", result.Fate)
	}
}

func Example() {
	ctx := context.Background()
	b := memory.New(nil)
	conn, err := b.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)

	message := broker.Message{Destination: "orders", Body: []byte("a bicycle")}
	results, err := conn.Publish(ctx, []broker.Message{message}, waybill.Durable)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(results[0].Fate)

	receiver, err := conn.Subscribe(ctx, broker.Subscription{Destination: "orders", Prefetch: 10})
	if err != nil {
		log.Fatal(err)
	}
	deliveries, err := receiver.Receive(ctx, 10)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", deliveries[0].Body)
	if err := receiver.Settle(ctx, deliveries, broker.Ack); err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.Depth("orders"), "left")
	// Output:
	// confirmed
	// a bicycle
	// 0 left
}

// A broker that confirms a message and loses it.
func ExampleBroker_SetFaults_lose() {
	b := memory.New(nil)
	conn, _ := open(b, "orders")
	b.SetFaults(memory.Fault{Lose: 1})
	send(conn, "orders", "a bicycle")
	fmt.Println(b.Depth("orders"), "kept")
	// Output:
	// a bicycle is confirmed
	// 0 kept
}

// A broker that delivers every message twice.
func ExampleBroker_SetFaults_repeat() {
	b := memory.New(nil)
	conn, receiver := open(b, "orders")
	b.SetFaults(memory.Fault{Repeat: 1})
	send(conn, "orders", "a bicycle")
	deliveries, err := receiver.Receive(context.Background(), 10)
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range deliveries {
		fmt.Printf("received %s\n", d.Body)
	}
	// Output:
	// a bicycle is confirmed
	// received a bicycle
	// received a bicycle
}

// A broker that keeps a message and does not say so, as when its answer is lost.
func ExampleBroker_SetFaults_doubt() {
	b := memory.New(nil)
	conn, _ := open(b, "orders")
	b.SetFaults(memory.Fault{Doubt: 1})
	send(conn, "orders", "a bicycle")
	fmt.Println(b.Depth("orders"), "kept")
	// Output:
	// a bicycle is unknown
	// 1 kept
}

// A broker that refuses receipts and takes everything else.
func ExampleBroker_SetFaults_refuse() {
	b := memory.New(nil)
	conn, _ := open(b, "orders")
	b.SetFaults(memory.Fault{Where: memory.Receipts, Refuse: 1})
	send(conn, "orders", "a bicycle")
	send(conn, "ack.shop", "a receipt")

	b.SetFaults() // all is well again
	send(conn, "ack.shop", "a receipt")
	// Output:
	// a bicycle is confirmed
	// a receipt is refused
	// a receipt is confirmed
}

// One message in ten is lost: the same ones in every run with the same Seed.
func ExampleBroker_Stats() {
	lost := func(seed uint64) int64 {
		b := memory.New(&memory.Options{Seed: seed})
		b.SetFaults(memory.Fault{Lose: 0.1})
		conn, _ := open(b, "orders")
		batch := make([]broker.Message, 1000)
		for i := range batch {
			batch[i].Destination = "orders"
		}
		if _, err := conn.Publish(context.Background(), batch, waybill.Durable); err != nil {
			log.Fatal(err)
		}
		return b.Stats().Lost
	}
	first, second := lost(7), lost(7)
	fmt.Println("some are lost:", first > 0)
	fmt.Println("as many the second time:", first == second)
	// Output:
	// some are lost: true
	// as many the second time: true
}

// What was received and not settled comes again over the next connection.
func ExampleBroker_Break() {
	ctx := context.Background()
	b := memory.New(nil)
	conn, receiver := open(b, "orders")
	send(conn, "orders", "a bicycle")
	if _, err := receiver.Receive(ctx, 10); err != nil {
		log.Fatal(err)
	}

	b.Break()
	<-conn.Done()
	fmt.Println(conn.Err())

	_, receiver = open(b, "orders")
	deliveries, err := receiver.Receive(ctx, 10)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("received %s, redelivered: %v\n", deliveries[0].Body, deliveries[0].Redelivered)
	// Output:
	// a bicycle is confirmed
	// waybill: the connection to the memory broker broke
	// received a bicycle, redelivered: true
}

// A broker that is stopped and started again.
func ExampleBroker_Down() {
	b := memory.New(nil)
	conn, _ := open(b, "orders")
	send(conn, "orders", "a bicycle")

	b.Down()
	_, err := b.Connect(context.Background())
	fmt.Println(err)

	b.Up()
	_, err = b.Connect(context.Background())
	fmt.Println(err, b.Depth("orders"))
	// Output:
	// a bicycle is confirmed
	// waybill: the memory broker is down; it comes back with Up
	// <nil> 1
}

// A broker that hangs: calls end with their contexts, and connections stay.
func ExampleBroker_Hold() {
	b := memory.New(nil)
	conn, _ := open(b, "orders")

	b.Hold()
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	results, err := conn.Publish(ctx, []broker.Message{{Destination: "orders"}}, waybill.Durable)
	fmt.Println(results[0].Fate, errors.Is(results[0].Err, context.DeadlineExceeded), err)

	b.Release()
	send(conn, "orders", "a bicycle")
	// Output:
	// unknown true <nil>
	// a bicycle is confirmed
}

// A broker that loses its disk.
func ExampleBroker_Wipe() {
	b := memory.New(nil)
	conn, _ := open(b, "orders")
	send(conn, "orders", "a bicycle", "a bell")
	fmt.Println(b.Wipe(), "lost,", b.Depth("orders"), "left")
	// Output:
	// a bicycle is confirmed
	// a bell is confirmed
	// 2 lost, 0 left
}

// What a consumer has rejected.
func ExampleBroker_DeadLetters() {
	ctx := context.Background()
	b := memory.New(nil)
	conn, receiver := open(b, "orders")
	send(conn, "orders", "a bicycle with three wheels")
	deliveries, err := receiver.Receive(ctx, 1)
	if err != nil {
		log.Fatal(err)
	}
	if err := receiver.Settle(ctx, deliveries, broker.DeadLetter); err != nil {
		log.Fatal(err)
	}
	for _, m := range b.DeadLetters("orders") {
		fmt.Printf("rejected: %s\n", m.Body)
	}
	// Output:
	// a bicycle with three wheels is confirmed
	// rejected: a bicycle with three wheels
}

// A queue that is full refuses messages until some are settled.
func ExampleOptions_maxDepth() {
	b := memory.New(&memory.Options{MaxDepth: 1})
	conn, _ := open(b, "orders")
	send(conn, "orders", "a bicycle", "a bell")
	// Output:
	// a bicycle is confirmed
	// a bell is refused
}

// A message for a queue that nobody has made is refused.
func ExampleBroker_Declare() {
	b := memory.New(&memory.Options{NoCreate: true})
	b.Declare("orders")
	conn, err := b.Connect(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	send(conn, "orders", "a bicycle")
	send(conn, "odrers", "a typing error")
	// Output:
	// a bicycle is confirmed
	// a typing error is refused
}
