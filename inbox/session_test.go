package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/store"
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

// refusingBroker refuses whoever connects, after a while.
type refusingBroker struct{ broker.Broker }

func (refusingBroker) Connect(context.Context) (broker.Conn, error) {
	time.Sleep(3 * time.Second) // of the bubble's time
	return nil, fmt.Errorf("%w: no such user", broker.ErrRefused)
}

// deafDialect is a dialect whose database hears no end of a context: from the second time on it is
// asked for pauses, it does not answer before release.
type deafDialect struct {
	store.Dialect
	asked   *atomic.Int64
	release chan struct{}
}

func (d deafDialect) Pauses(n store.Names, side store.Side, consumer string) store.Statement {
	if d.asked.Add(1) > 1 {
		<-d.release
	}
	return d.Dialect.Pauses(n, side, consumer)
}

func TestARefusalIsReturnedWhateverElseGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const drain = 2 * time.Second
		release := make(chan struct{})
		in := newInbox(t, deafDialect{sqlite.Dialect(), &atomic.Int64{}, release}, refusingBroker{memory.New(nil)},
			&Options{Consumer: "c", Drain: drain, PruneEvery: -1, Logger: slog.New(slog.DiscardHandler)})
		in.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })
		ended := make(chan error, 1)
		began := time.Now()
		go func() { ended <- in.Run(t.Context()) }()
		var err error
		select {
		case err = <-ended:
		case <-time.After(time.Hour): // of the bubble's time
			t.Error("Run goes on after an hour, want it ended")
		}
		if took := time.Since(began); took > 3*time.Second+drain+drain/10 {
			t.Errorf("Run returned after %v, want it about Drain, %v, after the refusal", took, drain)
		}
		var left *waybill.DrainError
		if !errors.Is(err, broker.ErrRefused) || !errors.As(err, &left) || !slices.Equal(left.Left, []string{"watching which destinations are paused"}) {
			t.Errorf("got the error %v, want the refusal, and what goes on", err)
		}
		close(release)
		synctest.Wait()
	})
}

// unclosable is a broker of which the first subscription ends by itself, and answers nobody who
// closes it.
type unclosable struct {
	broker.Broker
	subscriptions *atomic.Int64
}

func (b unclosable) Connect(ctx context.Context) (broker.Conn, error) {
	conn, err := b.Broker.Connect(ctx)
	return unclosableConn{conn, b}, err
}

type unclosableConn struct {
	broker.Conn
	b unclosable
}

func (c unclosableConn) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	r, err := c.Conn.Subscribe(ctx, s)
	if c.b.subscriptions.Add(1) == 1 {
		return unclosableReceiver{r, r.(broker.Resizer)}, err
	}
	return r, err
}

type unclosableReceiver struct {
	broker.Receiver
	broker.Resizer
}

func (unclosableReceiver) Receive(context.Context, int) ([]broker.Delivery, error) {
	return nil, errors.New("the queue has gone")
}

func (unclosableReceiver) Close(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestASubscriptionThatHasEndedIsMadeAgainThoughItsCloseIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := unclosable{memory.New(nil), &atomic.Int64{}}
		in := newInbox(t, sqlite.Dialect(), b, &Options{Consumer: "c", PruneEvery: -1, Logger: slog.New(slog.DiscardHandler)})
		in.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- in.Run(ctx) }()
		time.Sleep(2 * closeTime) // of the bubble's time
		if n := b.subscriptions.Load(); n != 2 {
			t.Errorf("it has subscribed %d times, want it to do so again after %v", n, closeTime)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
