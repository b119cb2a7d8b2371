package waybill_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	waybill "github.com/waybill-go/waybill"
)

// A service reads its destinations from its configuration: each error is the end of a
// sentence that begins with the name.
func ExampleCheckDestination() {
	for _, name := range []string{"orders", "orders.eu/west", "orders.*", "all orders", "ACK.shop", ""} {
		if err := waybill.CheckDestination(name); err != nil {
			fmt.Printf("%q %v\n", name, err)
		}
	}
	// Output:
	// "orders.*" contains '*', which some broker takes for a wildcard, a list or an option
	// "all orders" contains ' ', which some broker takes for a wildcard, a list or an option
	// "ACK.shop" names that begin with "ack." are reserved for receipts
	// "" is empty
}

// A producer's name has four characters less than other names, since "ack." before it
// has to be a queue's name.
func ExampleCheckProducer() {
	for _, length := range []int{186, 187} {
		name := strings.Repeat("n", length)
		fmt.Printf("%d: producer %v, consumer %v\n", length, waybill.CheckProducer(name), waybill.CheckConsumer(name))
	}
	// Output:
	// 186: producer <nil>, consumer <nil>
	// 187: producer is longer than 186 characters, consumer <nil>
}

// Keys are any text of one line: what an order, an account or a customer is called.
func ExampleCheckKey() {
	for _, key := range []string{"A-7", "Größe 42, blau", "", "A-7\n"} {
		fmt.Printf("%q: %v\n", key, waybill.CheckKey(key))
	}
	// Output:
	// "A-7": <nil>
	// "Größe 42, blau": <nil>
	// "": <nil>
	// "A-7\n": contains the control character '\n'
}

// Headers of a request go on with the message that it leads to, but for those that
// Waybill, a protocol or a broker keeps for itself.
func ExampleCheckHeader() {
	request := map[string]string{
		"traceparent":   "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"tenant":        "north",
		"destination":   "somewhere else",
		"JMSType":       "order",
		"__AMQ_CID":     "7",
		"X-Note":        "two\nlines",
		"accept-länder": "de",
	}
	headers := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(request)) {
		if err := waybill.CheckHeader(name, request[name]); err != nil {
			fmt.Println("left out:", err)
			continue
		}
		headers[name] = request[name]
	}
	fmt.Println("sent:", slices.Sorted(maps.Keys(headers)))
	// Output:
	// left out: header name "JMSType": names that begin with JMS belong to brokers; "x-jmstype" is free
	// left out: header "X-Note": its value contains the control character '\n'
	// left out: header name "__AMQ_CID": names that begin with __AMQ_ belong to brokers; "x-amq_cid" is free
	// left out: header name "accept-länder": use ASCII letters, digits, '_', '-', '.' and '$', a letter first
	// left out: header name "destination" is reserved; "x-destination" is free
	// sent: [tenant traceparent]
}

// A gateway that forwards headers renames those that are reserved, in any case.
func ExampleIsReservedHeader() {
	for _, name := range []string{"Priority", "producer", "Content-Length", "content-type", "tenant"} {
		if waybill.IsReservedHeader(name) {
			name = "original-" + name
		}
		fmt.Println(name)
	}
	// Output:
	// original-Priority
	// original-producer
	// original-Content-Length
	// content-type
	// tenant
}
