package waybilltest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/testserver"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/waybilltest"
)

// attempt is a test that may fail: it keeps what it said.
type attempt struct {
	testing.TB
	said string
}

type failed struct{}

func (a *attempt) Helper() {}

func (a *attempt) Fatal(args ...any) {
	a.said = fmt.Sprint(args...)
	panic(failed{})
}

func (a *attempt) Fatalf(format string, args ...any) { a.Fatal(fmt.Sprintf(format, args...)) }

// saidBy is what a check says that ends its test; "" where it does not.
func saidBy(t *testing.T, check func(t testing.TB)) string {
	a := &attempt{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(failed{}) {
				panic(r)
			}
		}()
		check(a)
	}()
	return a.said
}

// eachDatabase runs a test in a transaction of each database, with the tables of both sides.
func eachDatabase(t *testing.T, test func(t *testing.T, db *sql.DB, dialect store.Dialect, prefix string)) {
	for name, at := range map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "app.db") },
		"postgres": func(t *testing.T) string { return testserver.Address(t, "WAYBILL_TEST_POSTGRES") },
		"mysql":    func(t *testing.T) string { return testserver.Address(t, "WAYBILL_TEST_MYSQL") },
	} {
		t.Run(name, func(t *testing.T) {
			db, dialect, err := address.OpenDatabase(at(t))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			id := waybill.NewID().String()
			prefix := "k" + id[len(id)-12:] + "_"
			script := func(o store.ScriptOptions) {
				o.Format = store.Atlas // the easiest to split
				text, err := store.Script(dialect, prefix, o)
				if err != nil {
					t.Fatal(err)
				}
				conn, err := db.Conn(context.WithoutCancel(t.Context()))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_, text, _ = strings.Cut(text, "\n")
				for statement := range strings.SplitSeq(text, "\n-- end\n") {
					if strings.TrimSpace(statement) == "" {
						continue
					}
					if _, err := conn.ExecContext(context.WithoutCancel(t.Context()), statement); err != nil {
						t.Errorf("%v, of %.100s", err, statement)
					}
				}
			}
			script(store.ScriptOptions{})
			defer script(store.ScriptOptions{Down: true})
			test(t, db, dialect, prefix)
		})
	}
}

func TestWhatATransactionHasSentIsSeenInIt(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *sql.DB, dialect store.Dialect, prefix string) {
		out, err := outbox.New(dialect, &outbox.Options{TablePrefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		err = out.Send(t.Context(), tx,
			waybill.Message{Destination: "orders", Key: "7", Headers: map[string]string{"tenant": "a", "content-type": "application/json"}, Body: []byte(`{"id": 7, "big": 12345678901234567890}`)},
			waybill.Message{Destination: "orders", Key: "8", Body: []byte{}},
			waybill.Message{Destination: "prices", Topic: true, Body: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		type order struct {
			Big uint64 `json:"big"`
			ID  int    `json:"id"`
		}
		for _, c := range []struct {
			match waybilltest.Match
			lacks string // "" where it matches
		}{
			{waybilltest.Match{}, ""},
			{waybilltest.Match{Count: 3}, ""},
			{waybilltest.Match{Count: 2}, "3 of the 3 messages in the outbox match (any), want exactly 2"},
			{waybilltest.Match{Destination: "orders", Count: 2}, ""},
			{waybilltest.Match{Destination: "orders", Key: "7", Count: 1}, ""},
			{waybilltest.Match{Destination: "prices", Topic: true}, ""},
			{waybilltest.Match{Destination: "prices"}, `destination "prices" (a topic), want "prices"`},
			{waybilltest.Match{Topic: true, Count: 1}, ""},
			{waybilltest.Match{Key: "9"}, `key "7", want "9"`},
			{waybilltest.Match{Headers: map[string]string{"tenant": "a"}}, ""},
			{waybilltest.Match{Headers: map[string]string{"tenant": "b"}}, `header "tenant" is "a", want "b"`},
			{waybilltest.Match{Key: "8", Headers: map[string]string{"tenant": "b"}}, `no header "tenant", want "b"`},
			{waybilltest.Match{Body: []byte("x"), Count: 1}, ""},
			{waybilltest.Match{Key: "8", Body: []byte{}}, ""},
			{waybilltest.Match{JSON: order{ID: 7, Big: 12345678901234567890}}, ""},
			{waybilltest.Match{JSON: order{ID: 7, Big: 12345678901234567891}}, `want JSON that means "{\"big\":12345678901234567891,\"id\":7}"`},
			{waybilltest.Match{Destination: "orders", Key: "8", JSON: map[string]int{}}, `body "", want JSON`},
		} {
			c.match.TablePrefix = prefix
			said := saidBy(t, func(t testing.TB) { waybilltest.RequireSent(t, tx, c.match) })
			if c.lacks == "" && said != "" || !strings.Contains(said, c.lacks) {
				t.Errorf("%s: RequireSent said %q, want %q in it", &c.match, said, c.lacks)
			}
			if c.match.Count == 0 {
				said = saidBy(t, func(t testing.TB) { waybilltest.RequireNotSent(t, tx, c.match) })
				if (said == "") != (c.lacks != "") {
					t.Errorf("%s: RequireNotSent said %q", &c.match, said)
				}
			}
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		waybilltest.RequireNotSent(t, db, waybilltest.Match{TablePrefix: prefix})
	})
}

func TestDeliverTellsWhatBecameOfEachMessage(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *sql.DB, dialect store.Dialect, prefix string) {
		for _, topic := range []bool{false, true} {
			c := waybilltest.Consumer{
				DB: db, Dialect: dialect, Level: waybill.Latest, Options: inbox.Options{TablePrefix: prefix},
				Handler: func(_ context.Context, _ *sql.Tx, m *waybill.Message) error {
					switch string(m.Body) {
					case "never":
						return waybill.Permanent(errors.New("no such order"))
					case "later":
						return errors.New("the printer is out of paper")
					}
					return nil
				},
			}
			first := waybill.Message{ID: waybill.NewID(), Destination: "orders", Topic: topic, Key: "7", TimeStamp: 1000}
			of := func(key, body string, stamp int64) waybill.Message {
				return waybill.Message{Destination: "orders", Topic: topic, Key: key, Body: []byte(body), TimeStamp: stamp}
			}
			got := waybilltest.Deliver(t, c, first, first, of("7", "", 2000), of("7", "", 1500), of("8", "never", 1), of("9", "later", 1))
			want := []waybilltest.Verdict{waybilltest.Applied, waybilltest.Skipped, waybilltest.Applied, waybilltest.Skipped, waybilltest.Refused, waybilltest.Retry}
			for i, d := range got {
				if d.Verdict != want[i] {
					t.Errorf("topic %v, message %d: got %s (%s), want %s", topic, i, d.Verdict, d.Error, want[i])
				}
			}
			if !strings.Contains(got[4].Error, "no such order") || !strings.Contains(got[5].Error, "out of paper") {
				t.Errorf("got the errors %q and %q, want the handlers'", got[4].Error, got[5].Error)
			}
		}
	})
}

func TestTheKitFailsWhenItShould(t *testing.T) {
	waybilltest.Run(t, func(t *testing.T, w *waybilltest.World) {
		calls := 0
		w.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error {
			calls++ // an effect beside the transaction: it happens as often as the handler runs
			if calls == 1 {
				return errors.New("not yet")
			}
			return nil
		})
		w.RepeatMessages(1)
		w.Send(waybill.Message{Destination: "orders"})
		w.Settle()
		w.RequireApplied(waybilltest.Match{Count: 1})
		if calls == 1 {
			t.Error("the handler ran once, so this test shows nothing")
		}
	})
	if said := saidBy(t, func(t testing.TB) { waybilltest.Deliver(t, waybilltest.Consumer{}, waybill.Message{}) }); said == "" {
		t.Error("a Consumer without anything is taken")
	}
}
