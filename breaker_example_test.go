package waybill_test

import (
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// A destination pauses itself for ten minutes when half of its messages, of twenty or more,
// are rejected within a minute, or twenty one after the other.
func ExampleBreaker() {
	b := waybill.Breaker{InARow: 20, Rate: 0.5, Window: time.Minute, For: 10 * time.Minute}
	fmt.Println(b.IsOn(), b.Check())
	fmt.Println(waybill.Breaker{Rate: 50}.Check())
	// Output:
	// true <nil>
	// Rate is 50; it can be above 0, up to 1
}
