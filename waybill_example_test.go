package waybill_test

import (
	"database/sql"
	"flag"
	"fmt"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store/sqlite"
)

// A service takes the level of a destination from a flag.
func ExampleLevel() {
	level := waybill.Once
	flags := flag.NewFlagSet("shipping", flag.ContinueOnError)
	flags.Func("level", "what is guarded: once or latest", func(text string) error {
		for _, l := range []waybill.Level{waybill.Once, waybill.Latest} {
			if l.String() == text {
				level = l
				return nil
			}
		}
		return fmt.Errorf("%q is neither %v nor %v", text, waybill.Once, waybill.Latest)
	})
	check(flags.Parse([]string{"--level", "latest"}))
	fmt.Println("stale states are dropped:", level == waybill.Latest)
	// Output:
	// stale states are dropped: true
}

// The zero values are the careful ones: a destination of which nothing is said keeps its
// rows until they are consumed, and its messages travel by way of the broker's disk.
func ExampleConfirmation() {
	var careful relay.Destination
	classic := relay.Destination{Confirm: waybill.Accepted} // for consumers that know nothing of Waybill
	quick := relay.Destination{Transport: waybill.Transient}
	for _, d := range []relay.Destination{careful, classic, quick} {
		fmt.Printf("%v, %v\n", d.Confirm, d.Transport)
	}
	// Output:
	// consumed, durable
	// accepted, durable
	// consumed, transient
}

// Where the row waits for its consumer, the broker may lose the message and need not
// write it to its disk. Where the broker's confirmation is enough, it has to, and a
// relay that is told otherwise is not made.
func ExampleTransport() {
	db, err := sql.Open("sqlite", "shop.db")
	check(err)
	defer db.Close()
	for _, d := range []relay.Destination{
		{Transport: waybill.Transient},
		{Transport: waybill.Transient, Confirm: waybill.Accepted},
	} {
		_, err := relay.New(db, sqlite.Dialect(), memory.New(nil), &relay.Options{
			Producer:     "shop",
			Destinations: map[string]relay.Destination{"orders": d},
		})
		fmt.Printf("%v, %v: refused %t\n", d.Confirm, d.Transport, err != nil)
	}
	// Output:
	// consumed, transient: refused false
	// accepted, transient: refused true
}
