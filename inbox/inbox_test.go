package inbox

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// newInbox makes an inbox on a SQLite database of its own that has its tables.
func newInbox(t *testing.T, dialect store.Dialect, b broker.Broker, o *Options) *Inbox {
	t.Helper()
	in, err := New(newDatabase(t), dialect, b, o)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// newDatabase makes a SQLite database that has an inbox's tables.
func newDatabase(t *testing.T) *sql.DB {
	t.Helper()
	db, dialect, err := address.OpenDatabase("sqlite:" + filepath.Join(t.TempDir(), "inbox.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := store.Migrate(t.Context(), db, dialect, "", store.Consumer); err != nil {
		t.Fatal(err)
	}
	return db
}

// connect connects to a broker.
func connect(t *testing.T, b broker.Broker) broker.Conn {
	t.Helper()
	conn, err := b.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// hangingClose is a broker whose connections do not close before they have to.
type hangingClose struct{ broker.Broker }

type hangingConn struct{ broker.Conn }

func (b hangingClose) Connect(ctx context.Context) (broker.Conn, error) {
	conn, err := b.Broker.Connect(ctx)
	return hangingConn{conn}, err
}

func (c hangingConn) Close(ctx context.Context) error {
	<-ctx.Done()
	return c.Conn.Close(ctx)
}

func TestRunReturnsWithinDrainWhateverTakesItsTime(t *testing.T) {
	const drain = 10 * time.Second
	for _, c := range []struct {
		name     string
		handler  time.Duration // how long the handler takes after the stop; 0: nothing is handled
		hangs    bool          // the connection does not close
		want     time.Duration // from the stop to Run's return
		receipts int           // that were sent
	}{
		{name: "nothing takes time", want: 0},
		{name: "the handler does", handler: 6 * time.Second, want: 6 * time.Second, receipts: 1},
		{name: "the closing does", hangs: true, want: drain},
		{name: "first the handler, then the closing", handler: 6 * time.Second, hangs: true, want: drain, receipts: 1},
		{name: "the handler until its context ends, then the closing", handler: time.Hour, hangs: true, want: drain},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := memory.New(nil)
				var b broker.Broker = memory
				if c.hangs {
					b = hangingClose{b}
				}
				in := newInbox(t, sqlite.Dialect(), b, &Options{Consumer: "shipping", Drain: drain, Timeout: time.Hour, PruneEvery: -1})
				in.Handle("orders", waybill.Once, func(ctx context.Context, _ *sql.Tx, _ *waybill.Message) error {
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(c.handler):
						return nil
					}
				})
				if c.handler > 0 {
					row := store.Row{MessageID: waybill.NewID(), Destination: "orders"}
					m, err := wire.Encode(&row, 0, wire.Origin{Producer: "shop", ReceiptTo: "ack.shop"})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := connect(t, memory).Publish(t.Context(), []broker.Message{m}, waybill.Durable); err != nil {
						t.Fatal(err)
					}
				}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- in.Run(ctx) }()
				synctest.Wait() // until the handler waits, or the inbox for a message
				stop()
				stopped := time.Now()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if took := time.Since(stopped); took != c.want {
					t.Errorf("Run returned %v after the stop, want %v", took, c.want)
				}
				if n := memory.Depth("ack.shop"); n != c.receipts {
					t.Errorf("got %d messages with receipts, want %d", n, c.receipts)
				}
			})
		})
	}
}
