package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// says is what a batch handler comes to that was given messages with these bodies.
type says func(ctx context.Context, tx *sql.Tx, of map[string]*waybill.Message) error

// batches is a consumer whose handler writes a batch's bodies with one statement.
type batches struct {
	db *sql.DB
	in *Inbox
	w  *worker

	mu    sync.Mutex
	calls []string // the bodies that each call has got
}

func newBatches(t *testing.T, level waybill.Level, o Options, says says) *batches {
	t.Helper()
	db := newDatabase(t)
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE effect (n integer PRIMARY KEY, body text, of_order text REFERENCES known DEFERRABLE INITIALLY DEFERRED);
		CREATE TABLE known (id text PRIMARY KEY)`); err != nil {
		t.Fatal(err)
	}
	o.Consumer, o.Workers, o.Logger = "shipping", 1, slog.New(slog.DiscardHandler)
	in, err := New(db, sqlite.Dialect(), memory.New(nil), &o)
	if err != nil {
		t.Fatal(err)
	}
	b := &batches{db: db, in: in}
	b.in.HandleBatch("orders", level, func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
		var bodies []string
		var args []any
		of := map[string]*waybill.Message{}
		for _, m := range messages {
			of[string(m.Body)] = m
			bodies, args = append(bodies, string(m.Body)), append(args, string(m.Body))
		}
		b.mu.Lock()
		b.calls = append(b.calls, strings.Join(bodies, " "))
		b.mu.Unlock()
		if _, err := tx.ExecContext(ctx, `INSERT INTO effect (body) VALUES (?)`+strings.Repeat(`, (?)`, len(args)-1), args...); err != nil {
			return err
		}
		return says(ctx, tx, of)
	})
	b.w = b.in.routes[0].workers[0]
	return b
}

// arrived is a message as if it had arrived.
func (b *batches) arrived(m waybill.Message) *item {
	if m.ID.IsZero() {
		m.ID = waybill.NewID()
	}
	m.Destination, m.Producer = "orders", "shop"
	return &item{
		sourceOf: store.Source, delivery: broker.Delivery{Message: broker.Message{Destination: "orders", Body: m.Body}}, Arrival: wire.Arrival{Message: m, ReceiptTo: waybill.ReceiptQueue("shop", "")},
		receiver: &subscription{Receiver: &settler{}, r: b.in.routes[0]}, arrived: time.Now(),
	}
}

// handle has the worker handle messages with these bodies, and returns what their producer is
// told, by body.
func (b *batches) handle(t *testing.T, batch ...*item) map[string]waybill.Receipt {
	t.Helper()
	b.w.handle(t.Context(), t.Context(), batch)
	return b.told(batch)
}

func (b *batches) told(batch []*item) map[string]waybill.Receipt {
	told := map[string]waybill.Receipt{}
	for _, a := range b.in.receipts.queues {
		for _, r := range a.waiting {
			for _, x := range batch {
				if x.Message.ID == r.ID {
					told[string(x.Message.Body)] = r
				}
			}
		}
		a.waiting = nil
	}
	return told
}

// effects are the bodies that were written, in order.
func (b *batches) effects(t *testing.T) string {
	t.Helper()
	rows, err := b.db.QueryContext(t.Context(), `SELECT body FROM effect ORDER BY n`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var body string
		if err := rows.Scan(&body); err != nil {
			t.Fatal(err)
		}
		all = append(all, body)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestABatchsErrorCountsOnlyAgainstItsCulprits(t *testing.T) {
	no := errors.New("no")
	done := waybill.Receipt{Outcome: waybill.Done}
	retry := waybill.Receipt{Outcome: waybill.Retry, Tries: 1}
	rejected := waybill.Receipt{Outcome: waybill.Rejected}
	later := waybill.Receipt{Outcome: waybill.Retry, After: time.Hour}
	// with has the handler say something if it is given a message with the body "5".
	with := func(f says) says {
		return func(ctx context.Context, tx *sql.Tx, of map[string]*waybill.Message) error {
			if of["5"] == nil {
				return nil
			}
			return f(ctx, tx, of)
		}
	}
	const halvings = 4 // of 16 messages, until one is alone
	for _, c := range []struct {
		name  string
		says  says
		calls int                        // at most
		want  map[string]waybill.Receipt // the others are done
		error string                     // in that of "5"
	}{
		{"nothing", func(context.Context, *sql.Tx, map[string]*waybill.Message) error { return nil }, 1, nil, ""},
		{"several by name", func(_ context.Context, _ *sql.Tx, of map[string]*waybill.Message) error {
			var all []error
			for body, err := range map[string]error{"3": waybill.Permanent(no), "5": no, "7": waybill.RetryAfter(time.Hour, no), "9": nil} {
				if m := of[body]; m != nil {
					all = append(all, Failed(m, err))
				}
			}
			return errors.Join(all...)
		}, 2, map[string]waybill.Receipt{"3": rejected, "5": retry, "7": later}, "no"},
		{"one by name, with more around", with(func(_ context.Context, _ *sql.Tx, of map[string]*waybill.Message) error {
			return fmt.Errorf("write shipments: %w", Failed(of["5"], no))
		}), 2, map[string]waybill.Receipt{"5": retry}, "no"},
		{"permanent around names", with(func(_ context.Context, _ *sql.Tx, of map[string]*waybill.Message) error {
			return waybill.Permanent(errors.Join(Failed(of["5"], waybill.RetryAfter(time.Second, no)), Failed(of["6"], no)))
		}), 2, map[string]waybill.Receipt{"5": rejected, "6": rejected}, "no"},
		{"a time around names", with(func(_ context.Context, _ *sql.Tx, of map[string]*waybill.Message) error {
			return waybill.RetryAfter(time.Hour, Failed(of["5"], no))
		}), 2, map[string]waybill.Receipt{"5": later}, "no"},
		{"without a name", with(func(context.Context, *sql.Tx, map[string]*waybill.Message) error {
			return waybill.Permanent(no)
		}), 1 + 2*halvings, map[string]waybill.Receipt{"5": rejected}, "no"},
		{"without names, of two", func(_ context.Context, _ *sql.Tx, of map[string]*waybill.Message) error {
			if of["5"] != nil || of["11"] != nil {
				return no
			}
			return nil
		}, 1 + 2*2*halvings, map[string]waybill.Receipt{"5": retry, "11": retry}, "no"},
		{"a name that is no message's", with(func(context.Context, *sql.Tx, map[string]*waybill.Message) error {
			return Failed(&waybill.Message{ID: waybill.NewID()}, no)
		}), 1 + 2*halvings, map[string]waybill.Receipt{"5": retry}, "no"},
		{"a panic", with(func(context.Context, *sql.Tx, map[string]*waybill.Message) error { panic("oh") }), 1 + 2*halvings, map[string]waybill.Receipt{"5": retry}, "panic: oh"},
		{"the end of its goroutine", with(func(context.Context, *sql.Tx, map[string]*waybill.Message) error {
			runtime.Goexit()
			return nil
		}), 1 + 2*halvings, map[string]waybill.Receipt{"5": retry}, "runtime.Goexit"},
		{"the end of its transaction", with(func(_ context.Context, tx *sql.Tx, _ map[string]*waybill.Message) error {
			_ = tx.Commit()
			return nil
		}), 1 + 2*halvings, map[string]waybill.Receipt{"5": retry}, "transaction has ended"},
		{"a commit that fails", with(func(ctx context.Context, tx *sql.Tx, _ map[string]*waybill.Message) error {
			_, err := tx.ExecContext(ctx, `UPDATE effect SET of_order = 'unknown' WHERE body = '5'`)
			return err
		}), 1 + 2*halvings + maxRefusals - 1, map[string]waybill.Receipt{"5": retry}, "commit"},
		{"a time that is over, and the name of the one in hand", with(func(ctx context.Context, _ *sql.Tx, of map[string]*waybill.Message) error {
			<-ctx.Done()
			for _, m := range of {
				return Failed(m, waybill.Permanent(ctx.Err()))
			}
			return nil
		}), 1 + 2*halvings, map[string]waybill.Receipt{"5": rejected}, "deadline"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBatches(t, waybill.Once, Options{}, c.says)
				var batch []*item
				var effects []string
				for i := range 16 {
					body := fmt.Sprint(i)
					batch = append(batch, b.arrived(waybill.Message{Body: []byte(body)}))
					if _, fails := c.want[body]; !fails {
						effects = append(effects, body)
					}
				}
				told := b.handle(t, batch...)
				for i := range 16 {
					body, want := fmt.Sprint(i), done
					if w, ok := c.want[body]; ok {
						want = w
					}
					if got := told[body]; got.Outcome != want.Outcome || got.After != want.After || got.Tries != want.Tries {
						t.Errorf("%s was answered %+v, want %+v", body, got, want)
					}
				}
				if got := told["5"].Error; !strings.Contains(got, c.error) {
					t.Errorf("its producer was told %q, want %q in it", got, c.error)
				}
				if len(b.calls) > c.calls {
					t.Errorf("%d calls, want %d at most: %q", len(b.calls), c.calls, b.calls)
				}
				if b.calls[0] != "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15" {
					t.Errorf("it was first called with %s, want all in order", b.calls[0])
				}
				got := strings.Fields(b.effects(t))
				slices.Sort(got)
				slices.Sort(effects)
				if !slices.Equal(got, effects) {
					t.Errorf("got the effects %v, want %v", got, effects)
				}
				if s := b.in.Stats(); int(s.Handled) != 16-len(c.want) {
					t.Errorf("got %+v, want the others handled", s)
				}
			})
		})
	}
}

func TestABatchThatHasLostToAnotherTransactionIsRunAgainAsItIs(t *testing.T) {
	lost := 0
	b := newBatches(t, waybill.Once, Options{}, func(_ context.Context, _ *sql.Tx, of map[string]*waybill.Message) error {
		if lost++; lost <= 2 {
			return Failed(of["a"], busy{}) // which its statement was, by chance
		}
		return nil
	})
	told := b.handle(t, b.arrived(waybill.Message{Body: []byte("a")}), b.arrived(waybill.Message{Body: []byte("b")}))
	if want := []string{"a b", "a b", "a b"}; !slices.Equal(b.calls, want) {
		t.Errorf("got the calls %q, want %q", b.calls, want)
	}
	if told["a"].Outcome != waybill.Done || told["b"].Outcome != waybill.Done {
		t.Errorf("got the receipts %v, want both done", told)
	}
}

func TestABatchHasTheMessagesThatAreNew(t *testing.T) {
	for _, c := range []struct {
		level waybill.Level
		want  []string
	}{
		{waybill.Once, []string{"b2 a1 a3", "a2"}},
		{waybill.Latest, []string{"b2 a3"}}, // a2 is older than what was applied
	} {
		t.Run(c.level.String(), func(t *testing.T) {
			b := newBatches(t, c.level, Options{}, func(context.Context, *sql.Tx, map[string]*waybill.Message) error { return nil })
			of := func(key string, stamp int64) waybill.Message {
				return waybill.Message{ID: waybill.NewID(), Key: key, TimeStamp: stamp, Body: fmt.Append(nil, key, stamp)}
			}
			b2, a1, a2, a3 := of("b", 2), of("a", 1), of("a", 2), of("a", 3)
			b.handle(t, b.arrived(b2), b.arrived(a1), b.arrived(a3), b.arrived(b2))
			told := b.handle(t, b.arrived(a3), b.arrived(a2), b.arrived(b2))
			if !slices.Equal(b.calls, c.want) {
				t.Errorf("got the calls %q, want %q", b.calls, c.want)
			}
			for body, r := range told {
				if r.Outcome != waybill.Done {
					t.Errorf("%s was answered %+v, want done", body, r)
				}
			}
			if got, want := b.effects(t), strings.Join(c.want, " "); got != want {
				t.Errorf("got the effects %q, want %q", got, want)
			}
		})
	}
}

func TestMessagesThatHaveFailedBeforeAreHandledApart(t *testing.T) {
	b := newBatches(t, waybill.Once, Options{}, func(_ context.Context, _ *sql.Tx, of map[string]*waybill.Message) error {
		if of["bad"] != nil {
			return errors.New("no")
		}
		return nil
	})
	var batch []*item
	for _, body := range []string{"a", "bad", "b", "worse", "c"} {
		m := waybill.Message{Body: []byte(body)}
		if strings.HasPrefix(body, "bad") || body == "worse" {
			m.Failures = 3
		}
		batch = append(batch, b.arrived(m))
	}
	told := b.handle(t, batch...)
	if want := []string{"a b c", "bad worse", "bad", "worse"}; !slices.Equal(b.calls, want) {
		t.Errorf("got the calls %q, want %q", b.calls, want)
	}
	if r := told["bad"]; r.Outcome != waybill.Retry || r.Tries != 4 {
		t.Errorf("it was answered %+v, want its fourth failure", r)
	}
}

func TestAForeignMessageOfABatchFailsAloneAndIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		b := newBatches(t, waybill.Once, Options{MaxTries: 3}, func(_ context.Context, _ *sql.Tx, of map[string]*waybill.Message) error {
			if of["bad"] == nil {
				return nil
			}
			if tries++; tries > 3 {
				return nil
			}
			return Failed(of["bad"], errors.New("no"))
		})
		var batch []*item
		for _, body := range []string{"a", "bad", "b"} {
			x := b.arrived(waybill.Message{Body: []byte(body)})
			x.ReceiptTo = ""
			batch = append(batch, x)
		}
		b.handle(t, batch...)
		for range 2 { // it is held here until its next try
			time.Sleep(time.Second)
			b.handle(t, b.w.take(10)...)
		}
		if want := []string{"a bad b", "a b", "bad", "bad"}; !slices.Equal(b.calls, want) {
			t.Errorf("got the calls %q, want %q", b.calls, want)
		}
		keeper, err := store.NewKeeper(b.db, sqlite.Dialect(), "", "shipping")
		if err != nil {
			t.Fatal(err)
		}
		defer keeper.CloseIdle()
		kept, err := keeper.List(t.Context(), "", store.Rejected, 0, 10)
		if err != nil || len(kept) != 1 || string(kept[0].Body) != "bad" || !strings.Contains(kept[0].Reason, "gave up after 3 tries: no") {
			t.Fatalf("got the kept messages %+v and error %v, want the bad one with its reason", kept, err)
		}
		if _, sent, err := keeper.Resend(t.Context(), kept[0].MessageID, false); err != nil || !sent {
			t.Fatalf("it cannot be sent again: %v", err)
		}
		again, err := b.in.ledger.KeptRow(t.Context(), kept[0].ID)
		if err != nil || again == nil {
			t.Fatalf("it is not there any more: %v", err)
		}
		b.handle(t, b.in.routes[0].keptItem(again))
		if got := b.effects(t); got != "a b bad" {
			t.Errorf("got the effects %q, want those of all three", got)
		}
		if left, err := keeper.List(t.Context(), "", store.Rejected, 0, 10); err != nil || len(left) != 0 {
			t.Errorf("got the kept messages %+v and error %v, want none any more", left, err)
		}
	})
}

func TestABatchHandlerThatDoesNotReturnIsLeftBehindAndItsMessagesAreTriedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := newBatches(t, waybill.Once, Options{Timeout: time.Second}, func(_ context.Context, _ *sql.Tx, of map[string]*waybill.Message) error {
			if of["deaf"] != nil {
				<-release
				return errors.New("late")
			}
			return nil
		})
		of := func(body string) *item { return b.arrived(waybill.Message{Key: body, Body: []byte(body)}) }
		batch := []*item{of("a"), of("deaf"), of("b")}
		told := b.handle(t, batch...)
		for body, r := range told {
			if r.Outcome != waybill.Retry || r.After != time.Minute || r.Tries != 0 {
				t.Errorf("%s was answered %+v, want it put off, which is no failure", body, r)
			}
		}
		if s := b.in.Stats(); len(told) != 3 || s.Stuck != 1 || s.Overdue != 1 {
			t.Errorf("got %d receipts and %+v, want three and one call stuck", len(told), s)
		}
		if names := b.in.stuckNow(); len(names) != 1 || !strings.Contains(names[0], "and 2 others") {
			t.Errorf("what is stuck is told as %q, want all three messages in it", names)
		}
		told = b.handle(t, of("a"), of("c"))
		if told["a"].Outcome != waybill.Retry || told["c"].Outcome != waybill.Done {
			t.Errorf("got the receipts %v, want another message of a key put off, and another key done", told)
		}
		close(release)
		synctest.Wait()
		var again []*item
		for _, x := range batch {
			again = append(again, b.arrived(x.Message))
		}
		told = b.handle(t, again...)
		if want := []string{"a deaf b", "c", "a", "deaf", "b"}; !slices.Equal(b.calls, want) {
			t.Errorf("got the calls %q, want %q", b.calls, want)
		}
		if told["a"].Outcome != waybill.Done || told["b"].Outcome != waybill.Done || told["deaf"].Tries != 1 {
			t.Errorf("got the receipts %v, want one failure, and the others done", told)
		}
	})
}

func TestAMessageThatCannotBeDecodedDoesNotHoldUpItsBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type order struct{ Number int }
		var got []int
		handler := JSONBatch(func(_ context.Context, _ *sql.Tx, messages []*waybill.Message, values []order) error {
			for i, v := range values {
				if string(messages[i].Body) != fmt.Sprintf(`{"Number":%d}`, v.Number) {
					t.Errorf("got %v as the value of %s", v, messages[i].Body)
				}
				got = append(got, v.Number)
			}
			return nil
		})
		b := newBatches(t, waybill.Once, Options{}, func(context.Context, *sql.Tx, map[string]*waybill.Message) error { return nil })
		b.in.routes[0].handler = handler
		told := b.handle(t, b.arrived(waybill.Message{Body: []byte(`{"Number":1}`)}), b.arrived(waybill.Message{Body: []byte(`x`)}),
			b.arrived(waybill.Message{Body: []byte(`{"Number":2}`)}), b.arrived(waybill.Message{Body: []byte(`[]`)}))
		if !slices.Equal(got, []int{1, 2}) {
			t.Errorf("the handler has got %v, want 1 and 2", got)
		}
		for body, want := range map[string]waybill.Outcome{`{"Number":1}`: waybill.Done, `{"Number":2}`: waybill.Done, `x`: waybill.Rejected, `[]`: waybill.Rejected} {
			if told[body].Outcome != want {
				t.Errorf("%s was answered %+v, want %v", body, told[body], want)
			}
		}
	})
}

func TestMiddlewareIsAroundBatchHandlersThatComeAfterIt(t *testing.T) {
	in := newInbox(t, sqlite.Dialect(), memory.New(nil), &Options{Consumer: "shipping"})
	var calls []string
	note := func(name string) func(BatchHandler) BatchHandler {
		return func(next BatchHandler) BatchHandler {
			return func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
				calls = append(calls, fmt.Sprint(name, len(messages)))
				return next(ctx, tx, messages)
			}
		}
	}
	handler := func(context.Context, *sql.Tx, []*waybill.Message) error { return nil }
	in.HandleBatch("before", waybill.Once, handler)
	in.UseBatch(note("outer"), note("inner"))
	in.HandleBatchWith("after", waybill.Once, handler, &HandleOptions{Batch: 7})
	for _, r := range in.routes {
		if err := r.handler(t.Context(), nil, make([]*waybill.Message, 2)); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"outer2", "inner2"}; !slices.Equal(calls, want) {
		t.Errorf("got %q, want %q", calls, want)
	}
	if n := in.routes[1].o.Batch; n != 7 {
		t.Errorf("got batches of %d, want 7", n)
	}
	in.HandleBatch("none", waybill.Once, nil)
	in.UseBatch(nil)
	if err := in.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `destination "none": the handler is nil`) || !strings.Contains(err.Error(), "a middleware is nil") {
		t.Errorf("got the error %v, want one about the handler and the middleware", err)
	}
}
