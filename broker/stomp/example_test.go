package stomp_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/waybill-go/waybill/broker/stomp"
)

// The parameter kind lets a Broker declare what only Classic can do. New does not connect.
func ExampleNew() {
	b, err := stomp.New("stomp://shop:s3cret@mq.example.com?kind=classic", nil)
	if err != nil {
		log.Fatal(err)
	}
	can := b.Capabilities()
	fmt.Println(can.Name)
	fmt.Println("dead letters:", can.DeadLetter)
	fmt.Println("shows its password:", strings.Contains(fmt.Sprintf("%+v", b), "s3cret"))
	// Output:
	// STOMP 1.2 (ActiveMQ)
	// dead letters: true
	// shows its password: false
}

// What is wrong with an address and with options is said at once.
func ExampleNew_wrong() {
	_, err := stomp.New("stomp://shop:s3cret@mq.example.com?kind=rabbit", &stomp.Options{MaxMessage: -1})
	fmt.Println(err)
	// Output:
	// stomp: the parameter kind is "rabbit", not classic or artemis
	// MaxMessage is below 0
}
