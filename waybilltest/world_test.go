package waybilltest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/waybilltest"
)

func TestADayOfOutagesLosesAndDoublesNothing(t *testing.T) {
	waybilltest.Run(t, func(t *testing.T, w *waybilltest.World) {
		w.Exec(`CREATE TABLE stock (item TEXT PRIMARY KEY, number INTEGER NOT NULL)`)
		w.Handle("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO stock VALUES ($1, 1) ON CONFLICT (item) DO UPDATE SET number = number + 1`, string(m.Body))
			return err
		})
		began := time.Now()
		w.Disturb(0.3)
		for i := range 20 {
			w.Send(waybill.Message{Destination: "orders", Body: fmt.Append(nil, i)})
		}
		w.Wait(time.Minute)
		w.BrokerDown(24 * time.Hour)
		for i := range 20 {
			w.Send(waybill.Message{Destination: "orders", Body: fmt.Append(nil, i)})
		}
		w.RestartConsumer()
		w.RestartRelay()
		w.Settle()
		if since := time.Since(began); since < 24*time.Hour {
			t.Errorf("it was over after %v of the bubble's time, want the outage's 24 h", since)
		}
		for i := range 20 {
			w.RequireApplied(waybilltest.Match{Destination: "orders", Body: fmt.Append(nil, i), Count: 2})
		}
		var wrong int
		if err := w.DB.QueryRowContext(t.Context(), `SELECT count(*) FROM stock WHERE number <> 2`).Scan(&wrong); err != nil || wrong != 0 {
			t.Errorf("got %d numbers that are not 2 and error %v", wrong, err)
		}
	})
}

// The journey that the pages promise to be quick: go test -run ADayInAMoment -count 20 -v
// tells how long it takes.
func TestADayInAMoment(t *testing.T) {
	began := time.Now()
	waybilltest.Run(t, func(t *testing.T, w *waybilltest.World) {
		w.Exec(`CREATE TABLE shipments (order_id TEXT PRIMARY KEY)`)
		w.Handle("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO shipments VALUES ($1)`, m.Key)
			return err
		})
		w.Disturb(0.3)
		w.BrokerDown(24 * time.Hour)
		w.Send(waybill.Message{Destination: "orders", Key: "7"})
		w.RestartConsumer()
		w.RestartRelay()
		w.Settle()
		w.RequireApplied(waybilltest.Match{Destination: "orders", Key: "7", Count: 1})
	})
	t.Logf("a day with an outage, 30 %% loss and two crashes took %v", time.Since(began))
}

func TestWhatIsLostIsSentAgain(t *testing.T) {
	waybilltest.Run(t, func(t *testing.T, w *waybilltest.World) {
		w.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })
		w.LoseMessages(1)
		w.LoseReceipts(2)
		w.Send(waybill.Message{Destination: "orders", Key: "7"})
		waybilltest.RequireSent(t, w.DB, waybilltest.Match{Destination: "orders", Key: "7", Count: 1})
		w.Settle()
		w.RequireApplied(waybilltest.Match{Key: "7", Count: 1})
		waybilltest.RequireNotSent(t, w.DB, waybilltest.Match{})
	})
}

func TestARejectedMessageIsKeptWithItsReason(t *testing.T) {
	waybilltest.Run(t, func(t *testing.T, w *waybilltest.World) {
		w.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error {
			return waybill.Permanent(errors.New("no such customer"))
		})
		w.Send(waybill.Message{Destination: "orders", Body: []byte("x")})
		w.Settle()
		w.RequireNotApplied(waybilltest.Match{})
		if all := w.Rejected(); len(all) != 1 || all[0].Destination != "orders" || all[0].Reason == "" {
			t.Errorf("got %+v, want one rejected message with its reason", all)
		}
	})
}

func TestTheDatabaseHasTheTimeOfTheBubble(t *testing.T) {
	waybilltest.Run(t, func(t *testing.T, w *waybilltest.World) {
		for range 2 {
			var now, today string
			var epoch int64
			var day float64
			if err := w.DB.QueryRowContext(t.Context(), `SELECT datetime('now'), CURRENT_DATE, unixepoch('now'), julianday('now')`).Scan(&now, &today, &epoch, &day); err != nil {
				t.Fatal(err)
			}
			right := time.Now().UTC()
			if now != right.Format(time.DateTime) || today != right.Format(time.DateOnly) || epoch != right.Unix() {
				t.Errorf("got %s, %s and %d at %v", now, today, epoch, right)
			}
			if from := time.UnixMicro(int64((day - 2440587.5) * 86400e6)); right.Sub(from).Abs() > time.Millisecond {
				t.Errorf("got the julian day of %v at %v", from, right)
			}
			w.Wait(30 * time.Hour)
		}
	})
}

func TestADelayedMessageComesAtItsTime(t *testing.T) {
	waybilltest.Run(t, func(t *testing.T, w *waybilltest.World) {
		w.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })
		w.Send(waybill.Message{Destination: "orders", NotBefore: time.Now().Add(48 * time.Hour)})
		w.Settle()
		w.RequireNotApplied(waybilltest.Match{})
		w.Wait(47 * time.Hour)
		w.RequireNotApplied(waybilltest.Match{})
		w.Wait(2 * time.Hour)
		w.RequireApplied(waybilltest.Match{Count: 1})
	})
}

func TestMiddlewareIsAroundEachHandler(t *testing.T) {
	waybilltest.Run(t, func(t *testing.T, w *waybilltest.World) {
		var calls []string
		note := func(name string) func(inbox.Handler) inbox.Handler {
			return func(next inbox.Handler) inbox.Handler {
				return func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
					calls = append(calls, name+" before "+m.Destination)
					err := next(ctx, tx, m)
					calls = append(calls, fmt.Sprint(name, " after ", err))
					if name == "outer" && err != nil {
						return waybill.Permanent(err) // the outermost has the last word
					}
					return err
				}
			}
		}
		w.Use(note("outer"), note("inner"))
		for _, destination := range []string{"orders", "prices"} {
			w.Handle(destination, waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error {
				calls = append(calls, "handler")
				return errors.New("no")
			})
		}
		w.Send(waybill.Message{Destination: "orders"})
		w.Settle()
		w.Send(waybill.Message{Destination: "prices"})
		w.Settle()
		want := []string{
			"outer before orders", "inner before orders", "handler", "inner after no", "outer after no",
			"outer before prices", "inner before prices", "handler", "inner after no", "outer after no",
		}
		if !slices.Equal(calls, want) {
			t.Errorf("got %q, want %q", calls, want)
		}
		if n := len(w.Rejected()); n != 2 {
			t.Errorf("got %d rejected messages, want 2", n)
		}
	})
}

func TestAWorldsConsumerHandlesBatches(t *testing.T) {
	waybilltest.Run(t, func(t *testing.T, w *waybilltest.World) {
		largest := 0
		w.HandleBatch("orders", waybill.Once, func(_ context.Context, _ *sql.Tx, messages []*waybill.Message) error {
			largest = max(largest, len(messages))
			for _, m := range messages {
				if string(m.Body) == "7" {
					return inbox.Failed(m, waybill.Permanent(errors.New("no such order")))
				}
			}
			return nil
		})
		w.Disturb(0.3)
		for i := range 50 {
			w.Send(waybill.Message{Destination: "orders", Body: fmt.Append(nil, i)})
		}
		w.Settle()
		for i := range 50 {
			if i != 7 {
				w.RequireApplied(waybilltest.Match{Body: fmt.Append(nil, i), Count: 1})
			}
		}
		w.RequireNotApplied(waybilltest.Match{Body: []byte("7")})
		if all := w.Rejected(); len(all) != 1 || string(all[0].Body) != "7" {
			t.Errorf("got the rejected messages %+v, want the one at fault", all)
		}
		if largest < 2 {
			t.Error("no batch had more than one message")
		}
	})
}
