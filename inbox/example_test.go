package inbox_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// quiet keeps the examples' failures out of the log.
var quiet = slog.New(slog.DiscardHandler)

// openDatabase makes a database with a business table, shipments, and Waybill's tables
// for consumers. remove closes and removes it.
func openDatabase() (db *sql.DB, remove func()) {
	dir := must(os.MkdirTemp("", "inbox"))
	db, dialect, err := address.OpenDatabase("sqlite:" + filepath.Join(dir, "shipping.db"))
	if err == nil {
		err = store.Migrate(context.Background(), db, dialect, "", store.Consumer)
	}
	if err != nil {
		panic(err)
	}
	must(db.Exec(`CREATE TABLE shipments (number text, state text)`))
	return db, func() {
		db.Close()
		os.RemoveAll(dir)
	}
}

// must returns what a call returned without an error.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// shipments prints the business table.
func shipments(db *sql.DB) {
	rows := must(db.Query(`SELECT number, state FROM shipments ORDER BY rowid`))
	defer rows.Close()
	for rows.Next() {
		var number, state string
		if err := rows.Scan(&number, &state); err != nil {
			panic(err)
		}
		fmt.Println("shipment", number, state)
	}
	if err := rows.Err(); err != nil {
		panic(err)
	}
}

// send puts messages into the broker as the relay of the producer "shop" does.
func send(b broker.Broker, messages ...waybill.Message) {
	ctx := context.Background()
	conn := must(b.Connect(ctx))
	defer conn.Close(ctx)
	for _, m := range messages {
		if m.ID.IsZero() {
			m.ID = waybill.NewID()
		}
		if m.Topic { // which keeps messages for the consumers that it knows
			must(conn.Subscribe(ctx, broker.Subscription{Destination: m.Destination, Topic: true, Group: "shipping", Prefetch: 1}))
		}
		row := store.Row{
			MessageID: m.ID, Destination: m.Destination, Topic: m.Topic, Key: m.Key, TimeStamp: m.TimeStamp, Body: m.Body, Failures: m.Failures,
		}
		if m.Headers != nil {
			row.Headers = string(must(json.Marshal(m.Headers)))
		}
		sent := must(wire.Encode(&row, m.Failures, wire.Origin{Producer: "shop", ReceiptTo: receiptQueue}))
		must(conn.Publish(ctx, []broker.Message{sent}, waybill.Durable))
	}
}

// receiptQueue is that of the outbox "shop".
var receiptQueue = waybill.ReceiptQueue("shop", "7q3mk2xw9d4hznsb6t5vfc8a")

// handle sends messages, runs the inbox until it has answered each, and prints the
// receipts that their producer gets.
func handle(in *inbox.Inbox, b broker.Broker, messages ...waybill.Message) {
	send(b, messages...)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx) }()
	conn := must(b.Connect(ctx))
	defer conn.Close(ctx)
	answers := must(conn.Subscribe(ctx, broker.Subscription{Destination: receiptQueue, Prefetch: 1}))
	for n := 0; n < len(messages); {
		answer := must(answers.Receive(ctx, 1))
		_, receipts, _, err := wire.DecodeReceipts(&answer[0].Message)
		if err != nil {
			panic(err)
		}
		if err := answers.Settle(ctx, answer, broker.Ack); err != nil {
			panic(err)
		}
		for _, r := range receipts {
			n++
			fmt.Println(strings.TrimSpace(fmt.Sprintf("receipt: %s %s", r.Outcome, r.Error)))
			if r.After > 0 {
				fmt.Println("not before", r.After)
			}
		}
	}
	stop()
	if err := <-ended; err != nil {
		panic(err)
	}
}

// With Once every message takes effect exactly once. A copy finds the record that the
// first one has left, and is receipted without a call of the handler.
func ExampleInbox_Handle() {
	db, remove := openDatabase()
	defer remove()
	b := memory.New(nil)
	in, err := inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping"})
	if err != nil {
		panic(err)
	}

	in.Handle("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO shipments (number, state) VALUES (?, ?)`, m.Key, string(m.Body))
		return err
	})

	placed := waybill.Message{ID: waybill.NewID(), Destination: "orders", Key: "A-1", Body: []byte("placed")}
	handle(in, b, placed, placed)
	shipments(db)
	// Output:
	// receipt: done
	// receipt: done
	// shipment A-1 placed
}

// With Latest a state that is older than the key's last one is skipped, and receipted.
func ExampleInbox_Handle_latest() {
	db, remove := openDatabase()
	defer remove()
	b := memory.New(nil)
	in := must(inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping"}))

	in.Handle("orders", waybill.Latest, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO shipments (number, state) VALUES (?, ?)`, m.Key, string(m.Body))
		return err
	})

	handle(in, b,
		waybill.Message{Destination: "orders", Key: "A-1", TimeStamp: 20, Body: []byte("shipped")},
		waybill.Message{Destination: "orders", Key: "A-1", TimeStamp: 10, Body: []byte("placed")},
	)
	shipments(db)
	// Output:
	// receipt: done
	// receipt: done
	// shipment A-1 shipped
}

// An error rolls back what the handler has written, and the message comes again. Others
// of its batch are not touched by that.
func ExampleInbox_Handle_failure() {
	db, remove := openDatabase()
	defer remove()
	b := memory.New(nil)
	in := must(inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping", Logger: quiet}))

	in.Handle("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO shipments (number, state) VALUES (?, ?)`, m.Key, string(m.Body))
		if err == nil && m.Key == "B-2" {
			return errors.New("the address is incomplete")
		}
		return err
	})

	handle(in, b,
		waybill.Message{Destination: "orders", Key: "A-1", Body: []byte("placed")},
		waybill.Message{Destination: "orders", Key: "B-2", Body: []byte("placed")},
		waybill.Message{Destination: "orders", Key: "C-3", Body: []byte("placed")},
	)
	shipments(db)
	// Unordered output:
	// receipt: retry the address is incomplete
	// receipt: done
	// receipt: done
	// shipment A-1 placed
	// shipment C-3 placed
}

// A handler of batches gets all new messages of a transaction, and writes them with one
// statement.
func ExampleInbox_HandleBatch() {
	db, remove := openDatabase()
	defer remove()
	b := memory.New(nil)
	in := must(inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping"}))

	in.HandleBatch("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
		var args []any
		for _, m := range messages {
			args = append(args, m.Key, string(m.Body))
		}
		rows := strings.TrimSuffix(strings.Repeat("(?, ?), ", len(messages)), ", ")
		_, err := tx.ExecContext(ctx, `INSERT INTO shipments (number, state) VALUES `+rows, args...)
		return err
	})

	handle(in, b,
		waybill.Message{Destination: "orders", Key: "A-1", Body: []byte("placed")},
		waybill.Message{Destination: "orders", Key: "B-2", Body: []byte("placed")},
		waybill.Message{Destination: "orders", Key: "C-3", Body: []byte("placed")},
	)
	shipments(db)
	// Output:
	// receipt: done
	// receipt: done
	// receipt: done
	// shipment A-1 placed
	// shipment B-2 placed
	// shipment C-3 placed
}

// A handler of batches names the messages at fault. Each of them fails as its own error says,
// and the handler gets the others at once.
func ExampleFailed() {
	db, remove := openDatabase()
	defer remove()
	b := memory.New(nil)
	in := must(inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping", Logger: quiet}))

	in.HandleBatch("orders", waybill.Once, func(_ context.Context, _ *sql.Tx, messages []*waybill.Message) error {
		var faults []error
		for _, m := range messages {
			switch {
			case m.Key == "":
				faults = append(faults, inbox.Failed(m, waybill.Permanent(errors.New("no order number"))))
			case string(m.Body) == "":
				faults = append(faults, inbox.Failed(m, errors.New("the address is incomplete")))
			}
		}
		return errors.Join(faults...)
	})

	handle(in, b,
		waybill.Message{Destination: "orders", Key: "A-1", Body: []byte("placed")},
		waybill.Message{Destination: "orders", Body: []byte("placed")},
		waybill.Message{Destination: "orders", Key: "C-3"},
	)
	// Unordered output:
	// receipt: done
	// receipt: rejected no order number
	// receipt: retry the address is incomplete
}

// RetryAfter says when the message should come again. It is no failure: a message may
// ask for that as often as it likes.
func ExampleInbox_Handle_retryAfter() {
	db, remove := openDatabase()
	defer remove()
	b := memory.New(nil)
	in := must(inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping", Logger: quiet}))

	in.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error {
		return waybill.RetryAfter(90*time.Minute, errors.New("the carrier is closed"))
	})

	handle(in, b, waybill.Message{Destination: "orders", Key: "A-1"})
	// Output:
	// receipt: retry the carrier is closed (retry after 1h30m0s)
	// not before 1h30m0s
}

// Permanent gives a message up at once: its producer keeps it, with the reason, until a
// person has looked at it.
func ExampleInbox_Handle_permanent() {
	db, remove := openDatabase()
	defer remove()
	b := memory.New(nil)
	in := must(inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping", Logger: quiet}))

	in.Handle("orders", waybill.Once, func(_ context.Context, _ *sql.Tx, m *waybill.Message) error {
		return waybill.Permanent(fmt.Errorf("no such order: %s", m.Key))
	})

	handle(in, b, waybill.Message{Destination: "orders", Key: "X-9"})
	// Output:
	// receipt: rejected no such order: X-9
}

// A message whose handler keeps failing is given up after MaxTries.
func ExampleOptions_maxTries() {
	db, remove := openDatabase()
	defer remove()
	b := memory.New(nil)
	in := must(inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping", MaxTries: 3, Logger: quiet}))

	in.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error {
		return errors.New("the carrier's API: 503")
	})

	for failures := range 3 { // each copy tells how often the message has failed
		handle(in, b, waybill.Message{Destination: "orders", Key: "A-1", Failures: failures})
	}
	// Output:
	// receipt: retry the carrier's API: 503
	// receipt: retry the carrier's API: 503
	// receipt: rejected gave up after 3 tries: the carrier's API: 503
}

// HandleWith takes a topic, and what else is special about one destination.
func ExampleInbox_HandleWith() {
	db, remove := openDatabase()
	defer remove()
	b := memory.New(nil)
	in := must(inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping"}))

	in.HandleWith("holidays", waybill.Once, func(_ context.Context, _ *sql.Tx, m *waybill.Message) error {
		fmt.Println("closed on", string(m.Body))
		return nil
	}, &inbox.HandleOptions{Topic: true, Timeout: 5 * time.Second})

	handle(in, b, waybill.Message{Destination: "holidays", Topic: true, Body: []byte("1 May")})
	// Output:
	// closed on 1 May
	// receipt: done
}

// A producer that is no Waybill outbox gives its messages an ID, and gets no receipts.
// What its consumer rejects it keeps itself, for 'waybill list --side consumer' and the like.
func ExampleInbox_Handle_foreignProducer() {
	db, remove := openDatabase()
	defer remove()
	b := memory.New(nil)
	in := must(inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping", Logger: quiet}))

	ctx, stop := context.WithCancel(context.Background())
	in.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error {
		stop() // Run finishes this message and returns
		return waybill.Permanent(errors.New("no such order"))
	})

	conn := must(b.Connect(ctx))
	must(conn.Publish(ctx, []broker.Message{{
		Destination: "orders",
		Headers:     []broker.Header{{Name: "messageId", Value: waybill.NewID().String()}},
		Body:        []byte("X-9"),
	}}, waybill.Durable))
	if err := in.Run(ctx); err != nil {
		panic(err)
	}
	kept := must(store.NewKeeper(db, sqlite.Dialect(), "", "shipping"))
	defer kept.CloseIdle()
	for _, m := range must(kept.List(context.Background(), "", store.Rejected, 0, 10)) {
		fmt.Printf("kept: %s: %s\n", m.Body, m.Reason)
	}
	// Output:
	// kept: X-9: no such order
}

// Run returns when its context is cancelled. The message in hand is still finished.
func ExampleInbox_Run() {
	db, remove := openDatabase()
	defer remove()
	b := memory.New(nil)
	in := must(inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping", Drain: 5 * time.Second}))

	ctx, stop := context.WithCancel(context.Background()) // a service takes signal.NotifyContext
	in.Handle("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		stop()
		_, err := tx.ExecContext(ctx, `INSERT INTO shipments (number, state) VALUES (?, ?)`, m.Key, string(m.Body))
		return err
	})

	send(b, waybill.Message{Destination: "orders", Key: "A-1", Body: []byte("placed")})
	fmt.Println("error:", in.Run(ctx))
	shipments(db)
	// Output:
	// error: <nil>
	// shipment A-1 placed
}

// What is wrong with the handlers is reported by Run, all at once.
func ExampleInbox_Run_invalid() {
	db, remove := openDatabase()
	defer remove()
	in := must(inbox.New(db, sqlite.Dialect(), memory.New(nil), &inbox.Options{Consumer: "shipping"}))

	handler := func(context.Context, *sql.Tx, *waybill.Message) error { return nil }
	in.Handle("orders", waybill.Once, handler)
	in.Handle("orders", waybill.Latest, handler)
	in.HandleWith("returns", waybill.Once, nil, &inbox.HandleOptions{Batch: -1})

	fmt.Println(in.Run(context.Background()))
	// Output:
	// waybill: inbox: destination "orders": it has a handler already
	// destination "returns": Batch is -1, below 0
	// destination "returns": the handler is nil
}

// Everything that is wrong with the options is reported at once.
func ExampleNew_invalid() {
	db, remove := openDatabase()
	defer remove()
	_, err := inbox.New(db, sqlite.Dialect(), nil, &inbox.Options{Workers: -1, Timeout: -time.Second})
	fmt.Println(err)
	// Output:
	// waybill: inbox options: Consumer is empty; it names the consumer group
	// Workers is -1, below 0
	// Timeout is -1s, below 0
	// a broker is required
}

// Stats tells copies and stale states from what took effect.
func ExampleInbox_Stats() {
	db, remove := openDatabase()
	defer remove()
	b := memory.New(nil)
	in := must(inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping"}))

	in.Handle("orders", waybill.Latest, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })

	placed := waybill.Message{ID: waybill.NewID(), Destination: "orders", Key: "A-1", TimeStamp: 10}
	shipped := waybill.Message{ID: waybill.NewID(), Destination: "orders", Key: "A-1", TimeStamp: 20}
	handle(in, b, shipped, shipped, placed)
	s := in.Stats()
	fmt.Println("received", s.Received, "handled", s.Handled, "duplicates", s.Duplicates, "superseded", s.Superseded)
	// Output:
	// receipt: done
	// receipt: done
	// receipt: done
	// received 3 handled 1 duplicates 1 superseded 1
}

// Several kinds of events about one thing go through one queue, with the thing as their key: so
// they share one worker and one order of time stamps. A header tells the kinds apart, and a kind
// that nobody knows is rejected and kept, and not taken for done.
func ExampleInbox_Handle_kinds() {
	db, remove := openDatabase()
	defer remove()
	b := memory.New(nil)
	in, err := inbox.New(db, sqlite.Dialect(), b, &inbox.Options{Consumer: "shipping", Logger: quiet})
	if err != nil {
		panic(err)
	}

	kinds := map[string]inbox.Handler{
		"placed": func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO shipments (number, state) VALUES (?, 'to be packed')`, m.Key)
			return err
		},
		"cancelled": func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			_, err := tx.ExecContext(ctx, `UPDATE shipments SET state = 'cancelled' WHERE number = ?`, m.Key)
			return err
		},
	}
	in.Handle("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		handle, known := kinds[m.Headers["kind"]]
		if !known {
			return waybill.Permanent(fmt.Errorf("no handler for the kind %q", m.Headers["kind"]))
		}
		return handle(ctx, tx, m)
	})

	event := func(kind string) waybill.Message {
		return waybill.Message{Destination: "orders", Key: "A-1", Headers: map[string]string{"kind": kind}}
	}
	handle(in, b, event("placed"))
	handle(in, b, event("cancelled"))
	handle(in, b, event("praised"))
	shipments(db)
	// Output:
	// receipt: done
	// receipt: done
	// receipt: rejected no handler for the kind "praised"
	// shipment A-1 cancelled
}
