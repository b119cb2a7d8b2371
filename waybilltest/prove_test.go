package waybilltest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
	"github.com/waybill-go/waybill/waybilltest"
)

// shop is a consumer with a table of its own: how often each order was shipped, and its state.
type shop struct {
	db    *sql.DB
	table string
	mails int // an effect outside of any transaction
}

func newShop(t *testing.T, db *sql.DB, prefix string) (s *shop, drop func()) {
	t.Helper()
	s = &shop{db: db, table: prefix + "shipped"}
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE `+s.table+` (id VARCHAR(20) PRIMARY KEY, state VARCHAR(20), n INT)`); err != nil {
		t.Fatal(err)
	}
	return s, func() {
		if _, err := db.ExecContext(context.WithoutCancel(t.Context()), `DROP TABLE `+s.table); err != nil {
			t.Error(err)
		}
	}
}

// ship is a sound handler: three statements, or at most four.
func (s *shop) ship(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
	id, state := "'"+m.Key+"'", "'"+string(m.Body)+"'"
	var n int
	switch err := tx.QueryRowContext(ctx, `SELECT n FROM `+s.table+` WHERE id = `+id).Scan(&n); {
	case errors.Is(err, sql.ErrNoRows):
		insert, err := tx.PrepareContext(ctx, `INSERT INTO `+s.table+` VALUES (`+id+`, '', 0)`)
		if err != nil {
			return err
		}
		defer insert.Close()
		if _, err := insert.ExecContext(ctx); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE `+s.table+` SET n = n + 1 WHERE id = `+id); err != nil {
		return fmt.Errorf("count: %w", err)
	}
	_, err := tx.ExecContext(ctx, `UPDATE `+s.table+` SET state = `+state+` WHERE id = `+id)
	return err
}

func (s *shop) reset() error {
	_, err := s.db.ExecContext(context.Background(), `DELETE FROM `+s.table)
	return err
}

// want checks the table: "id state n" of each order.
func (s *shop) want(all ...string) func() error {
	return func() (err error) {
		rows, err := s.db.QueryContext(context.Background(), `SELECT id, state, n FROM `+s.table+` ORDER BY id`)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		var got []string
		for rows.Next() {
			var id, state string
			var n int
			if err := rows.Scan(&id, &state, &n); err != nil {
				return err
			}
			got = append(got, fmt.Sprint(id, " ", state, " ", n))
		}
		if !slices.Equal(got, all) {
			return fmt.Errorf("got %q, want %q", got, all)
		}
		return rows.Err()
	}
}

func TestASoundHandlerIsShownToBeSound(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *sql.DB, dialect store.Dialect, prefix string) {
		s, drop := newShop(t, db, prefix)
		defer drop()
		c := waybilltest.Consumer{DB: db, Dialect: dialect, Options: inbox.Options{TablePrefix: prefix, MaxTries: 1}, Reset: s.reset}
		batched := func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
			for _, m := range messages {
				if err := s.ship(ctx, tx, m); err != nil {
					return inbox.Failed(m, err)
				}
			}
			return nil
		}
		for _, level := range []waybill.Level{waybill.Once, waybill.Latest} {
			for _, inBatches := range []bool{false, true} {
				c.Level, c.Handler, c.BatchHandler = level, s.ship, nil
				if inBatches {
					c.Handler, c.BatchHandler = nil, batched
				}
				of := func(key, body string) waybill.Message {
					return waybill.Message{Key: key + waybill.NewID().String()[20:23], Body: []byte(body)}
				}
				a, b := of("a", "placed"), of("b", "placed")
				again := waybill.Message{Key: a.Key, Body: []byte("sent")}
				for name, show := range map[string]func(testing.TB, waybilltest.Consumer, func() error, ...waybill.Message){
					"Twice": waybilltest.Twice, "OutOfOrder": waybilltest.OutOfOrder, "Crashing": waybilltest.Crashing,
				} {
					check, messages := s.want(a.Key+" sent 2", b.Key+" placed 1"), []waybill.Message{a, b, again}
					if name == "OutOfOrder" && level == waybill.Once { // it promises no order
						check, messages = s.want(a.Key+" placed 1", b.Key+" placed 1"), messages[:2]
					}
					if name == "OutOfOrder" && level == waybill.Latest { // older states may be skipped
						check = either(s.want(a.Key+" sent 2", b.Key+" placed 1"), s.want(a.Key+" sent 1", b.Key+" placed 1"))
					}
					if said := saidBy(t, func(t testing.TB) { show(t, c, check, messages...) }); said != "" {
						t.Errorf("%s, %s, batches %v: it said %s", name, level, inBatches, said)
					}
				}
			}
		}
	})
}

// either is content where one of two checks is.
func either(a, b func() error) func() error {
	return func() error {
		err := a()
		if err == nil {
			return nil
		}
		if b() == nil {
			return nil
		}
		return err
	}
}

func TestWhatAHandlerDoesWrongIsFound(t *testing.T) {
	eachDatabase(t, func(t *testing.T, db *sql.DB, dialect store.Dialect, prefix string) {
		s, drop := newShop(t, db, prefix)
		defer drop()
		mailed := func() error {
			if s.mails != 1 {
				return fmt.Errorf("got %d mails, want 1", s.mails)
			}
			return nil
		}
		fine := func() error { return nil }
		type show = func(testing.TB, waybilltest.Consumer, func() error, ...waybill.Message)
		for _, c := range []struct {
			name    string
			show    show
			level   waybill.Level
			handler inbox.Handler
			check   func() error
			says    []string
		}{
			{
				"an effect outside of the transaction", waybilltest.Twice, waybill.Once,
				func(context.Context, *sql.Tx, *waybill.Message) error { s.mails++; return nil }, mailed,
				[]string{"the effect is wrong: got 2 mails, want 1", "message 0: handled and rolled back, then handled and committed"},
			}, {
				"an effect outside of the transaction", waybilltest.Crashing, waybill.Once,
				func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error { s.mails++; return s.ship(ctx, tx, m) }, mailed,
				[]string{"got 6 mails, want 1", "cut at its statement 1 (SELECT n FROM", "cut at its statement 4 (UPDATE", "cut at its commit, behind 4 statements", "applied", "a copy of each: skipped"},
			}, {
				"a mail before its message is done", waybilltest.Twice, waybill.Once,
				func(context.Context, *sql.Tx, *waybill.Message) error { return errors.New("no printer") }, fine,
				[]string{"message 0 was not applied when it was delivered first", "retry: no printer", `"orders"`},
			}, {
				"what fails the second time", waybilltest.Twice, waybill.Once,
				func(context.Context, *sql.Tx, *waybill.Message) error {
					if s.mails++; s.mails > 1 {
						return waybill.Permanent(errors.New("mailed already"))
					}
					return nil
				}, fine,
				[]string{"message 0 was not applied when it was delivered again, after its transaction was rolled back", "refused: mailed already"},
			}, {
				"states that go back", waybilltest.OutOfOrder, waybill.Once, s.ship, s.want("7 sent 2"),
				[]string{`got ["7 placed 2"], want ["7 sent 2"]`, "in this order:\n  message 1: applied\n  message 0: applied"},
			}, {
				"one that is not there yet", waybilltest.OutOfOrder, waybill.Once,
				func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
					if string(m.Body) == "sent" {
						var there int
						if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM `+s.table).Scan(&there); err != nil {
							return err
						}
						if there == 0 {
							return waybill.Permanent(errors.New("no such order"))
						}
					}
					return s.ship(ctx, tx, m)
				}, fine,
				[]string{"message 1 was not applied in this order:\n  message 1: refused", "refused: no such order"},
			}, {
				"what never gets on", waybilltest.OutOfOrder, waybill.Once,
				func(_ context.Context, _ *sql.Tx, m *waybill.Message) error {
					if string(m.Body) == "sent" {
						return waybill.RetryAfter(time.Minute, errors.New("not yet"))
					}
					return nil
				}, fine,
				[]string{"nothing gets on in this order:\n  message 0: applied\n  message 1: retry: not yet"},
			}, {
				"an error that is passed over", waybilltest.Crashing, waybill.Once,
				func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
					if _, err := tx.ExecContext(ctx, `DELETE FROM `+s.table); err != nil {
						return err
					}
					_ = s.ship(ctx, tx, m)
					return nil
				}, fine,
				[]string{"the handler of message 0 has returned nil although its statement 2 (SELECT n FROM", "had failed"},
			}, {
				"an error that is taken for a permanent one", waybilltest.Crashing, waybill.Once,
				func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
					if err := s.ship(ctx, tx, m); err != nil {
						return waybill.Permanent(err)
					}
					return nil
				}, fine,
				[]string{"message 0 was rejected because its statement 1 (SELECT n FROM", "the connection was cut"},
			}, {
				"a failure of its own", waybilltest.Crashing, waybill.Once,
				func(context.Context, *sql.Tx, *waybill.Message) error { return errors.New("no printer") }, fine,
				[]string{"message 0 was not applied when its connection was not cut: it was retry: no printer"},
			},
		} {
			if err := s.reset(); err != nil {
				t.Fatal(err)
			}
			s.mails = 0
			of := waybilltest.Consumer{DB: db, Dialect: dialect, Level: c.level, Handler: c.handler, Options: inbox.Options{TablePrefix: prefix}, Reset: s.reset}
			said := saidBy(t, func(t testing.TB) {
				messages := []waybill.Message{{Destination: "orders", Key: "7", Body: []byte("placed")}, {Destination: "orders", Key: "7", Body: []byte("sent")}}
				if c.check != nil && strings.Contains(c.says[0], "mails") {
					messages = messages[:1]
				}
				c.show(t, of, c.check, messages...)
			})
			for _, want := range c.says {
				if !strings.Contains(said, want) {
					t.Errorf("%s: it said %q, want %q in it", c.name, said, want)
				}
			}
		}
	})
}

func TestWhatCannotBeShownIsToldAtOnce(t *testing.T) {
	fine := func() error { return nil }
	handler := func(context.Context, *sql.Tx, *waybill.Message) error { return nil }
	batch := func(context.Context, *sql.Tx, []*waybill.Message) error { return nil }
	two := []waybill.Message{{Destination: "orders"}, {Destination: "orders"}}
	for _, c := range []struct {
		show func(t testing.TB)
		says string
	}{
		{func(t testing.TB) { waybilltest.Twice(t, waybilltest.Consumer{}, fine) }, "needs a message"},
		{func(t testing.TB) { waybilltest.Crashing(t, waybilltest.Consumer{}, fine) }, "needs a message"},
		{func(t testing.TB) { waybilltest.OutOfOrder(t, waybilltest.Consumer{}, fine, two[0]) }, "needs two messages at least, and has 1"},
		{func(t testing.TB) { waybilltest.OutOfOrder(t, waybilltest.Consumer{}, fine, two...) }, "needs Consumer.Reset"},
		{func(t testing.TB) {
			waybilltest.OutOfOrder(t, waybilltest.Consumer{Reset: func() error { return errors.New("no such table") }}, fine, two...)
		}, "Consumer.Reset: no such table"},
		{func(t testing.TB) { waybilltest.Twice(t, waybilltest.Consumer{}, fine, two...) }, "neither a Handler nor a BatchHandler"},
		{func(t testing.TB) {
			waybilltest.Twice(t, waybilltest.Consumer{Handler: handler, BatchHandler: batch}, fine, two...)
		}, "give one of them"},
		{func(t testing.TB) {
			waybilltest.Twice(t, waybilltest.Consumer{Handler: handler}, fine, two[0], waybill.Message{Destination: "prices"})
		}, `message 1 is to "prices", and the first one to "orders"`},
	} {
		if said := saidBy(t, c.show); !strings.Contains(said, c.says) {
			t.Errorf("it said %q, want %q in it", said, c.says)
		}
	}
}

func TestMoreMessagesThanCanBePermutedComeInOrdersThatAreTheSameEachTime(t *testing.T) {
	db, dialect, err := address.OpenDatabase("sqlite:" + filepath.Join(t.TempDir(), "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := store.Migrate(t.Context(), db, dialect, "", store.Consumer); err != nil {
		t.Fatal(err)
	}
	run := func() (orders []string) {
		var order []string
		var messages []waybill.Message
		for i := range 6 {
			messages = append(messages, waybill.Message{Key: fmt.Sprint(i)})
		}
		waybilltest.OutOfOrder(t, waybilltest.Consumer{
			DB: db, Dialect: dialect, Level: waybill.Once, Reset: func() error { return nil },
			Handler: func(_ context.Context, _ *sql.Tx, m *waybill.Message) error {
				order = append(order, m.Key)
				return nil
			},
		}, func() error {
			orders = append(orders, strings.Join(order, ""))
			order = nil
			return nil
		}, messages...)
		return orders
	}
	first, second := run(), run()
	if !slices.Equal(first, second) || first[0] != "012345" || first[1] != "543210" {
		t.Errorf("got the orders %v and then %v, want both the same", first, second)
	}
	slices.Sort(first)
	if n := len(slices.Compact(first)); n < 20 {
		t.Errorf("got %d different orders, want more", n)
	}
}

func TestAHandlerThatWritesThroughAConnectionOfItsOwnIsAskedAboutIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shop.db")
	open := func(settings string) *sql.DB {
		db, err := sql.Open("sqlite", "file:"+file+"?_txlock=immediate"+settings)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	db, own := open("&_pragma=busy_timeout(10000)"), open("")
	if err := store.Migrate(t.Context(), db, sqlite.Dialect(), "", store.Consumer); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE shipments (id TEXT)`); err != nil {
		t.Fatal(err)
	}
	c := waybilltest.Consumer{DB: db, Dialect: sqlite.Dialect(), Level: waybill.Once, Handler: func(ctx context.Context, _ *sql.Tx, m *waybill.Message) error {
		_, err := own.ExecContext(ctx, `INSERT INTO shipments VALUES (?)`, m.Key)
		return err
	}}
	said := saidBy(t, func(t testing.TB) { waybilltest.Twice(t, c, func() error { return nil }, waybill.Message{Key: "7"}) })
	for _, want := range []string{"message 0 was not applied when it was delivered first", "the inbox's log:", "does the handler write through a connection of its own, and not through its tx?"} {
		if !strings.Contains(said, want) {
			t.Errorf("it said %q, want %q in it", said, want)
		}
	}
}
