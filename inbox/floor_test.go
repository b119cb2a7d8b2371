package inbox

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"slices"
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

const identity = "7q3mk2xw9d4hznsb6t5vfc8a"

// withFloor is a message of shop's outbox that tells a floor.
func withFloor(t *testing.T, floor waybill.ID) broker.Message {
	t.Helper()
	row := store.Row{MessageID: waybill.NewID(), Destination: "orders"}
	m, err := wire.Encode(&row, 0, wire.Origin{Producer: "shop", ReceiptTo: waybill.ReceiptQueue("shop", identity), Floor: floor.String()})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFloorsAreStoredWhoeverPrunes(t *testing.T) {
	for _, c := range []struct {
		name       string
		pruneEvery time.Duration
		runs       time.Duration // from the message to the look, and the stop
		stops      bool          // before the look
	}{
		{"an inbox that never prunes, while it runs", -1, 2 * time.Minute, false},
		{"an inbox that seldom prunes, while it runs", 24 * time.Hour, 2 * time.Minute, false},
		{"an inbox that prunes, while it runs", time.Second, 2 * time.Second, false},
		{"an inbox that never prunes, after a second's run", -1, time.Second, true},
		{"an inbox that prunes, after a second's run", 0, time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(nil)
				in := newInbox(t, sqlite.Dialect(), b, &Options{Consumer: "shipping", PruneEvery: c.pruneEvery, Logger: slog.New(slog.DiscardHandler)})
				in.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- in.Run(ctx) }()
				floor := waybill.LowestID(time.Now())
				if _, err := connect(t, b).Publish(t.Context(), []broker.Message{withFloor(t, floor)}, waybill.Durable); err != nil {
					t.Fatal(err)
				}
				time.Sleep(c.runs)
				if c.stops {
					stop()
					if err := <-ended; err != nil {
						t.Fatal(err)
					}
				}
				got, err := in.ledger.Horizons(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				isTold := func(h store.Horizon) bool { return h.Producer == "shop."+identity && h.Floor == floor }
				if !slices.ContainsFunc(got, isTold) {
					t.Errorf("got the horizons %+v, want one of shop.%s with the floor %s", got, identity, floor)
				}
				if stop(); !c.stops {
					if err := <-ended; err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// strangeFloors is a dialect with a statement of its own that stores a floor.
type strangeFloors struct {
	store.Dialect
	text string
}

func (d strangeFloors) SaveFloor(store.Names, string, string, waybill.ID) store.Statement {
	return store.Statement{SQL: d.text}
}

func TestFloorsThatCannotBeStoredHoldUpNoStop(t *testing.T) {
	for _, c := range []struct{ name, text string }{
		{"an error", `SELECT nothing`},
		{"a statement that does not end", `WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) DELETE FROM n1_record WHERE time_stamp = (SELECT max(x) FROM n)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			const drain = 5 * time.Minute
			b := memory.New(nil)
			in := newInbox(t, strangeFloors{sqlite.Dialect(), c.text}, b, &Options{Consumer: "shipping", PruneEvery: -1, Drain: drain, Logger: slog.New(slog.DiscardHandler)})
			handled := make(chan struct{}, 1)
			in.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error {
				handled <- struct{}{}
				return nil
			})
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- in.Run(ctx) }()
			if _, err := connect(t, b).Publish(t.Context(), []broker.Message{withFloor(t, waybill.NewID())}, waybill.Durable); err != nil {
				t.Fatal(err)
			}
			<-handled
			stop()
			stopped := time.Now()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if took := time.Since(stopped); took > drain/2 {
				t.Errorf("Run returned %v after the stop, want it after about %v", took, lastFloors)
			}
			if got := in.floors.unsaved(); len(got) != 1 {
				t.Errorf("got the floors %v that are not stored, want the one that cannot be", got)
			}
			if err := in.saveFloors(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v of storing floors when there is no time left, want that it was not tried", err)
			}
		})
	}
}
