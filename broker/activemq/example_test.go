package activemq_test

import (
	"fmt"
	"log"

	"github.com/waybill-go/waybill/broker/activemq"
)

// The address names a host and no port, since there is one for each protocol.
func ExampleNew() {
	b, err := activemq.New("activemq://shop:s3cret@mq.example.com?amqp_port=5673", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.Capabilities().Name)

	_, err = activemq.New("activemq://shop:s3cret@mq.example.com:5673", nil)
	fmt.Println(err)
	// Output:
	// ActiveMQ (AMQP 1.0 or STOMP 1.2)
	// activemq: the address has a port: say whose with ?amqp_port= or ?stomp_port=, or use an amqp1 or stomp address
}
