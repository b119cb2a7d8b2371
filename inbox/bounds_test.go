package inbox

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/internal/wire"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// lines is a log that tests read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

// answered handles messages of a peer with a handler, and returns the receipts.
func answered(t *testing.T, log *lines, handler Handler, n int) (receipts []waybill.Receipt) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		in := newInbox(t, sqlite.Dialect(), b, &Options{Consumer: "shipping", PruneEvery: -1, Logger: slog.New(slog.NewTextHandler(log, nil))})
		in.Handle("orders", waybill.Once, handler)
		conn := connect(t, b)
		receiver, err := conn.Subscribe(t.Context(), broker.Subscription{Destination: "ack.shop", Prefetch: 1000})
		if err != nil {
			t.Fatal(err)
		}
		var messages []broker.Message
		for range n {
			messages = append(messages, broker.Message{Destination: "orders", Headers: []broker.Header{
				{Name: wire.MessageID, Value: waybill.NewID().String()}, {Name: wire.ReceiptTo, Value: "ack.shop"},
			}})
		}
		if _, err := conn.Publish(t.Context(), messages, waybill.Durable); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- in.Run(ctx) }()
		for len(receipts) < n {
			deliveries, err := receiver.Receive(t.Context(), 1000)
			if err != nil {
				t.Fatal(err)
			}
			for i := range deliveries {
				_, some, _, err := wire.DecodeReceipts(&deliveries[i].Message)
				if err != nil {
					t.Fatal(err)
				}
				receipts = append(receipts, some...)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return receipts
}

func TestAPanicsStackIsInTheLogAndInNoReceipt(t *testing.T) {
	var log lines
	receipts := answered(t, &log, func(context.Context, *sql.Tx, *waybill.Message) error {
		panic("no\x1b[31m order\n\x00\xff" + strings.Repeat("!", 5000))
	}, 3)
	for _, r := range receipts {
		if !strings.HasPrefix(r.Error, "panic: no [31m order") || strings.Contains(r.Error, "goroutine") || strings.ContainsAny(r.Error, "\n\x00\x1b") || len(r.Error) > 2000 || !utf8.ValidString(r.Error) {
			t.Errorf("got a receipt with %.300q of %d bytes, want the value alone on a line, and bounded", r.Error, len(r.Error))
		}
	}
	if got := log.count("stack="); got != 1 {
		t.Errorf("the log has %d stacks, want one for three panics with the same value:\n%.3000s", got, log.text.String())
	}
}

func TestErrorsInReceiptsAreBounded(t *testing.T) {
	var log lines
	for _, r := range answered(t, &log, func(context.Context, *sql.Tx, *waybill.Message) error {
		return errors.New(strings.Repeat("ü\xff", 1<<20))
	}, 1) {
		if len(r.Error) > 2000 || !utf8.ValidString(r.Error) {
			t.Errorf("got an error of %d bytes", len(r.Error))
		}
	}
}

func TestAHandlerThatFailsWithEverythingIsNotALineAMessage(t *testing.T) {
	var log lines
	receipts := answered(t, &log, func(_ context.Context, _ *sql.Tx, m *waybill.Message) error { return fmt.Errorf("no order %s", m.ID) }, 300)
	if got := log.count("handler failed"); len(receipts) != 300 || got > 10 || got == 0 {
		t.Errorf("got %d lines over %d failures, want a few", got, len(receipts))
	}
}

func TestReceiptsThatWaitAreBoundedInBytes(t *testing.T) {
	in := newInbox(t, sqlite.Dialect(), memory.New(nil), &Options{Consumer: "shipping"})
	r := in.receipts
	r.known.Set("ack.shop", r.most)
	long := strings.Repeat("e", 2000)
	for i := range 50_000 {
		r.add(fmt.Sprintf("ack.stranger%d", i), []waybill.Receipt{{ID: waybill.NewID(), Outcome: waybill.Retry, Error: long}})
	}
	if r.total.bytes > maxWaitingBytes/2 || in.Stats().ReceiptsLost == 0 || len(r.queues) > maxWaitingBytes/4000 {
		t.Errorf("%d bytes wait for %d strangers' queues, and %d receipts are lost", r.total.bytes, len(r.queues), in.Stats().ReceiptsLost)
	}
	lost := in.Stats().ReceiptsLost
	for range maxWaitingBytes / 2 / 2100 {
		r.add("ack.shop", []waybill.Receipt{{ID: waybill.NewID(), Outcome: waybill.Retry, Error: long}})
	}
	if got := in.Stats().ReceiptsLost; got != lost {
		t.Errorf("%d receipts of a queue that has taken some are lost because of those", got-lost)
	}
	for range maxWaitingBytes / 2000 {
		r.add("ack.shop", []waybill.Receipt{{ID: waybill.NewID(), Outcome: waybill.Retry, Error: long}})
	}
	if r.total.bytes > maxWaitingBytes || in.Stats().ReceiptsLost == lost {
		t.Errorf("%d bytes wait, and %d receipts are lost", r.total.bytes, in.Stats().ReceiptsLost-lost)
	}
	for _, l := range []*lane{&r.sound, &r.doubtful} {
		for len(l.ready) > 0 {
			parcels := r.take(l) // of one queue
			for i := range parcels {
				parcels[i].result.Fate = broker.Confirmed
			}
			r.published(t.Context(), parcels[0].to, parcels, false)
		}
	}
	if r.total != (amount{}) || r.strange != (amount{}) || r.busy != 0 || len(r.queues) != 0 {
		t.Errorf("%+v, of strangers %+v, are counted for %d queues where nothing waits", r.total, r.strange, len(r.queues))
	}
}

func TestNamesThatStrangersMakeUpPushOutNobodyWhoIsThere(t *testing.T) {
	in := newInbox(t, sqlite.Dialect(), memory.New(nil), &Options{Consumer: "shipping", Logger: slog.New(slog.DiscardHandler)})
	in.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })
	r := in.routes[0]
	poison := waybill.NewID()
	floor := waybill.NewID()
	for i := range 50_000 {
		stranger := waybill.NewID()
		in.floors.note(fmt.Sprintf("stranger %d", i), stranger)
		r.countForeign(stranger)
		in.noteSuperseded(store.Mark{ID: stranger, Destination: "orders", Key: stranger.String(), TimeStamp: 1}, waybill.ID{})
		if i%1000 == 0 {
			in.floors.note("shop", floor)
			r.countForeign(poison)
		}
	}
	if got := in.floors.known.Len(); got > 2*maxProducers {
		t.Errorf("%d producers are remembered, want %d at most", got, 2*maxProducers)
	}
	if got := in.floors.unsaved()["shop"]; got != floor {
		t.Error("the floor of a producer that goes on sending is not known any more")
	}
	if got := r.tries.Len(); got > 2*maxForeign {
		t.Errorf("the tries of %d messages are counted, want %d at most", got, 2*maxForeign)
	}
	if got := r.countForeign(poison); got != 51 {
		t.Errorf("got %d tries of a message that fails all the time, want 51", got)
	}
	if got := in.versions.told.Len(); got > 2*maxBackward {
		t.Errorf("%d keys are remembered, want %d at most", got, 2*maxBackward)
	}
	in.floors.saved("shop", floor)
	if _, there := in.floors.unsaved()["shop"]; there {
		t.Error("a floor that the database has is to be saved again")
	}
}

// A broker that is away for an hour is not a line for each try.
func TestABrokerThatIsAwayIsToldAtGrowingIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		b := memory.New(nil)
		in := newInbox(t, sqlite.Dialect(), away{b}, &Options{Consumer: "shipping", PruneEvery: -1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		in.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error { return nil })
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		if err := in.Run(ctx); err != nil {
			t.Error(err)
		}
		if got := log.count("no connection to the broker"); got < 3 || got > 8 || in.Stats().Disconnects < 100 {
			t.Errorf("got %d lines over %d tries", got, in.Stats().Disconnects)
		}
	})
}

// away is a broker that takes no connections.
type away struct{ broker.Broker }

func (away) Connect(context.Context) (broker.Conn, error) {
	return nil, errors.New("connection refused")
}
