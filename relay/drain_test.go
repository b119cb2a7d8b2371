package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store/sqlite"
)

// hangingBroker answers nobody who publishes to "stuck", and where close is set
// nobody who closes a connection.
type hangingBroker struct {
	broker.Broker
	close bool
}

func (b *hangingBroker) Connect(ctx context.Context) (broker.Conn, error) {
	conn, err := b.Broker.Connect(ctx)
	return &hangingConn{conn, b}, err
}

type hangingConn struct {
	broker.Conn
	b *hangingBroker
}

func (c *hangingConn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	if messages[0].Destination == "stuck" {
		<-ctx.Done()
	}
	return c.Conn.Publish(ctx, messages, transport)
}

func (c *hangingConn) Close(ctx context.Context) error {
	if c.b.close {
		<-ctx.Done()
	}
	return c.Conn.Close(ctx)
}

func TestRunStopsWithinDrainWhateverHangs(t *testing.T) {
	for _, c := range []struct {
		name                  string
		lane, database, close bool // what hangs
	}{
		{name: "nothing"},
		{name: "a lane", lane: true},
		{name: "the database", database: true},
		{name: "the end of the connection", close: true},
		{name: "a lane and the end of the connection", lane: true, close: true},
		{name: "everything", lane: true, database: true, close: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const drain = 2 * time.Second
				db := openDatabase(t)
				db.SetMaxOpenConns(1)
				b := &hangingBroker{Broker: memory.New(nil), close: c.close}
				r, err := New(db, sqlite.Dialect(), b, &Options{Producer: "waybill", Drain: drain, Lease: time.Minute, Logger: slog.New(slog.DiscardHandler)})
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
				if c.lane {
					execute(t, db, `INSERT INTO qmessage (destination, message_content) VALUES ('stuck', x'00')`)
				}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- r.Run(ctx) }()
				time.Sleep(time.Second) // of the bubble's time
				if s := r.Stats(); s.Published != 1 {
					t.Fatalf("published %d messages, want 1", s.Published)
				}
				if c.database {
					only, err := db.Conn(t.Context()) // nobody else has one now
					if err != nil {
						t.Fatal(err)
					}
					defer only.Close()
				}
				confirm(t, b, waybill.ReceiptQueue("waybill", identity), id)
				synctest.Wait()

				began := time.Now()
				stop()
				if err := <-ended; err != nil {
					t.Errorf("Run returned %v, want no error", err)
				}
				took := time.Since(began)
				if took > drain {
					t.Errorf("Run took %v to stop, want %v at most", took, drain)
				}
				if hangs := c.lane || c.database || c.close; !hangs && took > 0 {
					t.Errorf("Run took %v to stop, want no time where nothing hangs", took)
				}
				if c.database {
					return
				}
				lease, err := r.queue.Lease(t.Context(), leaseName)
				if err != nil || lease.Left > 0 {
					t.Errorf("the lease is held for another %d µs (%v), want it given back", lease.Left, err)
				}
			})
		})
	}
}

// confirm sends a receipt as a consumer does.
func confirm(t *testing.T, b broker.Broker, queue string, id waybill.ID) {
	t.Helper()
	conn, err := b.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	receipt := wire.EncodeReceipts(queue, "test", []waybill.Receipt{{ID: id, Outcome: waybill.Done}})
	if _, err := conn.Publish(t.Context(), []broker.Message{receipt}, waybill.Durable); err != nil {
		t.Fatal(err)
	}
}

func TestRunNamesWhatItLeavesBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const drain = 2 * time.Second
		release := make(chan struct{})
		listening := func(context.Context, func()) error { // as a driver that knows no contexts
			<-release
			return nil
		}
		r, err := New(openDatabase(t), sqlite.Dialect(), memory.New(nil), &Options{Producer: "waybill", Drain: drain, Lease: time.Minute, Listen: listening, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		time.Sleep(time.Second)
		stop()
		stopped := time.Now()
		err = <-ended
		if took := time.Since(stopped); took > drain+drain/10 {
			t.Errorf("Run returned %v after the stop, want about Drain, %v", took, drain)
		}
		var left *waybill.DrainError
		if !errors.As(err, &left) || !slices.Equal(left.Left, []string{"Options.Listen"}) {
			t.Errorf("got the error %v, want one that names Options.Listen", err)
		}
		if lease, err := r.queue.Lease(t.Context(), leaseName); err != nil || lease.Left > 0 {
			t.Errorf("the lease is held for another %d µs (%v), want it given back", lease.Left, err)
		}
		if err := r.Run(t.Context()); err == nil {
			t.Error("Run began anew while a part of the last one goes on, want an error")
		}
		close(release)
		synctest.Wait()
	})
}

func TestAListenThatPanicsOrEndsItsGoroutineCostsTheListeningAlone(t *testing.T) {
	for _, c := range []struct {
		name   string
		listen func(context.Context, func()) error
	}{
		{"panics", func(context.Context, func()) error { panic("no such channel") }},
		{"ends its goroutine", func(context.Context, func()) error { runtime.Goexit(); return nil }},
		{"returns a nil pointer as an error", func(context.Context, func()) error { return (*waybill.DrainError)(nil) }},
		{"returns an error that nobody can ask", func(context.Context, func()) error { return (*waybill.PermanentError)(nil) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				listen := func(ctx context.Context, notify func()) error {
					calls++
					return c.listen(ctx, notify)
				}
				db, b := openDatabase(t), memory.New(nil)
				r, err := New(db, sqlite.Dialect(), b, &Options{Producer: "waybill", Lease: time.Minute, Listen: listen, Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- r.Run(ctx) }()
				synctest.Wait() // SQLite's own waiting for a lock is no waiting that the bubble knows
				execute(t, db, `INSERT INTO qmessage (destination, message_content) VALUES ('orders', x'00')`)
				time.Sleep(3 * time.Second)
				if n := b.Depth("orders"); n != 1 {
					t.Errorf("%d messages were published, want the one that polling has found", n)
				}
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if calls < 2 {
					t.Errorf("Listen was called %d times, want it called again", calls)
				}
			})
		})
	}
}

// deafBroker hears no end of a context: who publishes to "stuck" waits for release. Where refused is
// set it lets nobody in.
type deafBroker struct {
	broker.Broker
	refused error
	release chan struct{}
}

func (b *deafBroker) Connect(ctx context.Context) (broker.Conn, error) {
	if b.refused != nil {
		return nil, b.refused
	}
	conn, err := b.Broker.Connect(ctx)
	return &deafConn{conn, b.release}, err
}

type deafConn struct {
	broker.Conn
	release chan struct{}
}

func (c *deafConn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	if messages[0].Destination == "stuck" {
		<-c.release
	}
	return c.Conn.Publish(ctx, messages, transport)
}

func TestAnEndThatNobodyHasAskedForTakesNoLongerThanDrainEither(t *testing.T) {
	refused := fmt.Errorf("%w: no such user", broker.ErrRefused)
	for _, c := range []struct {
		name    string
		refused error
		want    error
		within  time.Duration
		left    string
	}{
		{"the broker refuses us, and Listen goes on", refused, broker.ErrRefused, 0, "Options.Listen"},
		{"the lease is lost, and a call of the adapter goes on", nil, errLeaseLost, 20 * time.Second, `publishing to "stuck"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const drain = 2 * time.Second
				db, release := openDatabase(t), make(chan struct{})
				listen := func(ctx context.Context, _ func()) error {
					<-ctx.Done()
					if c.refused != nil {
						<-release
					}
					return nil
				}
				r, err := New(db, sqlite.Dialect(), &deafBroker{memory.New(nil), c.refused, release}, &Options{
					Producer: "waybill", Drain: drain, Lease: time.Minute, Listen: listen, Logger: slog.New(slog.DiscardHandler),
				})
				if err != nil {
					t.Fatal(err)
				}
				execute(t, db, `INSERT INTO qmessage (destination, message_content) VALUES ('stuck', x'00')`)
				ended := make(chan error, 1)
				began := time.Now()
				go func() { ended <- r.Run(t.Context()) }()
				synctest.Wait()
				execute(t, db, `UPDATE qrelay SET holder = 'another'`)
				select {
				case err = <-ended:
				case <-time.After(time.Hour): // of the bubble's time
					t.Error("Run goes on after an hour, want it ended")
				}
				if took := time.Since(began); took > c.within+drain+drain/10 {
					t.Errorf("Run returned after %v, want it within %v and Drain, %v", took, c.within, drain)
				}
				var left *waybill.DrainError
				if !errors.Is(err, c.want) || !errors.As(err, &left) || !slices.Equal(left.Left, []string{c.left}) {
					t.Errorf("got the error %v, want %v, and what goes on: %s", err, c.want, c.left)
				}
				if err := r.Run(t.Context()); err == nil {
					t.Error("Run began anew while a part of the last one goes on, want an error")
				}
				close(release)
				synctest.Wait()
				var holder string
				if err := db.QueryRow(`SELECT holder FROM qrelay`).Scan(&holder); err != nil || c.refused == nil && holder != "another" {
					t.Errorf("the lease is %q's (%v), want it left alone", holder, err)
				}
			})
		})
	}
}
