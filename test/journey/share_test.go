package journey

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/address"
	"github.com/waybill-go/waybill/internal/test/testserver"
)

func TestAHandlerThatNeverReturnsHoldsUpNothingButItsKey(t *testing.T) {
	t.Parallel()
	for name, hangs := range map[string]func(w *world) (hang func(tx *sql.Tx), release func()){
		"it waits for something else": waitsForChannel,
		"it waits for the database":   waitsForLock,
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, d database) {
				w := newWorld(t, d, memory.New(nil))
				w.inboxOptions.Timeout, w.inboxOptions.Workers = time.Second, 1
				p := w.peer()
				receipts := p.receipts()
				deaf := waybill.NewID()
				hang, release := hangs(w)
				t.Cleanup(release)
				in := w.consumes(waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
					err := w.record(ctx, tx, m)
					if m.ID == deaf {
						hang(tx)
					}
					return err
				})
				p.publish(arrival(deaf, "orders", "k", 1))
				w.waits("its time is over", 20*time.Second, func() bool { return in.Stats().Overdue == 1 })
				next, other := waybill.NewID(), waybill.NewID()
				p.publish(arrival(next, "orders", "k", 2))
				p.publish(arrival(other, "orders", "l", 1))
				receipts.expect(deaf, "retry", "had not returned")
				receipts.expect(next, "retry", "has not returned yet")
				receipts.expect(other, "done", "")
				w.wantEffects(1)
				release()
				w.waits("it has returned", 20*time.Second, func() bool { return in.Stats().Stuck == 0 })
				p.publish(arrival(next, "orders", "k", 2))
				receipts.expect(next, "done", "")
				w.wantEffects(2)
			})
		})
	}
}

func waitsForChannel(*world) (hang func(tx *sql.Tx), release func()) {
	released := make(chan struct{})
	return func(*sql.Tx) { <-released }, sync.OnceFunc(func() { close(released) })
}

// waitsForLock has a lock of the database that is waited for whatever the handler's context says.
// SQLite has none.
func waitsForLock(w *world) (hang func(tx *sql.Tx), release func()) {
	lock := map[string]string{onPostgres.name: `SELECT pg_advisory_lock(1)`, onMySQL.name: `SELECT GET_LOCK(DATABASE(), 600)`}[w.database.name]
	if lock == "" {
		return waitsForChannel(w)
	}
	ctx := context.Background()
	holder, err := w.consumer.Conn(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := holder.ExecContext(ctx, lock); err != nil {
		w.t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		// Its session, and with that the lock, ends.
		_ = holder.Raw(func(any) error { return driver.ErrBadConn })
		_ = holder.Close()
	})
	return func(tx *sql.Tx) { _, _ = tx.ExecContext(ctx, lock) }, release
}

// onEachBroker runs a test on every real broker, but those left out, with PostgreSQL.
func onEachBroker(t *testing.T, test func(w *world), without string) {
	for _, server := range servers {
		for variable := range strings.FieldsSeq(server.variables) {
			if server.name == without {
				continue
			}
			t.Run(variable, func(t *testing.T) {
				b, err := address.OpenBroker(testserver.Address(t, variable))
				if err != nil {
					t.Fatal(err)
				}
				w := newWorld(t, onPostgres, b)
				w.name = "share-" + waybill.NewID().String()
				test(w)
			})
		}
	}
}

// publishAll publishes messages, each of which has to be confirmed.
func (p *peer) publishAll(messages []broker.Message) {
	p.t.Helper()
	results, err := p.conn.Publish(context.Background(), messages, waybill.Durable)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := range results {
		if results[i].Fate != broker.Confirmed {
			p.t.Fatalf("message %d is %v: %v; want it confirmed", i, results[i].Fate, results[i].Err)
		}
	}
}

// process starts an inbox of Options' defaults with this handler.
func (w *world) process(handler func()) *inbox.Inbox {
	w.t.Helper()
	in, err := inbox.New(w.consumer, w.database.dialect, w.broker, &w.inboxOptions)
	if err != nil {
		w.t.Fatal(err)
	}
	in.Handle(w.name, waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error {
		handler()
		return nil
	})
	w.runs(in.Run)
	return in
}

// Kafka shares by partitions, whatever is received.
func TestTwoProcessesShareWhatIsSlow(t *testing.T) {
	t.Parallel()
	onEachBroker(t, func(w *world) {
		const n = 240
		var messages []broker.Message
		for i := range n {
			messages = append(messages, arrival(waybill.NewID(), w.name, fmt.Sprint(i), 1))
		}
		w.peer().publishAll(messages)
		var first, second atomic.Int64
		slow := func(count *atomic.Int64) func() {
			return func() {
				<-time.After(50 * time.Millisecond) // it is the work
				count.Add(1)
			}
		}
		w.process(slow(&first))
		w.waits("the first process works", time.Minute, func() bool { return first.Load() > 0 })
		w.process(slow(&second))
		w.waits("the second process works, too, or there is nothing left", time.Minute, func() bool { return second.Load() > 0 || first.Load() >= n })
		left := n - first.Load() // the second one may have taken its time to begin
		w.waits("all is handled", time.Minute, func() bool { return first.Load()+second.Load() >= n })
		if second.Load() == 0 || second.Load() < left/4 {
			w.t.Errorf("of the %d messages that were left when it began the second process has handled %d, want about a half", left, second.Load())
		}
	}, "kafka")
}

func TestLargeBodiesAreReceivedAFewAtATime(t *testing.T) {
	t.Parallel()
	onEachBroker(t, func(w *world) {
		const n, size, most = 90, 900 << 10, 32 << 20 / (900 << 10)
		body := bytes.Repeat([]byte("x"), size)
		p := w.peer()
		for range n / 10 {
			var messages []broker.Message
			for range 10 {
				m := arrival(waybill.NewID(), w.name, "", 1)
				m.Body = body
				messages = append(messages, m)
			}
			p.publishAll(messages)
		}
		released := make(chan struct{})
		in := w.process(func() { <-released })
		var received int64
		var since time.Time
		w.waits("nothing more comes", time.Minute, func() bool {
			if now := in.Stats().Received; now != received {
				received, since = now, time.Now()
			}
			return received > 0 && time.Since(since) > time.Second
		})
		if received > most+most/3 {
			w.t.Errorf("%d messages of 900 KiB were received and not settled, want about %d: 32 MiB", received, most)
		}
		close(released)
		w.waits("all is handled", time.Minute, func() bool { return in.Stats().Handled == n })
	}, "")
}
