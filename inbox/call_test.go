package inbox

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// publishKeys publishes messages with these keys to "orders" as the producer shop's relay does, and returns
// their IDs.
func publishKeys(t *testing.T, b broker.Broker, keys ...string) []waybill.ID {
	t.Helper()
	ids := make([]waybill.ID, len(keys))
	messages := make([]broker.Message, len(keys))
	for i, key := range keys {
		row := store.Row{MessageID: waybill.NewID(), Destination: "orders", Key: key, TimeStamp: int64(i + 1), Sequence: 1, Body: []byte(key)}
		m, err := wire.Encode(&row, 0, wire.Origin{Producer: "shop", ReceiptTo: "ack.shop"})
		if err != nil {
			t.Fatal(err)
		}
		ids[i], messages[i] = row.MessageID, m
	}
	if _, err := connect(t, b).Publish(t.Context(), messages, waybill.Durable); err != nil {
		t.Fatal(err)
	}
	return ids
}

// receiptsOf takes what was answered so far, by message.
func receiptsOf(t *testing.T, b broker.Broker) map[waybill.ID][]waybill.Receipt {
	t.Helper()
	receiver, err := connect(t, b).Subscribe(t.Context(), broker.Subscription{Destination: "ack.shop", Prefetch: 1000})
	if err != nil {
		t.Fatal(err)
	}
	all := map[waybill.ID][]waybill.Receipt{}
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		deliveries, err := receiver.Receive(ctx, 1000)
		cancel()
		if err != nil {
			return all
		}
		for i := range deliveries {
			_, receipts, _, err := wire.DecodeReceipts(&deliveries[i].Message)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range receipts {
				all[r.ID] = append(all[r.ID], r)
			}
		}
		if err := receiver.Settle(t.Context(), deliveries, broker.Ack); err != nil {
			t.Fatal(err)
		}
	}
}

// logBuffer collects what is logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) line(piece string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, piece) {
			return line
		}
	}
	return ""
}

// deafRun runs an inbox with one worker whose handler ignores its context with messages of
// the key "deaf", until it is released.
type deafRun struct {
	in      *Inbox
	b       *memory.Broker
	log     logBuffer
	release chan struct{}
	stop    context.CancelFunc
	ended   chan error

	mu    sync.Mutex
	calls []string
}

func newDeafRun(t *testing.T, b broker.Broker) *deafRun {
	d := &deafRun{release: make(chan struct{}), ended: make(chan error, 1)}
	d.b, _ = b.(*memory.Broker)
	d.in = newInbox(t, sqlite.Dialect(), b, &Options{
		Consumer: "shipping", Workers: 1, Timeout: time.Second, Drain: 2 * time.Second, PruneEvery: -1,
		Logger: slog.New(slog.NewTextHandler(&d.log, nil)),
	})
	d.in.Handle("orders", waybill.Once, func(_ context.Context, _ *sql.Tx, m *waybill.Message) error {
		d.mu.Lock()
		d.calls = append(d.calls, m.Key)
		d.mu.Unlock()
		if m.Key == "deaf" {
			<-d.release
		}
		return nil
	})
	return d
}

func (d *deafRun) run(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	d.stop = stop
	go func() { d.ended <- d.in.Run(ctx) }()
}

func (d *deafRun) called() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Sprint(d.calls)
}

func TestAHandlerThatDoesNotReturnIsToldAndCountedAndHoldsUpItsKeyAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeafRun(t, memory.New(nil))
		ids := publishKeys(t, d.b, "deaf", "deaf", "a", "b")
		d.run(t)
		defer d.stop()

		time.Sleep(1900 * time.Millisecond)
		if s := d.in.Stats(); s.Overdue != 1 || s.Stuck != 1 || s.Handled != 0 {
			t.Errorf("after its time: %+v; want one call overdue and stuck", s)
		}
		if line := d.log.line("has not returned"); !strings.Contains(line, "destination=orders") || !strings.Contains(line, ids[0].String()) || !strings.Contains(line, "since=") {
			t.Errorf("the log says %q; want the destination, the message and since when", line)
		}
		if n := d.b.Depth("orders"); n != 4 {
			t.Errorf("%d messages are at the broker, want all 4: nothing is acknowledged", n)
		}

		time.Sleep(time.Second)
		if s := d.in.Stats(); s.Handled != 2 || s.Stuck != 1 || s.Retried != 1 {
			t.Errorf("after twice its time: %+v; want the others handled, and the call still stuck", s)
		}
		if got := d.called(); got != "[deaf a b]" {
			t.Errorf("the handler was called with %s, want each key once: one key is handled one at a time", got)
		}
		got := receiptsOf(t, d.b)
		for i, want := range []waybill.Receipt{{Outcome: waybill.Retry, Tries: 1}, {Outcome: waybill.Retry, After: time.Minute}, {Outcome: waybill.Done}, {Outcome: waybill.Done}} {
			if r := got[ids[i]]; len(r) != 1 || r[0].Outcome != want.Outcome || r[0].After != want.After {
				t.Errorf("message %d was answered %+v, want %+v", i, r, want)
			}
		}

		close(d.release)
		synctest.Wait()
		if s := d.in.Stats(); s.Stuck != 0 || s.Handled != 2 {
			t.Errorf("after it has returned: %+v; want nothing stuck, and no effect of it", s)
		}
		again := publishKeys(t, d.b, "deaf")
		time.Sleep(time.Second)
		if r := receiptsOf(t, d.b)[again[0]]; len(r) != 1 || r[0].Outcome != waybill.Done {
			t.Errorf("the next message of its key was answered %+v, want done", r)
		}
		d.stop()
		if err := <-d.ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAHandlerThatReturnsLateCountsUntilTwiceItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeafRun(t, memory.New(nil))
		ids := publishKeys(t, d.b, "deaf")
		d.run(t)
		time.Sleep(1500 * time.Millisecond)
		close(d.release)
		time.Sleep(100 * time.Millisecond)
		if s := d.in.Stats(); s.Handled != 1 || s.Overdue != 1 || s.Stuck != 0 {
			t.Errorf("%+v; want it handled and counted as overdue", s)
		}
		if r := receiptsOf(t, d.b)[ids[0]]; len(r) != 1 || r[0].Outcome != waybill.Done {
			t.Errorf("it was answered %+v, want done", r)
		}
		d.stop()
		if err := <-d.ended; err != nil {
			t.Error(err)
		}
	})
}

func TestRunNamesTheHandlerThatItLeavesBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeafRun(t, memory.New(nil))
		ids := publishKeys(t, d.b, "deaf")
		d.run(t)
		synctest.Wait()
		d.stop()
		stopped := time.Now()
		err := <-d.ended
		if took := time.Since(stopped); took > 2*time.Second {
			t.Errorf("Run returned %v after the stop, want no more than Drain, 2s", took)
		}
		var left *waybill.DrainError
		if !errors.As(err, &left) || len(left.Left) != 1 || !strings.Contains(err.Error(), ids[0].String()) || !strings.Contains(err.Error(), `"orders"`) {
			t.Errorf("got the error %v, want one that names the handler's destination and message", err)
		}
		if n := d.b.Depth("orders"); n != 1 {
			t.Errorf("%d messages are at the broker, want the one that was not acknowledged", n)
		}
		if r := receiptsOf(t, d.b); len(r) != 0 {
			t.Errorf("there are receipts: %v; want none", r)
		}
		close(d.release)
		synctest.Wait()

		d.run(t) // what was left is of no effect, and comes again
		time.Sleep(time.Second)
		if s := d.in.Stats(); s.Handled != 1 || s.Stuck != 0 {
			t.Errorf("after a second Run: %+v; want it handled once", s)
		}
		d.stop()
		if err := <-d.ended; err != nil {
			t.Error(err)
		}
	})
}

// deafClose is a broker whose connections do not close before they are released.
type deafClose struct {
	broker.Broker
	release chan struct{}
}

type deafConn struct {
	broker.Conn
	release chan struct{}
}

func (b deafClose) Connect(ctx context.Context) (broker.Conn, error) {
	conn, err := b.Broker.Connect(ctx)
	return deafConn{conn, b.release}, err
}

func (c deafConn) Close(ctx context.Context) error {
	<-c.release
	return c.Conn.Close(ctx)
}

func TestRunNamesWhateverElseItLeavesBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := newDeafRun(t, deafClose{memory.New(nil), release})
		d.run(t)
		synctest.Wait()
		d.stop()
		stopped := time.Now()
		err := <-d.ended
		if took := time.Since(stopped); took > 2100*time.Millisecond {
			t.Errorf("Run returned %v after the stop, want about Drain, 2s", took)
		}
		var left *waybill.DrainError
		if !errors.As(err, &left) || len(left.Left) != 1 || left.Left[0] != "the connection to the broker" {
			t.Errorf("got the error %v, want one that names the connection", err)
		}
		if err := d.in.Run(t.Context()); err == nil {
			t.Error("Run began anew while a part of the last one goes on, want an error")
		}
		close(release)
		synctest.Wait()
	})
}

func TestAHandlerThatEndsItsGoroutineHasFailedAndItsWorkerGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		in := newInbox(t, sqlite.Dialect(), b, &Options{Consumer: "shipping", Workers: 1, PruneEvery: -1, Logger: slog.New(slog.DiscardHandler)})
		in.Handle("orders", waybill.Once, func(_ context.Context, _ *sql.Tx, m *waybill.Message) error {
			if m.Key == "exit" {
				runtime.Goexit()
			}
			return nil
		})
		ids := publishKeys(t, b, "a", "exit", "b")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- in.Run(ctx) }()
		time.Sleep(time.Second)
		got := receiptsOf(t, b)
		for i, want := range []waybill.Outcome{waybill.Done, waybill.Retry, waybill.Done} {
			if r := got[ids[i]]; len(r) != 1 || r[0].Outcome != want {
				t.Errorf("message %d was answered %+v, want %v", i, r, want)
			}
		}
		if r := got[ids[1]]; len(r) == 1 && (r[0].Tries != 1 || !strings.Contains(r[0].Error, "runtime.Goexit")) {
			t.Errorf("it was answered %+v, want its first failure, with the reason", r[0])
		}
		if s := in.Stats(); s.Panics != 1 || s.Handled != 2 {
			t.Errorf("%+v; want one panic, and the others handled", s)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
