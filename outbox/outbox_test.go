package outbox_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

func open(t *testing.T, tables bool) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "outbox.db")+"?_txlock=immediate&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if tables {
		if err := store.Migrate(context.Background(), db, sqlite.Dialect(), "", store.Producer); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func newOutbox(t *testing.T, o *outbox.Options) *outbox.Outbox {
	t.Helper()
	out, err := outbox.New(sqlite.Dialect(), o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func rows(t *testing.T, db *sql.DB) int {
	t.Helper()
	var n int
	if err := db.QueryRow(`SELECT count(*) FROM qmessage`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAMessageThatCannotBeSentIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	db := open(t, true)
	out := newOutbox(t, &outbox.Options{MaxBody: 1000})
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
				t.Fatalf("%v is no MessageError", err)
			}
			if bad.Index != 1 || bad.Field != c.field || bad.Reason == "" {
				t.Errorf("%+v, want message 1, field %s", bad, c.field)
			}
			if got := errors.Is(err, waybill.ErrTooLarge); got != (c.field == "Body") {
				t.Errorf("matches ErrTooLarge: %v", got)
			}
			if n := rows(t, db); n != 0 {
				t.Errorf("%d rows were written", n)
			}
		})
	}
}

func TestSendNeedsALiveTransaction(t *testing.T) {
	db := open(t, true)
	out := newOutbox(t, nil)
	m := waybill.Message{Destination: "orders"}
	if err := out.Send(context.Background(), nil, m); err == nil || !strings.Contains(err.Error(), "transaction") {
		t.Errorf("nil: %v", err)
	}
	var none *sql.Tx
	if err := out.Send(context.Background(), none, m); err == nil || !strings.Contains(err.Error(), "transaction") {
		t.Errorf("nil *sql.Tx: %v", err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := out.Send(context.Background(), tx, m); !errors.Is(err, sql.ErrTxDone) || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("finished: %v", err)
	}
}

func TestSendWithoutTablesSaysWhatToDo(t *testing.T) {
	db := open(t, false)
	out := newOutbox(t, nil)
	err := out.InTx(context.Background(), db, func(tx *sql.Tx) error {
		return out.Send(context.Background(), tx, waybill.Message{Destination: "orders"})
	})
	if !errors.Is(err, waybill.ErrSchema) || !strings.Contains(err.Error(), "waybill init --side producer") {
		t.Error(err)
	}
}

func TestInTxRollsBackOnAnErrorAndOnAPanic(t *testing.T) {
	db := open(t, true)
	out := newOutbox(t, nil)
	send := func(tx *sql.Tx) {
		if err := out.Send(context.Background(), tx, waybill.Message{Destination: "orders"}); err != nil {
			t.Fatal(err)
		}
	}
	reason := errors.New("no")
	if err := out.InTx(context.Background(), db, func(tx *sql.Tx) error { send(tx); return reason }); !errors.Is(err, reason) {
		t.Errorf("%v, want the function's own error", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = out.InTx(context.Background(), db, func(tx *sql.Tx) error { send(tx); panic("no") })
	}()
	if n := rows(t, db); n != 0 {
		t.Errorf("%d rows", n)
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
	if n := rows(t, db); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestABodyOfTheGreatestSizeIsTaken(t *testing.T) {
	db := open(t, true)
	out := newOutbox(t, nil)
	body := bytes.Repeat([]byte{0, 255}, outbox.DefaultMaxBody/2)
	err := out.InTx(context.Background(), db, func(tx *sql.Tx) error {
		return out.Send(context.Background(), tx, waybill.Message{Destination: "orders", Body: body}, waybill.Message{Destination: "orders"})
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	if err := db.QueryRow(`SELECT message_content FROM qmessage ORDER BY id`).Scan(&got); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, o := range []*outbox.Options{{TablePrefix: "Robert'); DROP TABLE"}, {TablePrefix: "a.b.c."}, {MaxBody: -1}} {
		if _, err := outbox.New(sqlite.Dialect(), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	if _, err := outbox.New(nil, nil); err == nil {
		t.Error("a nil dialect was taken")
	}
}
