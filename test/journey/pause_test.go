package journey

import (
	"context"
	"database/sql"
	"slices"
	"sync"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/store"
)

// TestNothingMovesWhileADestinationIsPausedAndAllOfItAfterwards pauses a destination at one
// side, under way and for a relay or an inbox that begins then, while another one goes on.
func TestNothingMovesWhileADestinationIsPausedAndAllOfItAfterwards(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		for _, side := range []store.Side{store.Producer, store.Consumer} {
			t.Run(string(side), func(t *testing.T) {
				w := newWorld(t, d, memory.New(nil))
				w.relayOptions.Window, w.relayOptions.Batch = 50, 20
				w.relayOptions.PausesEvery, w.inboxOptions.PausesEvery = 50*time.Millisecond, 50*time.Millisecond
				w.inboxOptions.Workers, w.inboxOptions.Batch = 1, 7
				var mu sync.Mutex
				var handled []waybill.ID // of orders, in order
				taken := func() []waybill.ID {
					mu.Lock()
					defer mu.Unlock()
					return slices.Clone(handled)
				}
				newInbox := func() *inbox.Inbox {
					in := w.newInbox(&w.inboxOptions)
					in.Handle("prices", waybill.Once, w.record)
					in.Handle("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
						mu.Lock()
						defer mu.Unlock()
						handled = append(handled, m.ID)
						return w.record(ctx, tx, m)
					})
					return in
				}
				queue, err := store.NewQueue(w.producer, d.dialect, "")
				if err != nil {
					t.Fatal(err)
				}
				defer queue.CloseIdle()
				keeper := w.keeper()
				ctx := context.Background()

				r, in := w.relay(), newInbox()
				stopRelay, stopInbox := w.runs(r.Run), w.runs(in.Run)
				orders := w.commitMany(10, func(int) waybill.Message { return waybill.Message{Destination: "orders", Key: "k"} })
				w.waits("the first orders are handled", 10*time.Second, func() bool { return len(taken()) == 10 })
				if side == store.Producer {
					err = queue.Pause(ctx, store.Pause{Destination: "orders", By: "ann"}, 0)
				} else {
					err = keeper.Pause(ctx, store.Pause{Destination: "orders", By: "ann"}, 0)
				}
				if err != nil {
					t.Fatal(err)
				}
				w.waits("it is obeyed", 10*time.Second, func() bool { return len(r.Stats().Paused)+len(in.Stats().Paused) == 1 })
				orders = append(orders, w.commitMany(200, func(int) waybill.Message { return waybill.Message{Destination: "orders", Key: "k"} })...)
				w.commitMany(100, func(int) waybill.Message { return waybill.Message{Destination: "prices"} })
				w.waits("the others are handled", 10*time.Second, func() bool { return w.effects() == 110 })

				stopRelay()
				stopInbox()
				r, in = w.relay(), newInbox()
				w.runs(r.Run)
				w.runs(in.Run)
				w.commitMany(100, func(int) waybill.Message { return waybill.Message{Destination: "prices"} })
				w.waits("the others are handled after a restart", 10*time.Second, func() bool { return w.effects() == 210 })
				if n := len(taken()); n != 10 {
					t.Errorf("got %d orders handled while they are paused, want the 10 from before", n)
				}

				var resumed bool
				if side == store.Producer {
					resumed, err = queue.Resume(ctx, "orders", false)
				} else {
					resumed, err = keeper.Resume(ctx, "", "orders", false)
				}
				if err != nil || !resumed {
					t.Fatal(resumed, err)
				}
				w.waits("all orders are handled", 20*time.Second, func() bool { return len(taken()) >= 210 })
				w.emptied(20 * time.Second)
				got := taken()
				if side == store.Consumer { // a relay that takes over may send some later
					slices.SortFunc(got, waybill.ID.Compare)
					slices.SortFunc(orders, waybill.ID.Compare)
				}
				if !slices.Equal(got, orders) {
					t.Errorf("got %d orders handled, want each of %d once, and from a paused relay in order", len(got), len(orders))
				}
				w.wantEffects(410)
			})
		}
	})
}
