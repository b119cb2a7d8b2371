package outbox_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// open is openDatabase for a test.
func open(t *testing.T) *sql.DB {
	db, remove := openDatabase()
	t.Cleanup(remove)
	return db
}

func TestAMessageThatCannotBeSentIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	db := open(t)
	out := must(outbox.New(sqlite.Dialect(), &outbox.Options{MaxBody: 1000}))
	long := strings.Repeat("ü", 256)
	for _, c := range []struct {
		name  string
		m     waybill.Message
		field string
	}{
		{"empty destination", waybill.Message{}, "Destination"},
		{"long destination", waybill.Message{Destination: long}, "Destination"},
		{"destination not UTF-8", waybill.Message{Destination: "a\xff"}, "Destination"},
		{"destination with a space", waybill.Message{Destination: "a b"}, "Destination"},
		{"destination with a wildcard", waybill.Message{Destination: "a.>"}, "Destination"},
		{"destination with a control character", waybill.Message{Destination: "a\x00"}, "Destination"},
		{"reserved destination", waybill.Message{Destination: "ack.orders"}, "Destination"},
		{"reserved destination in another case", waybill.Message{Destination: "AcK.orders"}, "Destination"},
		{"long key", waybill.Message{Destination: "a", Key: long}, "Key"},
		{"key not UTF-8", waybill.Message{Destination: "a", Key: "\xc3\x28"}, "Key"},
		{"key with a line break", waybill.Message{Destination: "a", Key: "a\nb"}, "Key"},
		{"version below 0", waybill.Message{Destination: "a", TimeStamp: -1}, "TimeStamp"},
		{"id of another kind", waybill.Message{Destination: "a", ID: waybill.ID{6: 0x40, 8: 0x80}}, "ID"},
		{"large body", waybill.Message{Destination: "a", Body: make([]byte, 1001)}, "Body"},
		{"empty header name", waybill.Message{Destination: "a", Headers: map[string]string{"": "x"}}, "Headers"},
		{"header name with a space", waybill.Message{Destination: "a", Headers: map[string]string{"a b": "x"}}, "Headers"},
		{"header name not ASCII", waybill.Message{Destination: "a", Headers: map[string]string{"grüße": "x"}}, "Headers"},
		{"reserved header", waybill.Message{Destination: "a", Headers: map[string]string{"messageID": "x"}}, "Headers"},
		{"a protocol's header", waybill.Message{Destination: "a", Headers: map[string]string{"Content-Length": "7"}}, "Headers"},
		{"a broker's header", waybill.Message{Destination: "a", Headers: map[string]string{"JMSType": "x"}}, "Headers"},
		{"header value not UTF-8", waybill.Message{Destination: "a", Headers: map[string]string{"a": "\xff"}}, "Headers"},
		{"header value with a line break", waybill.Message{Destination: "a", Headers: map[string]string{"a": "x\r\nb: y"}}, "Headers"},
		{"large headers", waybill.Message{Destination: "a", Headers: map[string]string{"a": strings.Repeat("x", 32<<10), "b": strings.Repeat("x", 32<<10)}}, "Headers"},
		{"far future", waybill.Message{Destination: "a", NotBefore: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, "NotBefore"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := out.InTx(context.Background(), db, func(tx *sql.Tx) error {
				err := out.Send(context.Background(), tx, waybill.Message{Destination: "sound"}, c.m)
				if err == nil {
					return errors.New("it was taken")
				}
				// The transaction is as it was: a caller may go on with it.
				if _, err := tx.Exec(`SELECT 1`); err != nil {
					t.Error(err)
				}
				return err
			})
			var bad *waybill.MessageError
			if !errors.As(err, &bad) || !errors.Is(err, waybill.ErrInvalidMessage) {
				t.Fatalf("got %v, want a MessageError", err)
			}
			if bad.Index != 1 || bad.Field != c.field || bad.Reason == "" {
				t.Errorf("got %+v, want message 1, field %s, with a reason", bad, c.field)
			}
			if got, want := errors.Is(err, waybill.ErrTooLarge), c.field == "Body"; got != want {
				t.Errorf("got an error that matches ErrTooLarge: %v, want %v", got, want)
			}
			if n := count(db, "qmessage"); n != 0 {
				t.Errorf("got %d rows, want 0", n)
			}
		})
	}
}

func TestSendNamesAllFaultsOfAllMessages(t *testing.T) {
	db := open(t)
	out := must(outbox.New(sqlite.Dialect(), &outbox.Options{MaxBody: 10}))
	bad := waybill.Message{Destination: "a b", Key: "a\nb", TimeStamp: -1, Body: make([]byte, 11), Headers: map[string]string{"type": "x", "JMSType": "x", "sound": "x"}}
	send := func(messages ...waybill.Message) error {
		return out.InTx(t.Context(), db, func(tx *sql.Tx) error { return out.Send(t.Context(), tx, messages...) })
	}
	err := send(waybill.Message{Destination: "sound"}, bad, waybill.Message{})
	joined, is := err.(interface{ Unwrap() []error })
	if !is || !errors.Is(err, waybill.ErrInvalidMessage) || !errors.Is(err, waybill.ErrTooLarge) {
		t.Fatalf("got %v, want all faults joined", err)
	}
	var got []string
	for _, err := range joined.Unwrap() {
		var fault *waybill.MessageError
		if !errors.As(err, &fault) {
			t.Fatalf("got %v, want a MessageError for each fault", err)
		}
		got = append(got, fmt.Sprint(fault.Index, " ", fault.Field))
	}
	if want := []string{"1 Destination", "1 Key", "1 TimeStamp", "1 Body", "1 Headers", "1 Headers", "2 Destination"}; !slices.Equal(got, want) {
		t.Errorf("got the faults %q, want %q", got, want)
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 7 || !strings.Contains(lines[4], `"JMSType"`) || !strings.Contains(lines[5], `"type"`) {
		t.Errorf("got %q, want a line for each fault, headers in the order of their names", lines)
	}
	many := send(slices.Repeat([]waybill.Message{bad}, 4)...)
	if lines := strings.Split(many.Error(), "\n"); len(lines) != 21 || lines[20] != "waybill: and 4 faults more" {
		t.Errorf("got %d lines, the last %q; want 20 faults, and how many more there are", len(lines), lines[len(lines)-1])
	}
	if n := count(db, "qmessage"); n != 0 {
		t.Errorf("got %d rows, want 0", n)
	}
}

func TestSendNeedsALiveTransaction(t *testing.T) {
	db := open(t)
	out := must(outbox.New(sqlite.Dialect(), nil))
	m := waybill.Message{Destination: "orders"}
	ended := must(db.Begin())
	if err := ended.Rollback(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		tx   outbox.Tx
		is   error // that the error matches; nil for none
		want string
	}{
		{name: "nil", want: "needs a transaction"},
		{name: "a nil *sql.Tx", tx: (*sql.Tx)(nil), want: "needs a transaction"},
		{name: "one that has ended", tx: ended, is: sql.ErrTxDone, want: "has ended"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := out.Send(context.Background(), c.tx, m)
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error that matches %v and says %q", err, c.is, c.want)
			}
		})
	}
}

func TestSendWithoutTablesSaysWhatToDo(t *testing.T) {
	db := open(t)
	out := must(outbox.New(sqlite.Dialect(), &outbox.Options{TablePrefix: "missing_"}))
	err := out.InTx(context.Background(), db, func(tx *sql.Tx) error {
		return out.Send(context.Background(), tx, waybill.Message{Destination: "orders"})
	})
	if !errors.Is(err, waybill.ErrSchema) || !strings.Contains(err.Error(), "waybill init --side producer") {
		t.Errorf("got %v, want an ErrSchema that says how to make the tables", err)
	}
}

func TestInTxRollsBackOnAnErrorAndOnAPanic(t *testing.T) {
	db := open(t)
	out := must(outbox.New(sqlite.Dialect(), nil))
	send := func(tx *sql.Tx) {
		if err := out.Send(context.Background(), tx, waybill.Message{Destination: "orders"}); err != nil {
			t.Fatal(err)
		}
	}
	reason := errors.New("no")
	if err := out.InTx(context.Background(), db, func(tx *sql.Tx) error { send(tx); return reason }); !errors.Is(err, reason) {
		t.Errorf("got %v, want the function's own error", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = out.InTx(context.Background(), db, func(tx *sql.Tx) error { send(tx); panic("no") })
	}()
	if n := count(db, "qmessage"); n != 0 {
		t.Errorf("got %d rows, want 0", n)
	}
	select {
	case <-out.Committed():
		t.Error("the relay was woken for nothing")
	default:
	}
	if err := out.InTx(context.Background(), db, func(tx *sql.Tx) error { send(tx); return nil }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-out.Committed():
	default:
		t.Error("the relay was not woken")
	}
	if n := count(db, "qmessage"); n != 1 {
		t.Errorf("got %d rows, want 1", n)
	}
}

func TestABodyOfTheGreatestSizeIsTaken(t *testing.T) {
	db := open(t)
	out := must(outbox.New(sqlite.Dialect(), nil))
	body := bytes.Repeat([]byte{0, 255}, outbox.DefaultMaxBody/2)
	err := out.InTx(context.Background(), db, func(tx *sql.Tx) error {
		return out.Send(context.Background(), tx, waybill.Message{Destination: "orders", Body: body}, waybill.Message{Destination: "orders"})
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	if err := db.QueryRow(`SELECT message_content FROM qmessage ORDER BY id`).Scan(&got); err != nil || !bytes.Equal(got, body) {
		t.Errorf("got %d bytes, %v; want the %d that were sent", len(got), err, len(body))
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		dialect store.Dialect
		o       outbox.Options
		want    []string // what the error speaks of
	}{
		{"no dialect", nil, outbox.Options{}, []string{"a dialect is required"}},
		{"a prefix that is SQL", sqlite.Dialect(), outbox.Options{TablePrefix: "Robert'); DROP TABLE"}, []string{"table prefix"}},
		{"a prefix with two dots", sqlite.Dialect(), outbox.Options{TablePrefix: "a.b.c."}, []string{"table prefix"}},
		{"a limit below 0", sqlite.Dialect(), outbox.Options{MaxBody: -1}, []string{"MaxBody is -1"}},
		{"all at once", nil, outbox.Options{TablePrefix: "a b", MaxBody: -1}, []string{"a dialect is required", "table prefix", "MaxBody is -1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := outbox.New(c.dialect, &c.o)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want an error that says %q", err, want)
				}
			}
		})
	}
}

// telling is a dialect that notifies relays of other processes by a row of "told".
type telling struct{ store.Dialect }

func (telling) Notify(store.Names) store.Statement {
	return store.Statement{SQL: `INSERT INTO told VALUES (1)`}
}

// openTelling opens a database with one connection, in which that is told.
func openTelling(t *testing.T) (*sql.DB, *outbox.Outbox) {
	t.Helper()
	db := open(t)
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE told (n INTEGER)`); err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return db, must(outbox.New(telling{sqlite.Dialect()}, nil))
}

func TestWakeWaitsForNoConnection(t *testing.T) {
	db, out := openTelling(t)
	only, err := db.Conn(t.Context()) // nobody else has one now
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out.Wake(ctx, db) // the test's own time-out is the judge
	cancel()          // as the context of a request that has been answered
	select {
	case <-out.Committed():
	default:
		t.Error("the relay of this process was not told")
	}
	if err := only.Close(); err != nil {
		t.Fatal(err)
	}
	patience.Until(t, "the relays of other processes are told when there is a connection", func() bool { return count(db, "told") == 1 })
}

// Where the pool has one connection, that has to tell them, and is there for the next.
func TestRelaysAreNotifiedOnTheConnectionOfTheCommit(t *testing.T) {
	db, out := openTelling(t)
	for n := range 3 {
		if err := out.InTx(t.Context(), db, func(tx *sql.Tx) error {
			return out.Send(t.Context(), tx, waybill.Message{Destination: "orders"})
		}); err != nil {
			t.Fatal(err)
		}
		if n == 0 && count(db, "told") != 1 { // the commit's connection has come back when it has told
			t.Error("the relays of other processes were not told before the connection came back")
		}
	}
	if n := count(db, "qmessage"); n != 3 {
		t.Errorf("got %d messages, want 3", n)
	}
}

func TestANotificationThatFailsFailsNoCommit(t *testing.T) {
	db := open(t) // without a table "told"
	out := must(outbox.New(telling{sqlite.Dialect()}, nil))
	err := out.InTx(t.Context(), db, func(tx *sql.Tx) error {
		return out.Send(t.Context(), tx, waybill.Message{Destination: "orders"})
	})
	if n := count(db, "qmessage"); err != nil || n != 1 {
		t.Errorf("got %d rows and error %v, want 1 and none", n, err)
	}
}

func TestTheCommitOfAnyTransactionOfWaybillsWakesTheRelay(t *testing.T) {
	db := open(t)
	out := must(outbox.New(sqlite.Dialect(), nil))
	begin := func() *store.Transaction { // as an inbox does for a handler
		tx, err := store.NewBeginner(sqlite.Dialect()).Begin(t.Context(), db, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := out.Send(t.Context(), tx.SQL(), waybill.Message{Destination: "next"}); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	isWoken := func() bool {
		select {
		case <-out.Committed():
			return true
		default:
			return false
		}
	}
	tx := begin()
	if isWoken() {
		t.Error("the relay was woken before the commit")
	}
	if err := tx.Rollback(); err != nil || isWoken() {
		t.Errorf("a rollback: error %v, or the relay was woken", err)
	}
	if err := begin().Commit(t.Context()); err != nil || !isWoken() {
		t.Errorf("a commit: error %v, or the relay was not woken", err)
	}
}

func TestMiddlewareSeesWhatIsSentAndMayRefuseIt(t *testing.T) {
	db := open(t)
	out := must(outbox.New(sqlite.Dialect(), nil))
	var calls []string
	note := func(name string) func(outbox.Sender) outbox.Sender {
		return func(next outbox.Sender) outbox.Sender {
			return func(ctx context.Context, tx outbox.Tx, messages []waybill.Message) error {
				calls = append(calls, name)
				messages = slices.Clone(messages)
				messages[0].Headers = map[string]string{"tenant": name}
				return next(ctx, tx, messages)
			}
		}
	}
	refused := errors.New("no tenant")
	out.Use(note("first"), note("second"))
	out.Use(func(next outbox.Sender) outbox.Sender {
		return func(ctx context.Context, tx outbox.Tx, messages []waybill.Message) error {
			calls = append(calls, "third")
			if messages[0].Destination == "nobody" {
				return refused
			}
			return next(ctx, tx, messages)
		}
	})
	send := func(m waybill.Message) error {
		return out.InTx(t.Context(), db, func(tx *sql.Tx) error { return out.Send(t.Context(), tx, m) })
	}
	m := waybill.Message{Destination: "orders"}
	if err := send(m); err != nil || m.Headers != nil {
		t.Fatalf("error %v, and the caller's message has the headers %v", err, m.Headers)
	}
	if err := send(waybill.Message{Destination: "nobody"}); !errors.Is(err, refused) {
		t.Errorf("got %v, want the middleware's own error", err)
	}
	if got := strings.Join(calls, " "); got != "first second third first second third" {
		t.Errorf("called: %s", got)
	}
	var headers string
	if err := db.QueryRow(`SELECT group_concat(headers) FROM qmessage`).Scan(&headers); err != nil || headers != `{"tenant":"second"}` {
		t.Errorf("the outbox has a message with %s, error %v", headers, err)
	}
}
