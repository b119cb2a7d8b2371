package amqp1_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/waybill-go/waybill/broker/amqp1"
)

// The parameter kind lets a Broker declare what only Artemis can do. New does not connect.
func ExampleNew() {
	b, err := amqp1.New("amqp1://shop:s3cret@mq.example.com?kind=artemis", nil)
	if err != nil {
		log.Fatal(err)
	}
	can := b.Capabilities()
	fmt.Println(can.Name)
	fmt.Println("shared topics:", can.SharedTopics)
	fmt.Println("shows its password:", strings.Contains(fmt.Sprintf("%+v", b), "s3cret"))
	// Output:
	// AMQP 1.0 (ActiveMQ)
	// shared topics: true
	// shows its password: false
}

// A special character of a password has to be percent-encoded; an error about it shows
// nothing of the password.
func ExampleNew_wrong() {
	_, err := amqp1.New("amqp1://shop:s3/cret@mq.example.com", nil)
	fmt.Println(err != nil, strings.Contains(err.Error(), "s3"))

	_, err = amqp1.New("amqp1://shop:s3%2Fcret@mq.example.com", nil)
	fmt.Println(err)
	// Output:
	// true false
	// <nil>
}
