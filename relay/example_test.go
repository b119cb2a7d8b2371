package relay_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// The whole way of a message: the shop commits it, its relay sends it, shipping
// handles it in an inbox, and when the receipt is back the shop's row goes.
func Example() {
	shop := openShop()
	defer shop.close()
	b := memory.New(nil)

	r, err := relay.New(shop.db, sqlite.Dialect(), b, &relay.Options{Producer: "shop", Logger: quiet})
	if err != nil {
		panic(err)
	}
	defer run(r)()

	db := must(sql.Open("sqlite", "file:"+filepath.Join(shop.dir, "shipping.db")+"?_txlock=immediate"))
	defer db.Close()
	check(store.Migrate(context.Background(), db, sqlite.Dialect(), "", store.Consumer))
	in, err := inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping", Logger: quiet})
	if err != nil {
		panic(err)
	}
	in.Handle("orders", waybill.Once, func(_ context.Context, _ *sql.Tx, m *waybill.Message) error {
		fmt.Printf("shipping handles %s\n", m.Body)
		return nil
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx) }()

	shop.send(waybill.Message{Destination: "orders", Body: []byte("order 7")})
	waitUntil(func() bool { return shop.rows() == 0 })
	stop()
	check(<-ended)
	fmt.Println("rows in the outbox:", shop.rows())
	// Output:
	// shipping handles order 7
	// rows in the outbox: 0
}

// Everything that is wrong with the options is reported at once.
func ExampleNew_problems() {
	shop := openShop()
	defer shop.close()
	_, err := relay.New(shop.db, sqlite.Dialect(), memory.New(nil), &relay.Options{
		Producer:  "our shop",
		Window:    -1,
		MinResend: time.Hour, MaxResend: time.Minute,
		Destinations: map[string]relay.Destination{
			"orders": {Confirm: waybill.Accepted, Transport: waybill.Transient},
			"news":   {Consumers: []string{"search", "search"}},
		},
	})
	fmt.Println(err)
	// Output:
	// waybill: relay options: Producer "our shop" contains ' ', which some broker takes for a wildcard, a list or an option
	// Window is -1; it can be 1 to 10000000, or 0 for 10000
	// MinResend 1h0m0s is above MaxResend 1m0s
	// Destinations["news"]: consumer "search" is named twice
	// Destinations["orders"]: Accepted needs Durable: a broker that confirms a transient message may still lose it
}

// Run returns when its context is cancelled, and has then given the lease back:
// another relay can lead at once.
func ExampleRelay_Run() {
	shop := openShop()
	defer shop.close()
	b := memory.New(nil)
	r, err := relay.New(shop.db, sqlite.Dialect(), b, &relay.Options{Producer: "shop", Drain: time.Second, Logger: quiet})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	waitUntil(func() bool { return r.Stats().Leading })

	stop()
	fmt.Println("error:", <-ended)
	queue := must(store.NewQueue(shop.db, sqlite.Dialect(), ""))
	lease := must(queue.Lease(context.Background(), "relay"))
	fmt.Println("the lease is held:", lease.Left > 0)
	// Output:
	// error: <nil>
	// the lease is held: false
}

// Tables that are not there are nothing to wait for: Run says so at once.
func ExampleRelay_Run_noTables() {
	dir := must(os.MkdirTemp("", "waybill-example-"))
	defer os.RemoveAll(dir)
	db := must(sql.Open("sqlite", filepath.Join(dir, "empty.db")))
	defer db.Close()
	r, err := relay.New(db, sqlite.Dialect(), memory.New(nil), &relay.Options{Producer: "shop", Logger: quiet})
	if err != nil {
		panic(err)
	}
	err = r.Run(context.Background())
	fmt.Println(errors.Is(err, waybill.ErrSchema))
	fmt.Println(err)
	// Output:
	// true
	// waybill: the producer's tables are missing: run 'waybill init --side producer' or call store.Migrate
}

// Of two relays one leads and the other stands by, in the same process or on another
// machine. It takes over when the first one stops; had that died, it would when the
// lease is over.
func ExampleRelay_Run_standby() {
	shop := openShop()
	defer shop.close()
	b := memory.New(nil)
	o := relay.Options{Producer: "shop", Lease: 150 * time.Millisecond, Logger: quiet}
	first := must(relay.New(shop.db, sqlite.Dialect(), b, &o))
	second := must(relay.New(shop.db, sqlite.Dialect(), b, &o))

	stopFirst := run(first)
	waitUntil(func() bool { return first.Stats().Leading })
	stopSecond := run(second)
	fmt.Println("the first leads:", first.Stats().Leading)
	fmt.Println("the second leads:", second.Stats().Leading)

	stopFirst()
	waitUntil(func() bool { return second.Stats().Leading })
	fmt.Println("the second leads:", second.Stats().Leading)
	stopSecond()
	// Output:
	// the first leads: true
	// the second leads: false
	// the second leads: true
}

// An outbox of the same process wakes the relay with each commit, so that nothing
// waits for the next poll.
func ExampleOptions_wake() {
	shop := openShop()
	defer shop.close()
	b := memory.New(nil)
	r, err := relay.New(shop.db, sqlite.Dialect(), b, &relay.Options{
		Producer: "shop",
		Wake:     shop.outbox.Committed(),
		Poll:     time.Hour,
		Logger:   quiet,
	})
	if err != nil {
		panic(err)
	}
	defer run(r)()
	waitUntil(func() bool { return r.Stats().Connected })

	shop.send(waybill.Message{Destination: "orders", Body: []byte("order 7")})
	m := connect(b, "shipping", broker.Subscription{Destination: "orders"}).receive()
	fmt.Printf("%s arrived\n", m.Body)
	// Output:
	// order 7 arrived
}

// A program in any language can insert rows by itself. One in the process of the relay
// can wake it then; others wait for the next poll.
func ExampleRelay_Wake() {
	shop := openShop()
	defer shop.close()
	b := memory.New(nil)
	r, err := relay.New(shop.db, sqlite.Dialect(), b, &relay.Options{Producer: "shop", Poll: time.Hour, Logger: quiet})
	if err != nil {
		panic(err)
	}
	defer run(r)()
	waitUntil(func() bool { return r.Stats().Connected })

	must(shop.db.Exec(`INSERT INTO qmessage (destination, message_content) VALUES ('orders', 'order 7')`))
	r.Wake()
	m := connect(b, "shipping", broker.Subscription{Destination: "orders"}).receive()
	fmt.Printf("%s arrived\n", m.Body)
	// Output:
	// order 7 arrived
}

// Stats tells how far a relay is, in all and for each destination.
func ExampleRelay_Stats() {
	shop := openShop()
	defer shop.close()
	b := memory.New(nil)
	r := must(relay.New(shop.db, sqlite.Dialect(), b, &relay.Options{Producer: "shop", Logger: quiet}))
	defer run(r)()
	shipping := connect(b, "shipping", broker.Subscription{Destination: "orders"})

	ids := shop.send(waybill.Message{Destination: "orders"}, waybill.Message{Destination: "orders"})
	shipping.receive()
	shipping.receive()
	shipping.says(waybill.Receipt{ID: ids[0], Outcome: waybill.Done})
	waitUntil(func() bool { return r.Stats().Published == 2 && r.Stats().Destinations[0].Unconfirmed == 1 })

	s := r.Stats()
	fmt.Println("published:", s.Published)
	fmt.Println("confirmed:", s.Confirmed)
	for _, d := range s.Destinations {
		fmt.Printf("%s: %d of a window of %d have no receipt\n", d.Destination, d.Unconfirmed, d.Window)
	}
	// Output:
	// published: 2
	// confirmed: 1
	// orders: 1 of a window of 10000 have no receipt
}

// With Accepted the row goes when the broker has confirmed the message: for consumers
// that know nothing of Waybill. Whatever the broker loses afterwards is lost.
func ExampleDestination_accepted() {
	shop := openShop()
	defer shop.close()
	b := memory.New(nil)
	r, err := relay.New(shop.db, sqlite.Dialect(), b, &relay.Options{
		Producer:     "shop",
		Destinations: map[string]relay.Destination{"legacy": {Confirm: waybill.Accepted}},
		Logger:       quiet,
	})
	if err != nil {
		panic(err)
	}
	defer run(r)()

	shop.send(waybill.Message{Destination: "legacy"})
	waitUntil(func() bool { return shop.rows() == 0 })
	m := connect(b, "legacy", broker.Subscription{Destination: "legacy"}).receive()
	fmt.Println("rows in the outbox:", shop.rows())
	fmt.Println("receipts go to:", header(&m, "receiptTo"))
	// Output:
	// rows in the outbox: 0
	// receipts go to: none
}

// Transient messages need not be written to the broker's disk. What it loses when it
// stops is sent again, since the row is still there.
func ExampleDestination_transient() {
	shop := openShop()
	defer shop.close()
	b := memory.New(nil)
	r, err := relay.New(shop.db, sqlite.Dialect(), b, &relay.Options{
		Producer:     "shop",
		Destinations: map[string]relay.Destination{"prices": {Transport: waybill.Transient}},
		Logger:       quiet,
	})
	if err != nil {
		panic(err)
	}
	defer run(r)()

	shop.send(waybill.Message{Destination: "prices"})
	waitUntil(func() bool { return b.Depth("prices") == 1 })
	b.Down()
	fmt.Println("messages after the broker stopped:", b.Depth("prices"))
	b.Up()
	waitUntil(func() bool { return b.Depth("prices") == 1 })
	fmt.Println("messages after the relay connected again:", b.Depth("prices"))
	// Output:
	// messages after the broker stopped: 0
	// messages after the relay connected again: 1
}

// The row of a message to a topic goes when each of the named consumers has receipted
// it.
func ExampleDestination_consumers() {
	shop := openShop()
	defer shop.close()
	b := memory.New(nil)
	r, err := relay.New(shop.db, sqlite.Dialect(), b, &relay.Options{
		Producer:     "shop",
		Destinations: map[string]relay.Destination{"news": {Consumers: []string{"search", "mail"}}},
		Logger:       quiet,
	})
	if err != nil {
		panic(err)
	}
	defer run(r)()
	search := connect(b, "search", broker.Subscription{Destination: "news", Topic: true})
	mail := connect(b, "mail", broker.Subscription{Destination: "news", Topic: true})

	ids := shop.send(waybill.Message{Destination: "news", Topic: true})
	search.receive()
	search.says(waybill.Receipt{ID: ids[0], Outcome: waybill.Done})
	waitUntil(func() bool { return r.Stats().Receipts == 1 })
	fmt.Println("rows after the receipt of search:", shop.rows())

	mail.receive()
	mail.says(waybill.Receipt{ID: ids[0], Outcome: waybill.Done})
	waitUntil(func() bool { return shop.rows() == 0 })
	fmt.Println("rows after the receipt of mail, too:", shop.rows())
	// Output:
	// rows after the receipt of search: 1
	// rows after the receipt of mail, too: 0
}

// A window bounds what is with the broker and not receipted. The rest waits in the
// table, where it is safe, and holds up no other destination.
func ExampleDestination_window() {
	shop := openShop()
	defer shop.close()
	b := memory.New(nil)
	r, err := relay.New(shop.db, sqlite.Dialect(), b, &relay.Options{
		Producer:     "shop",
		Destinations: map[string]relay.Destination{"reports": {Window: 2}},
		Logger:       quiet,
	})
	if err != nil {
		panic(err)
	}
	defer run(r)()

	for i := range 5 {
		shop.send(waybill.Message{Destination: "reports", Body: fmt.Append(nil, "report ", i+1)})
	}
	waitUntil(func() bool { return len(r.Stats().Destinations) == 1 && r.Stats().Destinations[0].Backlog })
	d := r.Stats().Destinations[0]
	fmt.Printf("%d in the window, more in the table: %v\n", d.Unconfirmed, d.Backlog)

	consumer := connect(b, "printer", broker.Subscription{Destination: "reports"})
	for range 5 {
		m := consumer.receive()
		fmt.Printf("%s arrived\n", m.Body)
		consumer.says(waybill.Receipt{ID: must(waybill.ParseID(header(&m, "messageId"))), Outcome: waybill.Done})
	}
	// Output:
	// 2 in the window, more in the table: true
	// report 1 arrived
	// report 2 arrived
	// report 3 arrived
	// report 4 arrived
	// report 5 arrived
}

// A message without a receipt is sent again after a while, and its header "attempt"
// tells so. Consumers drop the copies of what they have handled.
func ExampleOptions_resend() {
	shop := openShop()
	defer shop.close()
	b := memory.New(nil)
	r, err := relay.New(shop.db, sqlite.Dialect(), b, &relay.Options{Producer: "shop", FirstResend: 10 * time.Millisecond, MinResend: 10 * time.Millisecond, Logger: quiet})
	if err != nil {
		panic(err)
	}
	defer run(r)()
	shipping := connect(b, "shipping", broker.Subscription{Destination: "orders"})

	shop.send(waybill.Message{Destination: "orders"})
	for range 2 {
		m := shipping.receive()
		fmt.Println("attempt", header(&m, "attempt"))
	}
	// Output:
	// attempt 0
	// attempt 1
}

// A consumer that asks for a retry gets another copy after a delay. One that rejects a
// message gets no more: the row stays, with the reason, for a person to look at.
func Example_receipts() {
	shop := openShop()
	defer shop.close()
	b := memory.New(nil)
	r, err := relay.New(shop.db, sqlite.Dialect(), b, &relay.Options{Producer: "shop", MinRetry: time.Millisecond, Logger: quiet})
	if err != nil {
		panic(err)
	}
	defer run(r)()
	shipping := connect(b, "shipping", broker.Subscription{Destination: "orders"})

	id := shop.send(waybill.Message{Destination: "orders"})[0]
	m := shipping.receive()
	fmt.Println("failures:", header(&m, "failures"))
	shipping.says(waybill.Receipt{ID: id, Outcome: waybill.Retry, Error: "the carrier does not answer"})
	m = shipping.receive()
	fmt.Println("failures:", header(&m, "failures"))
	shipping.says(waybill.Receipt{ID: id, Outcome: waybill.Rejected, Error: "no such address"})
	waitUntil(func() bool { return r.Stats().Rejected == 1 })

	queue := must(store.NewQueue(shop.db, sqlite.Dialect(), ""))
	for _, row := range must(queue.List(context.Background(), "", store.Rejected, 0, 10)) {
		fmt.Printf("kept for a person, to %s: %s\n", row.Destination, row.LastError)
	}
	// Output:
	// failures: none
	// failures: 1
	// kept for a person, to orders: shipping: no such address
}
