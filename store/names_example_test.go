package store_test

import (
	"fmt"

	"github.com/waybill-go/waybill/store"
)

// Two applications share a database: each has tables with a prefix of its own, or in a
// schema of its own.
func ExampleNewNames() {
	for _, prefix := range []string{"", "shop_", "shop.", "shop.mail_", "Shop-"} {
		names, err := store.NewNames(prefix)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Printf("%-12q %s\n", prefix, names.Message)
	}
	// Output:
	// ""           qmessage
	// "shop_"      shop_qmessage
	// "shop."      shop.qmessage
	// "shop.mail_" shop.mail_qmessage
	// waybill: table prefix "Shop-": use lower-case letters, digits and '_' (such as "app_"), or a schema with a dot ("app.")
}

// A statement of one's own names the tables as Waybill's statements do.
func ExampleNames_SQL() {
	names, err := store.NewNames("shop_")
	check(err)
	fmt.Println(names.SQL(`SELECT count(*) FROM {qmessage} WHERE status = 2`))
	// Output: SELECT count(*) FROM shop_qmessage WHERE status = 2
}
