package kafka_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/waybill-go/waybill/broker/kafka"
)

// With one partition, all messages of a queue are in order. New does not connect.
func ExampleNew() {
	for _, address := range []string{"kafka://shop:s3cret@k1,k2,k3", "kafka://shop:s3cret@k1,k2,k3?partitions=1"} {
		b, err := kafka.New(address, nil)
		if err != nil {
			log.Fatal(err)
		}
		can := b.Capabilities()
		fmt.Println(can.Name, "in order:", can.Ordered)
		fmt.Println("shows its password:", strings.Contains(fmt.Sprintf("%+v", b), "s3cret"))
	}
	// Output:
	// Kafka in order: false
	// shows its password: false
	// Kafka in order: true
	// shows its password: false
}

// Destinations can be mapped to topics that are there already.
func ExampleOptions_topic() {
	o := &kafka.Options{Topic: func(destination string, topic bool) string {
		if topic {
			return "" // as the package does it
		}
		return "acme." + destination
	}}
	fmt.Println(o.Topic("orders", false))
	if _, err := kafka.New("kafka://k1", o); err != nil {
		log.Fatal(err)
	}
	// Output: acme.orders
}
