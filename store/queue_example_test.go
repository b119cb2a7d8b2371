package store_test

import (
	"context"
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// What waits in the outbox, by destination.
func ExampleQueue_Count() {
	ctx := context.Background()
	db, err := openMigrated(ctx)
	check(err)
	defer db.Close()
	check(send(ctx, db, waybill.Message{Destination: "orders"}, waybill.Message{Destination: "orders"}, waybill.Message{Destination: "mails"}))

	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	check(err)
	counts, err := queue.Count(ctx)
	check(err)
	for _, c := range counts {
		fmt.Println(c.Destination, c.Rows)
	}
	// Output:
	// mails 1
	// orders 2
}

// A person looks at the messages that a consumer has rejected, and sends one again once
// the reason is gone.
func ExampleQueue_List() {
	ctx := context.Background()
	db, err := openMigrated(ctx)
	check(err)
	defer db.Close()
	id := waybill.NewID()
	check(send(ctx, db, waybill.Message{ID: id, Destination: "orders", Body: []byte("A-1")}))
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	check(err)
	_, err = queue.Reject(ctx, id, "no such customer") // as the relay does with such a receipt
	check(err)

	rejected, err := queue.List(ctx, "orders", store.Rejected, 0, 100)
	check(err)
	for _, r := range rejected {
		fmt.Printf("%s: %s\n", r.Body, r.LastError)
		_, found, err := queue.Resend(ctx, r.MessageID, false)
		check(err)
		fmt.Println("sent again:", found)
	}
	// Output:
	// A-1: no such customer
	// sent again: true
}

// Relays elect one of them by a lease in the database, which also hands on how far the
// table has been read.
func ExampleQueue_AcquireLease() {
	ctx := context.Background()
	db, err := openMigrated(ctx)
	check(err)
	defer db.Close()
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	check(err)

	const ttl = 10 * time.Second
	for _, holder := range []string{"host-1", "host-2"} {
		lease, err := queue.AcquireLease(ctx, "relay", holder, ttl)
		check(err)
		fmt.Printf("%s: %s leads\n", holder, lease.Holder)
	}
	check(queue.ReleaseLease(ctx, "relay", "host-1", 42))
	lease, err := queue.AcquireLease(ctx, "relay", "host-2", ttl)
	check(err)
	fmt.Printf("%s leads and goes on after row %d\n", lease.Holder, lease.Cursor)
	// Output:
	// host-1: host-1 leads
	// host-2: host-1 leads
	// host-2 leads and goes on after row 42
}

// What to do about an error depends on what it means, and not on its driver's text.
func ExampleQueue_Condition() {
	ctx := context.Background()
	db, err := openMemory() // without Waybill's tables
	check(err)
	defer db.Close()
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	check(err)

	_, err = queue.Count(ctx)
	switch queue.Condition(err) {
	case store.NoTable:
		fmt.Println("make the tables first")
	case store.Conflict:
		fmt.Println("run it again")
	case store.Unavailable:
		fmt.Println("wait for the database")
	case store.Other:
		fmt.Println("tell a person:", err)
	}
	// Output: make the tables first
}
