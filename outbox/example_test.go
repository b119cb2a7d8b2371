package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// openDatabase makes a database with a business table, orders, and Waybill's tables
// for producers. remove closes and removes it.
func openDatabase() (db *sql.DB, remove func()) {
	dir := must(os.MkdirTemp("", "outbox"))
	db, dialect, err := address.OpenDatabase("sqlite:" + filepath.Join(dir, "shop.db"))
	if err == nil {
		err = store.Migrate(context.Background(), db, dialect, "", store.Producer)
	}
	if err != nil {
		panic(err)
	}
	must(db.Exec(`CREATE TABLE orders (number text PRIMARY KEY, state text, version bigint)`))
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

// count counts the rows of a table.
func count(db *sql.DB, table string) (n int) {
	if err := db.QueryRow(`SELECT count(*) FROM ` + table).Scan(&n); err != nil {
		panic(err)
	}
	return n
}

// The order and the message that tells of it are written in one transaction.
func ExampleOutbox_InTx() {
	ctx := context.Background()
	db, remove := openDatabase()
	defer remove()
	out, err := outbox.New(sqlite.Dialect(), nil)
	if err != nil {
		log.Fatal(err)
	}

	err = out.InTx(ctx, db, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO orders (number, state) VALUES ('A-1', 'placed')`); err != nil {
			return err
		}
		return out.Send(ctx, tx, waybill.Message{
			Destination: "orders",
			Key:         "A-1",
			Body:        []byte(`{"state": "placed"}`),
		})
	})
	if err != nil {
		log.Fatal(err)
	}

	fmt.Println("orders:", count(db, "orders"), "messages:", count(db, "qmessage"))
	// Output:
	// orders: 1 messages: 1
}

// An error of the function rolls back the order and the message, and comes back as it is.
func ExampleOutbox_InTx_rollback() {
	ctx := context.Background()
	db, remove := openDatabase()
	defer remove()
	out := must(outbox.New(sqlite.Dialect(), nil))

	err := out.InTx(ctx, db, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO orders (number, state) VALUES ('A-1', 'placed')`); err != nil {
			return err
		}
		if err := out.Send(ctx, tx, waybill.Message{Destination: "orders", Key: "A-1"}); err != nil {
			return err
		}
		return errors.New("out of stock")
	})

	fmt.Println("error:", err)
	fmt.Println("orders:", count(db, "orders"), "messages:", count(db, "qmessage"))
	// Output:
	// error: out of stock
	// orders: 0 messages: 0
}

// Send takes any transaction of the caller's own. After the commit, Wake saves the relay
// the wait for its next poll.
func ExampleOutbox_Send() {
	ctx := context.Background()
	db, remove := openDatabase()
	defer remove()
	out := must(outbox.New(sqlite.Dialect(), nil))

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback() // does nothing after the commit
	if _, err := tx.ExecContext(ctx, `INSERT INTO orders (number, state) VALUES ('A-1', 'placed')`); err != nil {
		log.Fatal(err)
	}
	if err := out.Send(ctx, tx, waybill.Message{Destination: "orders", Body: []byte("A-1")}); err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}
	out.Wake(ctx, db)

	<-out.Committed() // what the relay of this process waits for
	fmt.Println("orders:", count(db, "orders"), "messages:", count(db, "qmessage"))
	// Output:
	// orders: 1 messages: 1
}

// Per key, messages get a sequence without gaps and time stamps that only grow.
func ExampleOutbox_Send_keys() {
	ctx := context.Background()
	db, remove := openDatabase()
	defer remove()
	out := must(outbox.New(sqlite.Dialect(), nil))

	err := out.InTx(ctx, db, func(tx *sql.Tx) error {
		return out.Send(ctx, tx,
			waybill.Message{Destination: "orders", Key: "A-1", Body: []byte("placed")},
			waybill.Message{Destination: "orders", Key: "B-2", Body: []byte("placed")},
			waybill.Message{Destination: "orders", Key: "A-1", Body: []byte("paid")},
			waybill.Message{Destination: "orders", Key: "A-1", Body: []byte("shipped")},
		)
	})
	if err != nil {
		log.Fatal(err)
	}

	rows, err := db.QueryContext(ctx, `
SELECT business_mark, sequence, message_content,
	time_stamp > lag(time_stamp, 1, 0) OVER (PARTITION BY business_mark ORDER BY sequence)
FROM qmessage ORDER BY business_mark, sequence`)
	if err != nil {
		log.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var key, body string
		var sequence int
		var newer bool
		if err := rows.Scan(&key, &sequence, &body, &newer); err != nil {
			log.Fatal(err)
		}
		fmt.Println(key, sequence, body, "newer:", newer)
	}
	if err := rows.Err(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// A-1 1 placed newer: true
	// A-1 2 paid newer: true
	// A-1 3 shipped newer: true
	// B-2 1 placed newer: true
}

// A message that cannot be sent is refused before anything is written. The error says
// which one it is and what is wrong with it.
func ExampleOutbox_Send_invalid() {
	ctx := context.Background()
	db, remove := openDatabase()
	defer remove()
	out := must(outbox.New(sqlite.Dialect(), nil))

	err := out.InTx(ctx, db, func(tx *sql.Tx) error {
		return out.Send(ctx, tx,
			waybill.Message{Destination: "orders"},
			waybill.Message{Destination: "orders", Headers: map[string]string{"messageId": "7"}},
		)
	})

	var bad *waybill.MessageError
	if errors.As(err, &bad) {
		fmt.Printf("message %d, %s: %s\n", bad.Index, bad.Field, bad.Reason)
	}
	fmt.Println("too large:", errors.Is(err, waybill.ErrTooLarge), "messages:", count(db, "qmessage"))
	// Output:
	// message 1, Headers: header name "messageId" is reserved; "x-messageid" is free
	// too large: false messages: 0
}

// tenantOutbox sends messages that all have the tenant's header.
type tenantOutbox struct {
	*outbox.Outbox
	tenant string
}

func (o *tenantOutbox) Send(ctx context.Context, tx outbox.Tx, m waybill.Message) error {
	headers := map[string]string{"tenant": o.tenant, outbox.ContentType: "application/json"}
	maps.Copy(headers, m.Headers) // a value that the caller sets counts
	m.Headers = headers
	return o.Outbox.Send(ctx, tx, m)
}

// Headers of the application's own go into Headers. One that every message should have is
// set by a function around Send, which the service calls in its place.
func ExampleOutbox_Send_headers() {
	ctx := context.Background()
	db, remove := openDatabase()
	defer remove()
	out := &tenantOutbox{must(outbox.New(sqlite.Dialect(), nil)), "acme"}

	err := out.InTx(ctx, db, func(tx *sql.Tx) error {
		err := out.Send(ctx, tx, waybill.Message{Destination: "orders", Body: []byte(`{"state": "placed"}`)})
		if err != nil {
			return err
		}
		return out.Send(ctx, tx, waybill.Message{
			Destination: "mails",
			Headers:     map[string]string{"priority-class": "low", outbox.ContentType: "text/plain"},
			Body:        []byte("Thank you!"),
		})
	})
	if err != nil {
		log.Fatal(err)
	}

	rows, err := db.QueryContext(ctx, `SELECT destination, headers FROM qmessage ORDER BY id`)
	if err != nil {
		log.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var destination, headers string
		if err := rows.Scan(&destination, &headers); err != nil {
			log.Fatal(err)
		}
		fmt.Println(destination, headers)
	}
	if err := rows.Err(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// orders {"content-type":"application/json","tenant":"acme"}
	// mails {"content-type":"text/plain","priority-class":"low","tenant":"acme"}
}

// A delayed message waits in the outbox until its time has come.
func ExampleOutbox_Send_notBefore() {
	ctx := context.Background()
	db, remove := openDatabase()
	defer remove()
	out := must(outbox.New(sqlite.Dialect(), nil))

	err := out.InTx(ctx, db, func(tx *sql.Tx) error {
		return out.Send(ctx, tx, waybill.Message{
			Destination: "reminders",
			Body:        []byte("A-1 has not been paid"),
			NotBefore:   time.Date(2100, time.January, 1, 8, 0, 0, 0, time.UTC),
		})
	})
	if err != nil {
		log.Fatal(err)
	}

	var due int64
	if err := db.QueryRowContext(ctx, `SELECT not_before FROM qmessage`).Scan(&due); err != nil {
		log.Fatal(err)
	}
	fmt.Println("not before", time.UnixMicro(due).UTC())
	// Output:
	// not before 2100-01-01 08:00:00 +0000 UTC
}

// A table that has a version column already gives its messages that version: the
// consumer's level Latest then follows it.
func ExampleOutbox_Send_ownVersion() {
	ctx := context.Background()
	db, remove := openDatabase()
	defer remove()
	out := must(outbox.New(sqlite.Dialect(), nil))
	must(db.ExecContext(ctx, `INSERT INTO orders (number, state, version) VALUES ('A-1', 'placed', 41)`))

	err := out.InTx(ctx, db, func(tx *sql.Tx) error {
		var version int64
		err := tx.QueryRowContext(ctx, `
UPDATE orders SET state = 'shipped', version = version + 1 WHERE number = 'A-1' RETURNING version`).Scan(&version)
		if err != nil {
			return err
		}
		return out.Send(ctx, tx, waybill.Message{Destination: "orders", Key: "A-1", TimeStamp: version, Body: []byte("shipped")})
	})
	if err != nil {
		log.Fatal(err)
	}

	var stamp int64
	if err := db.QueryRowContext(ctx, `SELECT time_stamp FROM qmessage`).Scan(&stamp); err != nil {
		log.Fatal(err)
	}
	fmt.Println("time stamp:", stamp)
	// Output:
	// time stamp: 42
}

// Everything that is wrong with the options is reported at once.
func ExampleNew_invalid() {
	_, err := outbox.New(nil, &outbox.Options{TablePrefix: "My Shop", MaxBody: -1})
	fmt.Println(err)
	// Output:
	// waybill: outbox options: a dialect is required, such as postgres.Dialect()
	// waybill: table prefix "My Shop": use lower-case letters, digits and '_' (such as "app_"), or a schema with a dot ("app.")
	// MaxBody is -1, below 0
}
