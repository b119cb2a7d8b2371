package broker_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
)

// A message on its way through any broker: published, received and settled.
func Example() {
	ctx := context.Background()
	var b broker.Broker = memory.New(nil) // or nats.New, rabbitmq.New and so on
	conn, err := b.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)

	messages := []broker.Message{{
		Destination: "orders",
		Headers:     []broker.Header{{Name: "colour", Value: "red"}},
		Body:        []byte("a bicycle"),
	}}
	results, err := conn.Publish(ctx, messages, waybill.Durable)
	if err != nil {
		log.Fatal(err) // the connection has broken
	}
	for i, result := range results {
		fmt.Printf("%s: %v\n", messages[i].Body, result.Fate)
	}

	receiver, err := conn.Subscribe(ctx, broker.Subscription{Destination: "orders", Prefetch: 10})
	if err != nil {
		log.Fatal(err)
	}
	deliveries, err := receiver.Receive(ctx, 10)
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range deliveries {
		colour, _ := d.Header("colour")
		fmt.Printf("received %s in %s\n", d.Body, colour)
	}
	if err := receiver.Settle(ctx, deliveries, broker.Ack); err != nil {
		log.Fatal(err)
	}
	// Output:
	// a bicycle: confirmed
	// received a bicycle in red
}

// Each consumer of a topic is a Group, which gets every message.
func ExampleSubscription_topic() {
	ctx := context.Background()
	conn, err := memory.New(nil).Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)

	groups := []string{"billing", "shipping"}
	var receivers []broker.Receiver
	for _, group := range groups {
		r, err := conn.Subscribe(ctx, broker.Subscription{Destination: "orders", Topic: true, Group: group, Prefetch: 10})
		if err != nil {
			log.Fatal(err)
		}
		receivers = append(receivers, r)
	}
	message := broker.Message{Destination: "orders", Topic: true, Body: []byte("a bicycle")}
	if _, err := conn.Publish(ctx, []broker.Message{message}, waybill.Durable); err != nil {
		log.Fatal(err)
	}
	for i, r := range receivers {
		deliveries, err := r.Receive(ctx, 10)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s receives %s\n", groups[i], deliveries[0].Body)
	}
	// Output:
	// billing receives a bicycle
	// shipping receives a bicycle
}

// What the fate of a message means for whoever has published it.
func ExampleFate() {
	for _, fate := range []broker.Fate{broker.Confirmed, broker.Refused, broker.Unacceptable, broker.Unknown} {
		switch fate {
		case broker.Confirmed:
			fmt.Println(fate, "- the broker has it")
		case broker.Refused:
			fmt.Println(fate, "- the broker does not have it; try again later")
		case broker.Unacceptable:
			fmt.Println(fate, "- the broker will never take it")
		case broker.Unknown:
			fmt.Println(fate, "- the broker may have it; send it again")
		}
	}
	// Output:
	// confirmed - the broker has it
	// refused - the broker does not have it; try again later
	// unacceptable - the broker will never take it
	// unknown - the broker may have it; send it again
}

// After Close, a connection and its receivers say so.
func ExampleConn_close() {
	ctx := context.Background()
	conn, err := memory.New(nil).Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	receiver, err := conn.Subscribe(ctx, broker.Subscription{Destination: "orders", Prefetch: 10})
	if err != nil {
		log.Fatal(err)
	}
	if err := conn.Close(ctx); err != nil {
		log.Fatal(err)
	}
	_, err = receiver.Receive(ctx, 10)
	fmt.Println(errors.Is(err, broker.ErrClosed), errors.Is(conn.Err(), broker.ErrClosed))
	// Output: true true
}
