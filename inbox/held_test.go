package inbox

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store/sqlite"
)

// watchedBroker knows which bodies that it has delivered are still in memory.
type watchedBroker struct {
	*memory.Broker

	mu     sync.Mutex
	bodies []weak.Pointer[[4096]byte]
}

func (b *watchedBroker) Connect(ctx context.Context) (broker.Conn, error) {
	conn, err := b.Broker.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &watchedConn{conn, b}, nil
}

type watchedConn struct {
	broker.Conn
	b *watchedBroker
}

func (c *watchedConn) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	receiver, err := c.Conn.Subscribe(ctx, s)
	return &watchedReceiver{receiver, c.b}, err
}

type watchedReceiver struct {
	broker.Receiver
	b *watchedBroker
}

func (r *watchedReceiver) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	deliveries, err := r.Receiver.Receive(ctx, limit)
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	for i := range deliveries {
		body := new([4096]byte)
		copy(body[:], deliveries[i].Body)
		deliveries[i].Body = body[:]
		r.b.bodies = append(r.b.bodies, weak.Make(body))
	}
	return deliveries, err
}

// left counts the bodies that are in memory, of how many.
func (b *watchedBroker) left() (n, of int) {
	synctest.Wait()
	runtime.GC()
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := slices.DeleteFunc(slices.Clone(b.bodies), func(p weak.Pointer[[4096]byte]) bool { return p.Value() == nil })
	return len(kept), len(b.bodies)
}

func TestWhatWaitsForItsNextTryIsLetGoWithItsSubscription(t *testing.T) {
	const messages, breaks = 5, 4
	for _, c := range []struct {
		name   string
		paused bool // and so they wait for their first try
		busy   bool // they wait for a handler that does not return
	}{
		{name: "held"},
		{name: "paused", paused: true},
		{name: "behind a handler", busy: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &watchedBroker{Broker: memory.New(nil)}
				in := newInbox(t, sqlite.Dialect(), b, &Options{Consumer: "shipping", Workers: 1, Batch: 1, PruneEvery: -1, KeptEvery: 24 * time.Hour, PausesEvery: 24 * time.Hour, Timeout: 24 * time.Hour,
					Logger: slog.New(slog.DiscardHandler)})
				in.Handle("orders", waybill.Once, func(ctx context.Context, _ *sql.Tx, _ *waybill.Message) error {
					if c.busy {
						<-ctx.Done()
					}
					return waybill.RetryAfter(50*time.Second, errors.New("no stock yet"))
				})
				var all []broker.Message
				for range messages {
					all = append(all, broker.Message{Destination: "orders", Body: []byte("an order"), Headers: []broker.Header{{Name: wire.MessageID, Value: waybill.NewID().String()}}})
				}
				if _, err := connect(t, b.Broker).Publish(t.Context(), all, waybill.Durable); err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- in.Run(ctx) }()
				for i := range breaks {
					time.Sleep(time.Second)
					if n, of := b.left(); of == 0 || n > messages {
						t.Errorf("after %d breaks %d of %d bodies are in memory, want those of one subscription", i, n, of)
					}
					if c.paused && i == 0 {
						in.routes[0].paused.Store(true)
					}
					b.Break()
				}
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if n, of := b.left(); n > 0 {
					t.Errorf("after Run %d of %d bodies are in memory, want none", n, of)
				}
				runtime.KeepAlive(in)
			})
		})
	}
}
