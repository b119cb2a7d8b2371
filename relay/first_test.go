package relay

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/store/sqlite"
)

// slowMaker is a broker that does one thing after another, in the order in which it is asked,
// and takes long to make a queue.
type slowMaker struct {
	*memory.Broker
	mustExist bool // it can say that a queue exists
	turn      chan struct{}
	queues    map[string]bool // those that exist; of whoever has the turn
	making    time.Duration
}

func (b *slowMaker) Capabilities() broker.Capabilities {
	c := b.Broker.Capabilities()
	c.MustExist = b.mustExist
	return c
}

func (b *slowMaker) Connect(ctx context.Context) (broker.Conn, error) {
	conn, err := b.Broker.Connect(ctx)
	return &slowConn{conn, b}, err
}

type slowConn struct {
	broker.Conn
	b *slowMaker
}

func (c *slowConn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	c.b.turn <- struct{}{}
	name := messages[0].Destination
	switch {
	case c.b.queues[name] || waybill.CheckDestination(name) != nil: // a receipt queue
	case messages[0].MustExist && c.b.mustExist:
	default:
		time.Sleep(c.b.making) // of the bubble's time
		c.b.queues[name] = true
	}
	<-c.b.turn
	return c.Conn.Publish(ctx, messages, transport)
}

func TestManyNewQueuesDoNotHoldUpThoseThatExist(t *testing.T) {
	for _, mustExist := range []bool{true, false} {
		t.Run(fmt.Sprint("the broker can say whether one exists: ", mustExist), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const fresh, making = 200, 50 * time.Millisecond
				b := &slowMaker{Broker: memory.New(nil), mustExist: mustExist, turn: make(chan struct{}, 1), queues: map[string]bool{"known": true, "exists": true}, making: making}
				b.Declare("known", "exists")
				db := openDatabase(t)
				r, err := New(db, sqlite.Dialect(), b, &Options{Producer: "waybill", Lease: time.Minute, Poll: 100 * time.Millisecond,
					Default: Destination{Confirm: waybill.Accepted}, Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				send := func(destination string) {
					execute(t, db, `INSERT INTO qmessage (destination, message_content) VALUES (?, x'00')`, destination)
				}
				// took waits until a queue holds so many messages.
				took := func(queue string, n int) time.Duration {
					began := time.Now()
					for b.Depth(queue) < n {
						if time.Since(began) > time.Hour {
							t.Fatalf("%s has %d messages after an hour, want %d", queue, b.Depth(queue), n)
						}
						time.Sleep(making / 5) // of the bubble's time
					}
					return time.Since(began)
				}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- r.Run(ctx) }()
				send("known")
				took("known", 1)

				execute(t, db, `WITH RECURSIVE i(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM i WHERE n + 1 < ?)
INSERT INTO qmessage (destination, message_content) SELECT 'new.' || n, x'00' FROM i`, fresh)
				took("new.0", 1)
				const few = 2*makersMost*making + 200*time.Millisecond
				for i := range 5 {
					send("known")
					if d := took("known", i+2); d > few {
						t.Errorf("a message to a queue that has taken others took %v, want %v at most", d, few)
					}
				}
				send("exists")
				if d := took("exists", 1); mustExist && d > few {
					t.Errorf("a message to a queue that exists took %v, want %v at most", d, few)
				}
				began := time.Now()
				for i := range fresh {
					took(fmt.Sprint("new.", i), 1)
				}
				if d := time.Since(began); d > 2*fresh*making {
					t.Errorf("all new queues were made in %v, want it in about %v", d, fresh*making)
				}
				stop()
				if err := <-ended; err != nil {
					t.Errorf("Run returned %v, want no error", err)
				}
			})
		})
	}
}

// A destination that blocks its producers keeps no others waiting.
func TestQueuesThatCannotBeMadeKeepNoOthersWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := openDatabase(t)
		b := memory.New(nil)
		r, err := New(db, sqlite.Dialect(), &blockingBroker{b}, &Options{Producer: "waybill", Lease: time.Minute, Poll: 100 * time.Millisecond,
			Default: Destination{Confirm: waybill.Accepted}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 * makersMost {
			execute(t, db, `INSERT INTO qmessage (destination, message_content) VALUES (?, x'00')`, fmt.Sprint("blocked.", i))
		}
		execute(t, db, `INSERT INTO qmessage (destination, message_content) VALUES ('orders', x'00')`)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		time.Sleep(5 * turnTime) // of the bubble's time
		if b.Depth("orders") != 1 {
			t.Errorf("the message behind those that are blocked is not there after %v", 5*turnTime)
		}
		stop()
		<-ended
	})
}

// blockingBroker answers nobody who has one of its queues blocked.* made.
type blockingBroker struct{ *memory.Broker }

func (b *blockingBroker) Connect(ctx context.Context) (broker.Conn, error) {
	conn, err := b.Broker.Connect(ctx)
	return &blockingConn{conn}, err
}

type blockingConn struct{ broker.Conn }

func (c *blockingConn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	if m := &messages[0]; !m.MustExist && m.Destination != "orders" && waybill.CheckDestination(m.Destination) == nil {
		<-ctx.Done()
		return make([]broker.Result, len(messages)), nil
	}
	return c.Conn.Publish(ctx, messages, transport)
}
