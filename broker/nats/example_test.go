package nats_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/waybill-go/waybill/broker/nats"
)

// A cluster of three servers that each keep the streams. New does not connect.
func ExampleNew() {
	b, err := nats.New("nats://shop:s3cret@n1,n2,n3?replicas=3", nil)
	if err != nil {
		log.Fatal(err)
	}
	can := b.Capabilities()
	fmt.Println(can.Name)
	fmt.Println("shared topics:", can.SharedTopics)
	fmt.Println("shows its password:", strings.Contains(fmt.Sprintf("%+v", b), "s3cret"))
	// Output:
	// NATS JetStream
	// shared topics: true
	// shows its password: false
}

// All that is wrong with the options is said at once.
func ExampleNew_wrong() {
	_, err := nats.New("nats://host?replicas=9", &nats.Options{Window: -1})
	fmt.Println(err)
	// Output:
	// nats: Replicas is 9, not 1 to 5
	// Window is below 0
}
