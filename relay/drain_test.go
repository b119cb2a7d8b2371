package relay

import (
	"context"
	"log/slog"
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
