package inbox

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/store/sqlite"
)

// slowQueues is a broker that makes one queue after another, which takes it time, and gives up
// whoever has waited for long; queues whose names begin with stuck it never makes.
type slowQueues struct {
	*memory.Broker
	turn   chan struct{}
	making time.Duration
	most   atomic.Int64 // subscriptions that were waited for at a time
	now    atomic.Int64
	late   atomic.Int64 // how many were given up
}

const queuePatience = 15 * time.Second

func (b *slowQueues) Connect(ctx context.Context) (broker.Conn, error) {
	conn, err := b.Broker.Connect(ctx)
	return &slowQueuesConn{conn, b}, err
}

type slowQueuesConn struct {
	broker.Conn
	b *slowQueues
}

func (c *slowQueuesConn) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	if strings.HasPrefix(s.Destination, "stuck") {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c.b.most.Store(max(c.b.most.Load(), c.b.now.Add(1)))
	defer c.b.now.Add(-1)
	select {
	case c.b.turn <- struct{}{}:
	case <-time.After(queuePatience):
		c.b.late.Add(1)
		return nil, fmt.Errorf("no answer in %v", queuePatience)
	}
	time.Sleep(c.b.making) // of the bubble's time
	<-c.b.turn
	return c.Conn.Subscribe(ctx, s)
}

func TestManyQueuesAreSubscribedAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const queues, making = 1000, 50 * time.Millisecond
		b := &slowQueues{Broker: memory.New(nil), turn: make(chan struct{}, 1), making: making}
		in := newInbox(t, sqlite.Dialect(), b, &Options{Consumer: "c", Workers: 1, Logger: slog.New(slog.DiscardHandler)})
		handle := func(context.Context, *sql.Tx, *waybill.Message) error { return nil }
		for i := range 2 * subscribingMost {
			in.Handle(fmt.Sprint("stuck.", i), waybill.Once, handle)
		}
		for i := range queues {
			in.Handle(fmt.Sprint("q.", i), waybill.Once, handle)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- in.Run(ctx) }()
		subscribed := func() (n int) {
			for _, r := range in.routes {
				if r.subscribed.Load() != nil {
					n++
				}
			}
			return n
		}
		began := time.Now()
		for subscribed() < queues {
			if time.Since(began) > time.Hour {
				t.Fatalf("%d of %d queues are subscribed after an hour", subscribed(), queues)
			}
			time.Sleep(making) // of the bubble's time
		}
		if d := time.Since(began); d > queues*making+10*time.Second {
			t.Errorf("all queues were subscribed after %v, want it after about %v", d, queues*making)
		}
		if b.most.Load() > 2*subscribingMost || b.late.Load() > 0 {
			t.Errorf("waited for up to %d queues at a time, and in vain for %d; want %d, or a few more, and none", b.most.Load(), b.late.Load(), subscribingMost)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v, want no error", err)
		}
	})
}
