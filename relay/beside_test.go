package relay

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// sabotaged is a dialect of which some statements are others.
type sabotaged struct {
	store.Dialect
	floor, rejections, sweep, copies, newest *store.Statement
	now                                      *atomic.Bool // from now on
}

func (d sabotaged) Floor(n store.Names, below waybill.ID) store.Statement {
	return d.orOther(d.floor, d.Dialect.Floor(n, below))
}

func (d sabotaged) Rejections(n store.Names, from, to, width int64) store.Statement {
	return d.orOther(d.rejections, d.Dialect.Rejections(n, from, to, width))
}

func (d sabotaged) Sweep(n store.Names, after, upTo int64, limit int) store.Statement {
	return d.orOther(d.sweep, d.Dialect.Sweep(n, after, upTo, limit))
}

func (d sabotaged) ScanNewest(n store.Names, after, below waybill.ID, limit int) store.Statement {
	return d.orOther(d.newest, d.Dialect.ScanNewest(n, after, below, limit))
}

func (d sabotaged) CountCopies(n store.Names, ids []int64) store.Statement {
	return d.orOther(d.copies, d.Dialect.CountCopies(n, ids))
}

func (d sabotaged) orOther(other *store.Statement, own store.Statement) store.Statement {
	if other != nil && d.now.Load() {
		return *other
	}
	return own
}

func TestWhatOnlyHelpsHoldsUpNoMessage(t *testing.T) {
	fails := &store.Statement{SQL: `SELECT nothing FROM nowhere`}
	hangs := &store.Statement{SQL: `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n`}
	for _, c := range []struct {
		name        string
		dialect     sabotaged
		connections int // 0 for as many as are wanted
	}{
		{"the floor fails", sabotaged{floor: fails}, 0},
		{"the floor hangs", sabotaged{floor: hangs}, 0},
		{"the reading of rejections fails", sabotaged{rejections: fails}, 0},
		{"the reading of rejections hangs", sabotaged{rejections: hangs}, 0},
		{"the sweep fails", sabotaged{sweep: fails}, 0},
		{"the sweep hangs", sabotaged{sweep: hangs}, 0},
		{"the count of copies fails", sabotaged{copies: fails}, 0},
		{"the look at the newest messages fails", sabotaged{newest: fails}, 0},
		{"the look at the newest messages hangs", sabotaged{newest: hangs}, 0},
		{"all reading that helps hangs", sabotaged{floor: hangs, rejections: hangs, sweep: hangs, newest: hangs}, 0},
		{"all reading that helps hangs, over one connection", sabotaged{floor: hangs, rejections: hangs, sweep: hangs, newest: hangs}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.dialect.Dialect, c.dialect.now = sqlite.Dialect(), new(atomic.Bool)
			db := openDatabase(t)
			pool := db
			if c.connections > 0 {
				var file string
				if err := db.QueryRow(`SELECT file FROM pragma_database_list`).Scan(&file); err != nil {
					t.Fatal(err)
				}
				pool = openFile(t, file)
				pool.SetMaxOpenConns(c.connections)
			}
			b := memory.New(nil)
			r, err := New(pool, c.dialect, b, &Options{
				Producer: "waybill", MinResend: 50 * time.Millisecond, FirstResend: 50 * time.Millisecond, MaxResend: 100 * time.Millisecond,
				Sweep: time.Millisecond, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- r.Run(ctx) }()
			patience.Until(t, "the relay has checked the statements", func() bool { return r.Stats().Leading })
			c.dialect.now.Store(true)
			conn, err := b.Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			receiver, err := conn.Subscribe(t.Context(), broker.Subscription{Destination: "orders", Group: "shop", Prefetch: 10})
			if err != nil {
				t.Fatal(err)
			}
			queue := waybill.ReceiptQueue("waybill", identityOf(t, r))
			for range 3 {
				id := waybill.NewID()
				execute(t, db, `INSERT INTO qmessage (message_id, destination, message_content) VALUES (?, 'orders', x'00')`, id.String())
				for copies := 0; copies < 2; { // the second one, since nobody has confirmed the first
					deliveries, err := receiver.Receive(t.Context(), 10) // the test's own time-out is the judge
					if err != nil {
						t.Fatal(err)
					}
					for i := range deliveries {
						if got, _ := deliveries[i].Header("messageId"); got == id.String() {
							copies++
						}
					}
					if err := receiver.Settle(t.Context(), deliveries, broker.Ack); err != nil {
						t.Fatal(err)
					}
				}
				confirm(t, b, queue, id)
				patience.Until(t, "the row is deleted", func() bool {
					var rows int
					if err := db.QueryRow(`SELECT count(*) FROM qmessage WHERE message_id = ?`, id.String()).Scan(&rows); err != nil {
						t.Fatal(err)
					}
					return rows == 0
				})
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCopiesAreCountedAfterRetriesAndTimeoutsAlike(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, steps *steppedTerm) {
		s := &lossy{steps, time.Now(), map[int64][]time.Duration{}}
		want := func(after string, copies int) {
			t.Helper()
			if got := s.r.Stats().Copies; got != int64(copies) || len(s.sent[1]) != copies+1 {
				t.Fatalf("after %s: got %d copies of a message that was sent at %v, want %d", after, got, s.sent[1], copies)
			}
		}
		s.insert(1, 1)
		s.passes(time.Second)
		want("the first sending", 0)
		s.passes(5 * time.Second)
		want("a time-out", 1)
		s.settleOne(t.Context(), slowReceipt{consumerReceipt: consumerReceipt{waybill.Receipt{ID: s.messages()[0], Outcome: waybill.Retry, After: time.Millisecond}, "shop"}})
		for len(s.sent[1]) < 3 { // the database's clock is not the bubble's
			s.passes(100 * time.Millisecond)
		}
		want("a retry", 2)
		s.passes(5 * time.Second)
		want("a time-out after a retry", 3)
	})
}
