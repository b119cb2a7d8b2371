package waybilltest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
	"github.com/waybill-go/waybill/waybilltest"
)

// operator is the tables of a world as commands see them.
type operator struct {
	t      *testing.T
	queue  *store.Queue
	keeper *store.Keeper
}

func operate(t *testing.T, w *waybilltest.World) *operator {
	t.Helper()
	queue, err := store.NewQueue(w.DB, sqlite.Dialect(), "")
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := store.NewKeeper(w.DB, sqlite.Dialect(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	return &operator{t, queue, keeper}
}

func (o *operator) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

// resumed ends the pause of a destination at a side.
func (o *operator) resumed(side store.Side, destination string) {
	o.t.Helper()
	found, err := o.queue.Resume(o.t.Context(), destination, false)
	if side == store.Consumer {
		found, err = o.keeper.Resume(o.t.Context(), "", destination, false)
	}
	if err != nil || !found {
		o.t.Fatalf("resume %s: got %v, error %v", destination, found, err)
	}
}

func (o *operator) pause(side store.Side, p store.Pause, length time.Duration) {
	o.t.Helper()
	if side == store.Consumer {
		o.must(o.keeper.Pause(o.t.Context(), p, length))
		return
	}
	o.must(o.queue.Pause(o.t.Context(), p, length))
}

// pausable is a world that looks at its pauses as often as by default.
func pausable(t *testing.T, o waybilltest.Options) *waybilltest.World {
	t.Helper()
	o.Relay.PausesEvery, o.Inbox.PausesEvery = time.Second, time.Second
	o.Inbox.Workers = 1
	w := waybilltest.New(t, &o)
	for _, destination := range []string{"orders", "prices"} {
		w.Handle(destination, waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })
	}
	return w
}

// sendMany sends n messages to a destination, numbered from a number on.
func sendMany(w *waybilltest.World, destination string, from, n int) {
	for i := range n {
		w.Send(waybill.Message{Destination: destination, Key: "k", Body: fmt.Append(nil, from+i)})
	}
}

// applied is what took effect of a destination, in order.
func applied(w *waybilltest.World, destination string) (bodies []string) {
	for _, m := range w.Applied() {
		if m.Destination == destination {
			bodies = append(bodies, string(m.Body))
		}
	}
	return bodies
}

func numbers(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

func wantApplied(t *testing.T, w *waybilltest.World, destination string, n int) {
	t.Helper()
	if got := applied(w, destination); !slices.Equal(got, numbers(n)) {
		t.Errorf("got %d messages of %s applied, %.200v, want %d in order", len(got), destination, got, n)
	}
}

// What is sent while a destination is paused, at either side, waits and arrives in order.
func TestAPausedDestinationWaitsAndLosesNothing(t *testing.T) {
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		t.Run(string(side), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := pausable(t, waybilltest.Options{Relay: relay.Options{Window: 40, Batch: 10}, Inbox: inbox.Options{Batch: 5}})
				o := operate(t, w)
				sendMany(w, "orders", 0, 20)
				w.Settle()
				o.pause(side, store.Pause{Destination: "orders", By: "ann"}, 0)
				w.Wait(1500 * time.Millisecond)
				sendMany(w, "orders", 20, 150)
				sendMany(w, "prices", 0, 30)
				w.Wait(20 * time.Minute)
				wantApplied(t, w, "orders", 20)
				wantApplied(t, w, "prices", 30)
				w.RestartRelay()
				w.RestartConsumer()
				sendMany(w, "orders", 170, 30)
				w.Wait(5 * time.Minute)
				wantApplied(t, w, "orders", 20)
				o.resumed(side, "orders")
				w.Settle()
				if side == store.Producer {
					wantApplied(t, w, "orders", 200)
				} else if got := applied(w, "orders"); len(got) != 200 {
					t.Errorf("got %d messages applied, want each of 200 once", len(got))
				}
			})
		})
	}
}

func TestAPauseEndsByItselfWhenItsTimeIsOver(t *testing.T) {
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		t.Run(string(side), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := pausable(t, waybilltest.Options{})
				operate(t, w).pause(side, store.Pause{Destination: "orders"}, 10*time.Minute)
				sendMany(w, "orders", 0, 50)
				w.Wait(9*time.Minute + 50*time.Second)
				wantApplied(t, w, "orders", 0)
				w.Settle()
				wantApplied(t, w, "orders", 50)
			})
		})
	}
}

// What was sent before the pause is confirmed during it, and what is lost meanwhile is sent
// again after it.
func TestReceiptsAreTakenWhileADestinationIsPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pausable(t, waybilltest.Options{})
		o := operate(t, w)
		w.Settle()
		w.LoseMessages(10)
		sendMany(w, "orders", 0, 30)
		w.Wait(100 * time.Millisecond)
		o.pause(store.Producer, store.Pause{Destination: "orders"}, 0)
		w.Wait(10 * time.Minute)
		if got := len(applied(w, "orders")); got != 20 {
			t.Errorf("got %d messages applied, want those that were not lost", got)
		}
		var left int
		o.must(w.DB.QueryRowContext(t.Context(), `SELECT count(*) FROM qmessage`).Scan(&left))
		if left != 10 {
			t.Errorf("got %d rows left, want the 10 whose messages were lost", left)
		}
		o.resumed(store.Producer, "orders")
		w.Settle()
		if got := len(applied(w, "orders")); got != 30 {
			t.Errorf("got %d messages applied, want all 30 once", got)
		}
	})
}

// A relay keeps to a number of messages a second, and others are not held up.
func TestARelaySendsNoMoreThanSoManyASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pausable(t, waybilltest.Options{Relay: relay.Options{Poll: 100 * time.Millisecond, Destinations: map[string]relay.Destination{"orders": {PerSecond: 20}}}})
		w.Settle()
		sendMany(w, "orders", 0, 300)
		sendMany(w, "prices", 0, 300)
		w.Wait(time.Second)
		wantApplied(t, w, "prices", 300)
		w.Wait(4 * time.Second)
		if got := len(applied(w, "orders")); got < 80 || got > 110 {
			t.Errorf("got %d messages after 5 s, want about 100", got)
		}
		w.Wait(20 * time.Second)
		wantApplied(t, w, "orders", 300)
	})
}

var errNoOrder = errors.New("no such order")

// A breaker pauses a destination whose messages are rejected, and the others of its messages
// wait for somebody who has mended the handler.
func TestABreakerPausesADestination(t *testing.T) {
	for _, side := range []store.Side{store.Producer, store.Consumer} {
		t.Run(string(side), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				breaker := waybill.Breaker{InARow: 7}
				o := waybilltest.Options{Relay: relay.Options{Destinations: map[string]relay.Destination{"mails": {Window: 20}}}}
				if side == store.Consumer {
					o.Inbox.Breaker = breaker
				} else {
					o.Relay.Destinations = map[string]relay.Destination{"mails": {Window: 20, Breaker: breaker}}
				}
				w := pausable(t, o)
				mended := false
				w.Handle("mails", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error {
					if !mended {
						return waybill.Permanent(errNoOrder)
					}
					return nil
				})
				op := operate(t, w)
				sendMany(w, "mails", 0, 500)
				w.Wait(5 * time.Minute)
				var rejected int
				op.must(w.DB.QueryRowContext(t.Context(), `SELECT count(*) FROM qmessage WHERE status = 2`).Scan(&rejected))
				if side == store.Consumer && rejected != 7 || rejected < 7 || rejected > 40 {
					t.Errorf("got %d messages rejected of 500, want 7, or at the producer's side some more that were under way", rejected)
				}
				all, err := op.queue.Pauses(t.Context())
				if side == store.Consumer {
					all, err = op.keeper.Pauses(t.Context())
				}
				op.must(err)
				if len(all) != 1 || all[0].By != waybill.BreakerName || all[0].Destination != "mails" || !strings.Contains(all[0].Reason, "7 rejections in a row") ||
					!strings.Contains(all[0].Reason, "no such order") || !all[0].Until.IsZero() {
					t.Errorf("got the pauses %+v, want the breaker's, with the last reason", all)
				}
				mended = true
				op.resumed(side, "mails")
				w.Settle()
				if got := len(applied(w, "mails")); got != 500-rejected {
					t.Errorf("got %d messages applied, want the other %d", got, 500-rejected)
				}
			})
		})
	}
}

// What a consumer keeps waits while its destination is paused.
func TestKeptMessagesWaitWhileTheirDestinationIsPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pausable(t, waybilltest.Options{Inbox: inbox.Options{KeptEvery: time.Second}})
		o := operate(t, w)
		o.pause(store.Consumer, store.Pause{Destination: "orders", Consumer: "waybilltest"}, 0)
		ledger, err := store.NewLedger(w.DB, sqlite.Dialect(), "", "waybilltest")
		o.must(err)
		kept := func(destination string) store.Kept {
			return store.Kept{MessageID: waybill.NewID(), Destination: destination, Delivery: destination, Headers: `{}`, Body: []byte("0")}
		}
		o.must(ledger.Keep(t.Context(), []store.Kept{kept("orders"), kept("prices")}, make([]time.Duration, 2)))
		w.Wait(time.Minute)
		wantApplied(t, w, "orders", 0)
		wantApplied(t, w, "prices", 1)
		o.resumed(store.Consumer, "orders")
		w.Wait(5 * time.Second)
		wantApplied(t, w, "orders", 1)
	})
}
