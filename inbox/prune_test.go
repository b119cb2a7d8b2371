package inbox

import (
	"context"
	"database/sql"
	"log/slog"
	"strings"
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

func TestAForeignMessageMayAskForALongerTimeThanItsRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, db := memory.New(nil), newDatabase(t)
		in, err := New(db, sqlite.Dialect(), b, &Options{
			Consumer: "shipping", PruneEvery: time.Hour, KeptEvery: time.Hour, PausesEvery: time.Hour, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		calls := 0
		in.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error {
			if calls++; calls == 1 {
				return waybill.RetryAfter(10*24*time.Hour, nil)
			}
			return nil
		})
		m := broker.Message{Destination: "orders", Headers: []broker.Header{{Name: wire.MessageID, Value: waybill.NewID().String()}}}
		if _, err := connect(t, b).Publish(t.Context(), []broker.Message{m}, waybill.Durable); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- in.Run(ctx) }()
		// By the database's clock, which is not the bubble's, the message is decades old: what
		// is to be forgotten by its age is after an hour.
		time.Sleep(3 * time.Hour)
		if _, err := db.ExecContext(t.Context(), `UPDATE n_rejected SET not_before = 0`); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if s := in.Stats(); s.Handled != 1 || s.Forgotten != 0 {
			t.Errorf("got %d messages handled and %d forgotten after %d calls, want the one that asked for 10 days handled", s.Handled, s.Forgotten, calls)
		}
	})
}

func TestTheReasonOfAForgottenMessageSaysWhatHelps(t *testing.T) {
	queue := &item{}
	queue.ReceiptTo = "ack.shop"
	topic := &item{}
	topic.ReceiptTo, topic.Message.Topic = "ack.shop", true
	for _, c := range []struct {
		name       string
		x          *item
		deadLetter bool
		want, not  string
	}{
		{"a queue's", queue, false, "waybill resend --as-new", "--side consumer"},
		{"a topic's", topic, false, "if that waits for this consumer", "--side consumer"},
		{"one that no outbox keeps", &item{}, false, "waybill resend --side consumer --as-new", "outbox"},
		{"one that goes to the broker's dead letters", &item{}, true, "as a new message", "waybill resend"},
		{"one that was kept before", &item{kept: &store.Kept{}}, true, "waybill resend --side consumer --as-new", "outbox"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &route{level: waybill.Once, in: &Inbox{o: Options{DeadLetter: c.deadLetter}}}
			got := r.whyForgotten(c.x).Error()
			if !strings.HasPrefix(got, waybill.ReasonForgotten) || !strings.Contains(got, c.want) || strings.Contains(got, c.not) {
				t.Errorf("got %q, want it to say %q, and nothing of %q", got, c.want, c.not)
			}
		})
	}
}
