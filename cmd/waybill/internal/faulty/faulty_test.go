package faulty_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/cmd/waybill/internal/faulty"
)

func TestWithoutFaultsItIsTheBrokerItWraps(t *testing.T) {
	inner := memory.New(nil)
	b := faulty.New(inner, nil)
	brokertest.Test(t, brokertest.Harness{
		Open: func(testing.TB) broker.Broker { return b },
		OpenLink: func(testing.TB) (broker.Broker, brokertest.Link) {
			return b, brokertest.Link{Cut: inner.Break, Hold: inner.Hold, Release: inner.Release}
		},
		Stop:  func(testing.TB) { inner.Down() },
		Start: func(testing.TB) { inner.Up() },
	})
}

// publish publishes n messages of one batch to a queue through a faulty broker and
// returns the bodies that arrive, in order, once wait has passed.
func publish(t *testing.T, b *faulty.Broker, inner *memory.Broker, queue string, n int, wait time.Duration) []string {
	t.Helper()
	conn, err := b.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	batch := make([]broker.Message, n)
	for i := range batch {
		batch[i] = broker.Message{Destination: queue, Headers: []broker.Header{{Name: "n", Value: fmt.Sprint(i)}}, Body: fmt.Appendf(nil, "%03d", i)}
	}
	results, err := conn.Publish(t.Context(), batch, waybill.Durable)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Fate != broker.Confirmed {
			t.Fatalf("message %d is %v; want every one confirmed, whatever became of it", i, r.Fate)
		}
	}
	for i := range batch { // the caller may do with them as it likes
		clear(batch[i].Body)
		batch[i].Headers[0].Value = "changed"
	}
	time.Sleep(wait) // of a bubble's time, where it is above 0
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return received(t, inner, queue)
}

// received empties a queue.
func received(t *testing.T, inner *memory.Broker, queue string) []string {
	t.Helper()
	conn, err := inner.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	receiver, err := conn.Subscribe(t.Context(), broker.Subscription{Destination: queue, Prefetch: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for inner.Depth(queue) > 0 {
		deliveries, err := receiver.Receive(t.Context(), 10_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range deliveries {
			if value, _ := d.Header("n"); fmt.Sprintf("%03s", value) != string(d.Body) {
				t.Errorf("got the header %q with the body %q, want those of one message", value, d.Body)
			}
			got = append(got, string(d.Body))
		}
		if err := receiver.Settle(t.Context(), deliveries, broker.Ack); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

func TestFaultsHappenInExactlyTheSharesAskedFor(t *testing.T) {
	const n = 200
	cases := map[string]struct {
		faults  faulty.Faults
		arrive  int
		ordered bool
		want    faulty.Tally
	}{
		"none":    {faulty.Faults{}, n, true, faulty.Tally{Published: n}},
		"lose":    {faulty.Faults{Lose: 0.05}, n - 10, true, faulty.Tally{Published: n, Lost: 10}},
		"repeat":  {faulty.Faults{Repeat: 0.1}, n + 20, true, faulty.Tally{Published: n, Repeated: 20}},
		"reorder": {faulty.Faults{Reorder: 0.1}, n, false, faulty.Tally{Published: n, Reordered: 20}},
		"hold":    {faulty.Faults{Hold: 0.05, Delay: 5 * time.Millisecond}, n, false, faulty.Tally{Published: n, Held: 10}},
		"all":     {faulty.Faults{Lose: 1}, 0, true, faulty.Tally{Published: n, Lost: n}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := memory.New(nil)
				b := faulty.New(inner, &faulty.Options{Seed: 7, Network: faulty.Network{Messages: c.faults, Receipts: faulty.Faults{Lose: 1}}})
				got := publish(t, b, inner, "orders", n, 200*time.Millisecond)
				if len(got) != c.arrive {
					t.Errorf("got %d messages, want %d", len(got), c.arrive)
				}
				if slices.IsSorted(got) != c.ordered {
					t.Errorf("got them in order: %v, want %v", !c.ordered, c.ordered)
				}
				if tally := b.Counts().Messages; tally != c.want {
					t.Errorf("got the counts %+v, want %+v", tally, c.want)
				}
			})
		})
	}
}

func TestTheSameSeedGivesTheSameFaults(t *testing.T) {
	run := func(seed uint64) (got []string) {
		synctest.Test(t, func(t *testing.T) {
			inner := memory.New(nil)
			b := faulty.New(inner, &faulty.Options{Seed: seed, Network: faulty.Network{Messages: faulty.Faults{Lose: 0.1, Repeat: 0.1, Reorder: 0.1}}})
			got = publish(t, b, inner, "orders", 300, 50*time.Millisecond)
		})
		return got
	}
	first := run(1)
	if !slices.Equal(first, run(1)) {
		t.Error("got different faults by the same seed, want the same")
	}
	if slices.Equal(first, run(2)) {
		t.Error("got the same faults by another seed, want different ones")
	}
}

func TestReceiptsHaveFaultsOfTheirOwn(t *testing.T) {
	inner := memory.New(nil)
	b := faulty.New(inner, nil)
	if got := publish(t, b, inner, "ack.orders", 20, 0); len(got) != 20 {
		t.Errorf("%d receipts arrived before there were faults, want 20", len(got))
	}
	b.Set(faulty.Network{Receipts: faulty.Faults{Lose: 0.5}})
	if got := publish(t, b, inner, "ack.orders", 20, 0); len(got) != 10 {
		t.Errorf("%d receipts arrived, want 10 of 20", len(got))
	}
	if got := publish(t, b, inner, "orders", 20, 0); len(got) != 20 {
		t.Errorf("%d messages arrived, want all 20", len(got))
	}
	if counts := b.Counts(); counts.Receipts.Lost != 10 || counts.Messages.Lost != 0 {
		t.Errorf("counts %+v, want 10 receipts lost and no message", counts)
	}
}

func TestWhatIsHeldBackIsLostWithTheConnection(t *testing.T) {
	inner := memory.New(nil)
	b := faulty.New(inner, &faulty.Options{Network: faulty.Network{Messages: faulty.Faults{Hold: 1, Delay: time.Hour}}})
	if got := publish(t, b, inner, "orders", 10, 0); len(got) != 0 {
		t.Errorf("%v arrived, want nothing", got)
	}
	if tally := b.Counts().Messages; tally.Held != 10 || tally.Lost != 10 {
		t.Errorf("counts %+v, want 10 held and lost", tally)
	}
}

func TestNothingIsConfirmedOnABrokenConnection(t *testing.T) {
	inner := memory.New(nil)
	b := faulty.New(inner, &faulty.Options{Network: faulty.Network{Messages: faulty.Faults{Lose: 0.5}}})
	conn, err := b.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	inner.Break()
	batch := make([]broker.Message, 10)
	for i := range batch {
		batch[i].Destination = "orders"
	}
	results, err := conn.Publish(t.Context(), batch, waybill.Durable)
	if err == nil {
		t.Error("got no error on a broken connection, want one")
	}
	for i, r := range results {
		if r.Fate != broker.Unknown {
			t.Errorf("message %d is %v, want unknown", i, r.Fate)
		}
	}
}
