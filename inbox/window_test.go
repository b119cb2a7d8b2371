package inbox

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
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

// resizer is a receiver of which only the window is of interest.
type resizer struct {
	broker.Receiver
	window int
}

func (r *resizer) Resize(window int) { r.window = window }

func TestTheWindowFollowsThePaceAndTheSizeOfBodies(t *testing.T) {
	const workers, batch = 4, 200
	for _, c := range []struct {
		name  string
		each  time.Duration // of a message
		body  int
		least int
		most  int
	}{
		{name: "quick", each: 50 * time.Microsecond, body: 100, least: 2 * workers * batch, most: 2 * workers * batch},
		{name: "5 ms", each: 5 * time.Millisecond, body: 100, least: 200, most: 800},
		{name: "100 ms", each: 100 * time.Millisecond, body: 100, least: 10, most: 40},
		{name: "a minute", each: time.Minute, body: 100, least: 4, most: 8},
		{name: "quick and large", each: 50 * time.Microsecond, body: 900 << 10, least: 25, most: 49},
		{name: "larger than may be", each: 50 * time.Microsecond, body: 64 << 20, least: 1, most: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := &Inbox{o: Options{BatchTime: 250 * time.Millisecond, PrefetchBytes: 32 << 20}}
			r := newRoute(in, "orders", waybill.Once, nil, HandleOptions{Workers: workers, Batch: batch})
			in.routes = []*route{r}
			got := &resizer{window: r.target()}
			s := &subscription{Receiver: got, r: r}
			r.window.current, r.window.size = s, got.window
			r.subscribed.Store(s)
			body := make([]byte, c.body)
			for range 100 {
				deliveries := slices.Repeat([]broker.Delivery{{Message: broker.Message{Body: body}}}, min(got.window, batch))
				s.noteArrived(deliveries)
				r.noteHandled(len(deliveries), c.each*time.Duration(len(deliveries)))
				s.held.Add(-int64(len(deliveries)))
				s.bytes.Add(-sizeOf(deliveries))
			}
			if got.window < c.least || got.window > c.most {
				t.Errorf("got a window of %d, want %d to %d", got.window, c.least, c.most)
			}
		})
	}
}

// arrivals makes messages with these keys and bodies of a size.
func arrivals(t *testing.T, size int, keys ...string) (messages []broker.Message) {
	t.Helper()
	for i, key := range keys {
		row := store.Row{MessageID: waybill.NewID(), Destination: "orders", Key: key, TimeStamp: int64(i + 1), Sequence: 1, Body: make([]byte, size)}
		m, err := wire.Encode(&row, 0, wire.Origin{Producer: "shop", ReceiptTo: "ack.shop"})
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
	return messages
}

func numbered(n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprint(i))
	}
	return keys
}

func TestASecondProcessGetsItsShareOfSlowWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 120
		b := memory.New(nil)
		if _, err := connect(t, b).Publish(t.Context(), arrivals(t, 10, numbered(n)...), waybill.Durable); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		var counts [2]atomic.Int64
		for i := range counts {
			in := newInbox(t, sqlite.Dialect(), b, &Options{Consumer: "shipping", PruneEvery: -1, Logger: slog.New(slog.DiscardHandler)})
			in.Handle("orders", waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error {
				time.Sleep(50 * time.Millisecond)
				counts[i].Add(1)
				return nil
			})
			go func() { ended <- in.Run(ctx) }()
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Second)
		first, second := counts[0].Load(), counts[1].Load()
		if first+second != n || second < n*2/5-10 {
			t.Errorf("the first process has handled %d messages and the second %d, a second later, of %d; want about as many after that second", first, second, n)
		}
		stop()
		for range counts {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestManyMessagesOfOneKeyHoldUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(nil)
		keys := append(slices.Repeat([]string{"slow"}, 300), numbered(40)...)
		if _, err := connect(t, b).Publish(t.Context(), arrivals(t, 10, keys...), waybill.Durable); err != nil {
			t.Fatal(err)
		}
		in := newInbox(t, sqlite.Dialect(), b, &Options{Consumer: "shipping", PruneEvery: -1, Logger: slog.New(slog.DiscardHandler)})
		var others atomic.Int64
		r := newRoute(in, "orders", waybill.Once, nil, HandleOptions{Workers: 4, Batch: 200})
		in.routes = []*route{r}
		// Its workers take their time, and no transaction: SQLite has one at a time.
		receive, stop := context.WithCancel(t.Context())
		var working sync.WaitGroup
		for _, w := range r.workers {
			working.Go(func() {
				for receive.Err() == nil {
					batch := w.take(1)
					if len(batch) == 0 {
						w.wait(receive)
						continue
					}
					if batch[0].Message.Key == "slow" {
						time.Sleep(time.Second)
					} else {
						others.Add(1)
					}
					r.noteHandled(1, time.Second)
					in.settle(receive, batch[0].receiver, []broker.Delivery{batch[0].delivery}, broker.Ack)
				}
			})
		}
		ended := make(chan error, 1)
		go func() { ended <- r.subscribe(receive, receive, connect(t, b)) }()
		time.Sleep(10 * time.Second)
		// Those of the slow one's worker wait behind it.
		if n := others.Load(); n < 15 {
			t.Errorf("%d messages of other keys were handled beside 300 of one that takes 300 s, want most of 40", n)
		}
		stop()
		<-ended
		working.Wait()
	})
}
