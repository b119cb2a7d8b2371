package address_test

import (
	"fmt"

	"github.com/waybill-go/waybill/internal/address"
)

// An address is checked here, and connected to at the first use.
func ExampleOpenDatabase() {
	for _, addr := range []string{"sqlite:path/to/app.db", "postgres://app:hunter2@db.example.com/app", "postgres://app:hunter/2@db.example.com/app"} {
		db, dialect, err := address.OpenDatabase(addr)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(dialect.Name())
		_ = db.Close()
	}
	// Output:
	// sqlite
	// postgres
	// waybill: the database's address postgres://app:xxxxx@db.example.com/app: is no valid URL: percent-encode what is special in the user's name and password, such as %40 for '@' and %2F for '/'
}

func ExampleOpenBroker() {
	b, err := address.OpenBroker("nats://app:hunter2@mq1.example.com,mq2.example.com")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(b.Capabilities().Name)
	// Output: NATS JetStream
}

func ExampleRedact() {
	fmt.Println(address.Redact("mysql://app:hunter2@db.example.com:3306/app?timeout=5s"))
	// Output: mysql://app:xxxxx@db.example.com:3306/app?timeout=5s
}
