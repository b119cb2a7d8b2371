package rabbitmq_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/waybill-go/waybill/broker/rabbitmq"
)

// Quorum queues with a limit, whose dead letters go to a queue of their own. New does not
// connect.
func ExampleNew() {
	b, err := rabbitmq.New("rabbitmq://shop:s3cret@mq.example.com/orders?queue_type=quorum", &rabbitmq.Options{
		Arguments: map[string]any{
			"x-max-length":              100_000,
			"x-overflow":                "reject-publish",
			"x-dead-letter-exchange":    "",
			"x-dead-letter-routing-key": "rejected",
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	can := b.Capabilities()
	fmt.Println(can.Name)
	fmt.Println("dead letters:", can.DeadLetter)
	fmt.Println("shows its password:", strings.Contains(fmt.Sprintf("%+v", b), "s3cret"))
	// Output:
	// AMQP 0-9-1 (RabbitMQ)
	// dead letters: true
	// shows its password: false
}

// All that is wrong with the options is said at once.
func ExampleNew_wrong() {
	_, err := rabbitmq.New("rabbitmq://mq.example.com?declare=perhaps", &rabbitmq.Options{QueueType: "stream"})
	fmt.Println(err)
	// Output:
	// rabbitmq: the queue type is "stream", not classic or quorum
	// the parameter declare is neither true nor false
}
