package relay

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/store/sqlite"
)

// failingBroker's first subscription ends by itself, and its connections go on.
type failingBroker struct {
	broker.Broker
	connections, subscriptions atomic.Int64
}

func (b *failingBroker) Connect(ctx context.Context) (broker.Conn, error) {
	conn, err := b.Broker.Connect(ctx)
	b.connections.Add(1)
	return &failingConn{conn, b}, err
}

type failingConn struct {
	broker.Conn
	b *failingBroker
}

func (c *failingConn) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	r, err := c.Conn.Subscribe(ctx, s)
	if c.b.subscriptions.Add(1) == 1 {
		return failingReceiver{r}, err
	}
	return r, err
}

type failingReceiver struct{ broker.Receiver }

func (r failingReceiver) Receive(context.Context, int) ([]broker.Delivery, error) {
	return nil, errors.New("a receipt that cannot be settled here")
}

func TestTheEndOfTheSubscriptionToReceiptsIsNotTheConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := openDatabase(t)
		b := &failingBroker{Broker: memory.New(nil)}
		r, err := New(db, sqlite.Dialect(), b, &Options{Producer: "waybill", Lease: time.Minute, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		identity := identityOf(t, r)
		clock, err := r.queue.Clock(t.Context()) // the bubble's is years behind
		if err != nil {
			t.Fatal(err)
		}
		id := waybill.NewIDAt(time.UnixMicro(clock))
		execute(t, db, `INSERT INTO qmessage (message_id, destination, message_content) VALUES (?, 'orders', x'00')`, id.String())
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		time.Sleep(time.Second) // of the bubble's time
		confirm(t, b, waybill.ReceiptQueue("waybill", identity), id)
		time.Sleep(time.Second)
		s := r.Stats()
		if s.Confirmed != 1 || s.Disconnects != 0 || b.subscriptions.Load() != 2 {
			t.Errorf("confirmed %d, disconnects %d, %d subscriptions; want the receipt taken by a second subscription of the same connection", s.Confirmed, s.Disconnects, b.subscriptions.Load())
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v, want no error", err)
		}
	})
}
