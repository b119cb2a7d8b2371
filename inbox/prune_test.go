package inbox

import (
	"context"
	"database/sql"
	"log/slog"
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

func TestTheRetentionIsADayWhereProducersWaitForReceipts(t *testing.T) {
	const day, week = 24 * time.Hour, 7 * 24 * time.Hour
	for _, c := range []struct {
		name string
		o    Options
		want store.Retention
	}{
		{"the default", Options{}, store.Retention{Confirmed: day, Foreign: week}},
		{"one of the caller's own", Options{Retention: time.Hour}, store.Retention{Confirmed: time.Hour, Foreign: time.Hour}},
		{"two of the caller's own", Options{Retention: 2 * week, ForeignRetention: day}, store.Retention{Confirmed: 2 * week, Foreign: day}},
		{"a foreign one of the caller's own", Options{ForeignRetention: time.Hour}, store.Retention{Confirmed: day, Foreign: time.Hour}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Consumer = "shipping"
			in := newInbox(t, sqlite.Dialect(), memory.New(nil), &c.o)
			if got := (store.Retention{Confirmed: in.o.Retention, Foreign: in.o.ForeignRetention}); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// A process of a consumer that only has queues forgets for those of its topics, too.
func TestATopicsMessagesArriveADayLateWhateverOtherProcessesForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, db := memory.New(nil), newDatabase(t)
		conn := connect(t, b)
		// running starts a process that handles one destination, and returns what it does and
		// its end.
		running := func(destination string, o *HandleOptions) (*Inbox, func()) {
			in, err := New(db, sqlite.Dialect(), b, &Options{Consumer: "shipping", PruneEvery: time.Minute, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			in.HandleWith(destination, waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil }, o)
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- in.Run(ctx) }()
			time.Sleep(10 * time.Minute)
			return in, func() {
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
		}
		publish := func(destination string, topic bool, age time.Duration) {
			row := store.Row{MessageID: waybill.NewIDAt(time.Now().Add(-age)), Destination: destination, Topic: topic}
			m, err := wire.Encode(&row, 0, wire.Origin{Producer: "shop", ReceiptTo: waybill.ReceiptQueue("shop", identity), Floor: waybill.LowestID(time.Now()).String()})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Publish(t.Context(), []broker.Message{m}, waybill.Durable); err != nil {
				t.Fatal(err)
			}
		}
		prices := &HandleOptions{Topic: true}
		_, stop := running("prices", prices)
		stop()
		publish("prices", true, 48*time.Hour) // while nobody is there
		publish("orders", false, 0)
		in, stop := running("orders", nil)
		publish("orders", false, 48*time.Hour)
		time.Sleep(time.Minute)
		stop()
		if s := in.Stats(); s.Handled != 1 || s.Forgotten != 1 {
			t.Errorf("got %+v of the queue, want one message handled, and one forgotten that is two days old", s)
		}
		in, stop = running("prices", prices)
		stop()
		if s := in.Stats(); s.Handled != 1 || s.Forgotten != 0 {
			t.Errorf("got %+v of the topic, want its message of two days ago handled", s)
		}
	})
}
