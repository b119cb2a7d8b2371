package journey

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/patience"
)

// Hosters let a connection have few channels, and some a message little time.
func TestARabbitMQWithLowLimitsLosesAndKeepsBackNothing(t *testing.T) {
	const channels, queues = 8, 30
	t.Setenv("WAYBILL_RABBITMQ_CONFIG", fmt.Sprintf("[{rabbit, [{channel_max, %d}, {consumer_timeout, 10000}, {channel_tick_interval, 200}]}].", channels))
	s := newService(t, "rabbitmq", "WAYBILL_TEST_RABBITMQ")
	b, err := address.OpenBroker(s.env["WAYBILL_TEST_RABBITMQ"])
	if err != nil {
		t.Fatal(err)
	}
	t.Run("more queues than a connection may have channels", func(t *testing.T) {
		w := newWorld(t, databases[0], b)
		w.runs(w.relay().Run)
		in := w.newInbox(&w.inboxOptions)
		for i := range queues {
			in.Handle(fmt.Sprint("tenant.", i), waybill.Once, w.record)
		}
		w.runs(in.Run)
		w.commitMany(2*queues, func(i int) waybill.Message {
			return waybill.Message{Destination: fmt.Sprint("tenant.", i%queues), Body: []byte("x")}
		})
		w.emptied(patience.Limit)
		w.wantEffects(2 * queues)
		if s := in.Stats(); s.Disconnects != 0 {
			t.Errorf("got %d lost connections, want none", s.Disconnects)
		}
	})
	t.Run("a handler that takes longer than the consumer_timeout", func(t *testing.T) {
		w := newWorld(t, databases[0], b)
		var log lockedText
		w.inboxOptions.Logger = slog.New(slog.NewTextHandler(&log, nil))
		w.inboxOptions.Timeout = 2 * patience.Limit
		w.runs(w.relay().Run)
		in := w.consumes(waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			if string(m.Body) == "slow" {
				for !strings.Contains(log.String(), "consumer_timeout") {
					select {
					case <-time.After(10 * time.Millisecond):
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			}
			return w.record(ctx, tx, m)
		})
		w.commit(waybill.Message{Destination: "orders", Body: []byte("slow")})
		w.waits("the slow message has its effect", patience.Limit, func() bool { return w.effects() == 1 })
		// The subscription goes on, and the copy of the message that came again is known.
		w.commit(waybill.Message{Destination: "orders", Body: []byte("quick")})
		w.emptied(patience.Limit)
		w.waits("the broker has delivered the slow message again", patience.Limit, func() bool { return in.Stats().Duplicates > 0 })
		w.wantEffects(2)
		if s := in.Stats(); s.Disconnects != 0 || s.Rejected != 0 {
			t.Errorf("got %+v, want no lost connection and nothing rejected", s)
		}
		if text := log.String(); !strings.Contains(text, "orders") || !strings.Contains(text, "longer than a handler may take") {
			t.Errorf("the log does not say what has ended the subscription, and what to do:\n%s", text)
		}
	})
}
