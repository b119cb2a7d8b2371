package waybill_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	waybill "github.com/waybill-go/waybill"
)

// IDs sort by the time at which they were minted, so that a list of messages needs no
// column of its own for its order.
func ExampleNewID() {
	said := map[waybill.ID]string{}
	for _, word := range []string{"placed", "shipped", "delivered"} {
		said[waybill.NewID()] = word // a map keeps no order
	}
	for _, id := range slices.SortedFunc(maps.Keys(said), waybill.ID.Compare) {
		fmt.Println(said[id])
	}
	// Output:
	// placed
	// shipped
	// delivered
}

// A reminder that is due in a month gets an ID of that time: it sorts behind what is
// sent until then, and does not keep consumers from forgetting older messages.
func ExampleNewIDAt() {
	today := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	reminder := waybill.NewIDAt(today.AddDate(0, 1, 0))
	tomorrow := waybill.NewIDAt(today.AddDate(0, 0, 1))
	fmt.Println("due:", reminder.Time().UTC().Format(time.DateTime))
	fmt.Println("behind tomorrow's messages:", reminder.Compare(tomorrow) > 0)
	// Output:
	// due: 2026-04-01 09:00:00
	// behind tomorrow's messages: true
}

// LowestID turns a time into a bound for IDs: WHERE message_id < ? finds what is older.
func ExampleLowestID() {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	bound := waybill.LowestID(noon)
	for _, at := range []time.Time{noon.Add(-time.Millisecond), noon, noon.Add(time.Millisecond)} {
		fmt.Println(at.Format("15:04:05.000"), "is older:", waybill.NewIDAt(at).Compare(bound) < 0)
	}
	// Output:
	// 11:59:59.999 is older: true
	// 12:00:00.000 is older: false
	// 12:00:00.001 is older: false
}

// An operator pastes an ID from a log: it is checked before anybody is asked for its
// message, and it tells how old the message is.
func ExampleParseID() {
	for _, pasted := range []string{
		"0195507B-0800-7000-8000-00000000002A",
		"0195507b-0800-7000-8000-00000000002",
		"f47ac10b-58cc-4372-a567-0e02b2c3d479",
	} {
		id, err := waybill.ParseID(pasted)
		switch {
		case err != nil:
			fmt.Println(err)
		case !id.IsV7():
			fmt.Println(id, "is a UUID, but no message's")
		default:
			fmt.Println(id, "was sent at", id.Time().UTC().Format(time.DateTime))
		}
	}
	// Output:
	// 0195507b-0800-7000-8000-00000000002a was sent at 2025-03-01 06:53:15
	// waybill: "0195507b-0800-7000-8000-00000000002" is no UUID
	// f47ac10b-58cc-4372-a567-0e02b2c3d479 is a UUID, but no message's
}

// An ID is text in JSON and in a database's column, and the zero ID is what a column
// without one reads as.
func ExampleID_Scan() {
	var row struct {
		Message waybill.ID `json:"message"`
		Cause   waybill.ID `json:"cause"`
	}
	check(row.Message.Scan("0195507b-0800-7000-8000-00000000002a")) // as Rows.Scan does
	check(row.Cause.Scan(nil))                                      // NULL
	text, err := json.Marshal(row)
	check(err)
	fmt.Println(string(text))
	fmt.Println("has a cause:", !row.Cause.IsZero())
	// Output:
	// {"message":"0195507b-0800-7000-8000-00000000002a","cause":"00000000-0000-0000-0000-000000000000"}
	// has a cause: false
}
