package waybill_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// Send checks all messages before it writes the first. Its caller leaves out the one
// that cannot be sent, and the transaction goes on.
func ExampleMessageError() {
	ctx := context.Background()
	db, remove := database("")
	defer remove()
	check(store.Migrate(ctx, db, sqlite.Dialect(), "", store.Producer))
	out, err := outbox.New(sqlite.Dialect(), &outbox.Options{MaxBody: 100})
	check(err)

	messages := []waybill.Message{
		{Destination: "invoices", Key: "A-7", Body: []byte("9.95")},
		{Destination: "invoices", Key: "A-8", Body: make([]byte, 5000)},
		{Destination: "invoices", Key: "A-9", Body: []byte("12.50")},
	}
	tx, err := db.BeginTx(ctx, nil)
	check(err)
	defer tx.Rollback()
	err = out.Send(ctx, tx, messages...)
	var bad *waybill.MessageError
	if errors.As(err, &bad) && errors.Is(err, waybill.ErrTooLarge) {
		fmt.Printf("left out: %s of %s is too large\n", bad.Field, messages[bad.Index].Key)
		messages = append(messages[:bad.Index:bad.Index], messages[bad.Index+1:]...)
		err = out.Send(ctx, tx, messages...)
	}
	check(err)
	check(tx.Commit())
	fmt.Println("sent:", len(messages))
	// Output:
	// left out: Body of A-8 is too large
	// sent: 2
}

// A program that finds no tables says what to do, and a test makes them.
func ExampleSchemaError() {
	ctx := context.Background()
	db, remove := database("")
	defer remove()
	queue, err := store.NewQueue(db, sqlite.Dialect(), "")
	check(err)

	err = queue.CheckSchema(ctx)
	fmt.Println(err)
	if errors.Is(err, waybill.ErrSchema) {
		check(store.Migrate(ctx, db, sqlite.Dialect(), "", store.Producer))
	}
	fmt.Println(queue.CheckSchema(ctx))
	// Output:
	// waybill: the producer's tables are missing: run 'waybill init --side producer' or call store.Migrate
	// <nil>
}

// A body that cannot be read will not become readable: a handler that returns this
// gives the message back to the person who can mend its sender.
func ExamplePermanent() {
	read := func(m *waybill.Message) error {
		var order struct{ State string }
		if err := json.Unmarshal(m.Body, &order); err != nil {
			return waybill.Permanent(fmt.Errorf("read order %s: %w", m.Key, err))
		}
		return nil
	}
	err := read(&waybill.Message{Key: "A-7", Body: []byte(`{"state":`)})
	var permanent *waybill.PermanentError
	var syntax *json.SyntaxError
	fmt.Println(err)
	fmt.Println("rejected:", errors.As(err, &permanent))
	fmt.Println("because of its JSON:", errors.As(err, &syntax))
	// Output:
	// read order A-7: unexpected end of JSON input
	// rejected: true
	// because of its JSON: true
}

// A carrier's API says when it wants to be asked again: a handler that returns this
// waits for that long without using up the message's tries. The delay is found again
// however the error is wrapped.
func ExampleRetryAfter() {
	errBusy := errors.New("carrier: 503")
	err := fmt.Errorf("book a parcel: %w", waybill.RetryAfter(90*time.Second, errBusy))

	var retry *waybill.RetryError
	fmt.Println(err)
	if errors.As(err, &retry) {
		fmt.Println("again after", retry.After)
	}
	fmt.Println("because it was busy:", errors.Is(err, errBusy))
	// Output:
	// book a parcel: carrier: 503 (retry after 1m30s)
	// again after 1m30s
	// because it was busy: true
}
