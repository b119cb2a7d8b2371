package waybill_test

import (
	"fmt"
	"strings"

	waybill "github.com/waybill-go/waybill"
)

// The rights that a broker should give: the shop reads its receipts, and those who
// consume its messages, and nobody else, write them. The outbox's identity is what
// 'waybill status' shows.
func ExampleReceiptQueue() {
	const identity = "7f3ca2b9d4e80f15c6a3b271"
	consumers := map[string][]string{"shop": {"shipping", "billing"}}
	for producer, names := range consumers {
		queue := waybill.ReceiptQueue(producer, identity)
		fmt.Printf("%s reads %s\n", producer, queue)
		for _, consumer := range names {
			fmt.Printf("%s writes %s\n", consumer, queue)
		}
	}
	// Output:
	// shop reads ack.shop.7f3ca2b9d4e80f15c6a3b271
	// shipping writes ack.shop.7f3ca2b9d4e80f15c6a3b271
	// billing writes ack.shop.7f3ca2b9d4e80f15c6a3b271
}

// What a person does about a rejected message depends on why it was rejected.
func ExampleReceipt() {
	advise := func(r waybill.Receipt) string {
		switch {
		case r.Outcome != waybill.Rejected:
			return "nothing to do"
		case strings.HasPrefix(r.Error, waybill.ReasonForgotten):
			return "look whether it took effect; if not: waybill resend --as-new"
		}
		return "mend the cause, then: waybill resend"
	}
	for _, r := range []waybill.Receipt{
		{Outcome: waybill.Done},
		{Outcome: waybill.Rejected, Error: "no such order"},
		{Outcome: waybill.Rejected, Error: waybill.ReasonForgotten + "older than what is remembered"},
	} {
		fmt.Println(r.Outcome, "-", advise(r))
	}
	// Output:
	// done - nothing to do
	// rejected - mend the cause, then: waybill resend
	// rejected - look whether it took effect; if not: waybill resend --as-new
}
