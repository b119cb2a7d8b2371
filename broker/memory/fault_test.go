package memory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
)

// batch makes n messages with the bodies 0, 1 and so on.
func batch(queue string, n int) []broker.Message {
	ms := make([]broker.Message, n)
	for i := range ms {
		ms[i] = broker.Message{Destination: queue, Body: []byte(fmt.Sprint(i))}
	}
	return ms
}

func connect(t *testing.T, b *memory.Broker) broker.Conn {
	t.Helper()
	c, err := b.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// publish returns how many messages have each fate.
func publish(t *testing.T, c broker.Conn, transport waybill.Transport, ms []broker.Message) map[broker.Fate]int {
	t.Helper()
	results, err := c.Publish(t.Context(), ms, transport)
	if err != nil || len(results) != len(ms) {
		t.Fatalf("%d results for %d messages, error %v", len(results), len(ms), err)
	}
	fates := map[broker.Fate]int{}
	for _, result := range results {
		if (result.Err == nil) != (result.Fate == broker.Confirmed) {
			t.Fatalf("a message is %v with the error %v", result.Fate, result.Err)
		}
		fates[result.Fate]++
	}
	return fates
}

// all receives and acknowledges until nothing has come for the time quiet.
func all(t *testing.T, c broker.Conn, queue string, quiet time.Duration) (bodies []string) {
	t.Helper()
	r, err := c.Subscribe(t.Context(), broker.Subscription{Destination: queue, Prefetch: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	for {
		ctx, cancel := context.WithTimeout(t.Context(), quiet)
		deliveries, err := r.Receive(ctx, 1000)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return bodies
		}
		if err == nil {
			err = r.Settle(t.Context(), deliveries, broker.Ack)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range deliveries {
			bodies = append(bodies, string(d.Body))
		}
	}
}

// about says that a count is a share of n, roughly.
func about(got int64, share float64, n int) bool {
	want := share * float64(n)
	return float64(got) > want*0.7 && float64(got) < want*1.3
}

func TestWhatIsLostIsConfirmed(t *testing.T) {
	b := memory.New(nil)
	b.SetFaults(memory.Fault{Where: memory.Receipts, Lose: 1}, memory.Fault{Where: memory.Messages, Lose: 0.3})
	c := connect(t, b)
	fates := publish(t, c, waybill.Durable, append(batch("q", 1000), batch("ack.p", 100)...))
	if fates[broker.Confirmed] != 1100 {
		t.Errorf("fates %v, want 1100 confirmed", fates)
	}
	if lost := b.Stats().Lost - 100; !about(lost, 0.3, 1000) || b.Depth("q") != 1000-int(lost) {
		t.Errorf("%d of 1000 messages are lost and %d kept, want about 300 and the rest", lost, b.Depth("q"))
	}
	if b.Depth("ack.p") != 0 {
		t.Errorf("%d receipts are kept, want none", b.Depth("ack.p"))
	}
	b.SetFaults()
	publish(t, c, waybill.Durable, batch("ack.p", 100))
	if b.Depth("ack.p") != 100 {
		t.Errorf("%d receipts are kept after the faults ended, want 100", b.Depth("ack.p"))
	}
}

func TestTheSameSeedMakesTheSameFaults(t *testing.T) {
	run := func(seed uint64) string {
		b := memory.New(&memory.Options{Seed: seed})
		b.SetFaults(memory.Fault{Lose: 0.1, Repeat: 0.1, Reorder: 0.1, Doubt: 0.1, Refuse: 0.1})
		c := connect(t, b)
		fates := publish(t, c, waybill.Durable, batch("q", 500))
		return fmt.Sprint(fates, b.Stats(), b.Depth("q"))
	}
	if one, two := run(7), run(7); one != two {
		t.Errorf("seed 7 made %s and %s", one, two)
	}
	if one, two := run(7), run(8); one == two {
		t.Errorf("seeds 7 and 8 both made %s", one)
	}
	if one, two := run(0), run(1); one != two {
		t.Errorf("seed 0 made %s, the default of 1 %s", one, two)
	}
}

func TestRepeatedMessagesComeTwice(t *testing.T) {
	b := memory.New(nil)
	b.SetFaults(memory.Fault{Repeat: 0.2})
	c := connect(t, b)
	publish(t, c, waybill.Durable, batch("q", 1000))
	got := all(t, c, "q", 20*time.Millisecond)
	repeated := b.Stats().Repeated
	if !about(repeated, 0.2, 1000) || len(got) != 1000+int(repeated) {
		t.Errorf("%d messages came of 1000, %d repeated; want about 200 more", len(got), repeated)
	}
	slices.Sort(got)
	if distinct := len(slices.Compact(got)); distinct != 1000 {
		t.Errorf("%d different messages came, want 1000", distinct)
	}
}

func TestReorderedAndLateMessagesAllCome(t *testing.T) {
	for name, fault := range map[string]memory.Fault{
		"reordered": {Reorder: 0.3},
		"late":      {Late: 0.3, Delay: 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			b := memory.New(nil)
			b.SetFaults(fault)
			c := connect(t, b)
			publish(t, c, waybill.Durable, batch("q", 500))
			publish(t, c, waybill.Durable, batch("single", 1)) // nothing to change places with
			got := all(t, c, "q", 300*time.Millisecond)
			overtaken := 0
			for i := range got {
				if got[i] != fmt.Sprint(i) {
					overtaken++
				}
			}
			slices.Sort(got)
			if distinct := len(slices.Compact(got)); distinct != 500 || overtaken < 100 {
				t.Errorf("got %d different messages, %d out of place; want 500, at least 100", distinct, overtaken)
			}
			if got := all(t, c, "single", 300*time.Millisecond); len(got) != 1 {
				t.Errorf("a message that is alone came %d times, want once", len(got))
			}
			if s := b.Stats(); s.Reordered+s.Delayed < 100 {
				t.Errorf("got %+v, want at least 100 reordered or delayed", s)
			}
		})
	}
}

func TestWhatIsDoubtedIsKeptAndWhatIsRefusedIsNot(t *testing.T) {
	b := memory.New(nil)
	c := connect(t, b)
	b.SetFaults(memory.Fault{Doubt: 0.4})
	fates := publish(t, c, waybill.Durable, batch("doubt", 1000))
	if !about(int64(fates[broker.Unknown]), 0.4, 1000) || b.Depth("doubt") != 1000 {
		t.Errorf("fates %v and %d kept; want about 400 unknown and all kept", fates, b.Depth("doubt"))
	}
	b.SetFaults(memory.Fault{Refuse: 0.4})
	fates = publish(t, c, waybill.Durable, batch("refuse", 1000))
	if refused := fates[broker.Refused]; !about(int64(refused), 0.4, 1000) || b.Depth("refuse") != 1000-refused {
		t.Errorf("fates %v and %d kept; want about 400 refused and the rest kept", fates, b.Depth("refuse"))
	}
}

func TestAQueueThatIsFullRefuses(t *testing.T) {
	b := memory.New(&memory.Options{MaxDepth: 10})
	c := connect(t, b)
	if fates := publish(t, c, waybill.Durable, batch("q", 15)); fates[broker.Confirmed] != 10 || fates[broker.Refused] != 5 {
		t.Errorf("fates %v, want 10 confirmed and 5 refused", fates)
	}
	all(t, c, "q", 10*time.Millisecond)
	if fates := publish(t, c, waybill.Durable, batch("q", 5)); fates[broker.Confirmed] != 5 {
		t.Errorf("fates %v after the queue was emptied, want 5 confirmed", fates)
	}
}

func TestAQueueThatNobodyMadeRefuses(t *testing.T) {
	b := memory.New(&memory.Options{NoCreate: true})
	b.Declare("made")
	c := connect(t, b)
	if fates := publish(t, c, waybill.Durable, append(batch("made", 2), batch("other", 3)...)); fates[broker.Confirmed] != 2 || fates[broker.Refused] != 3 {
		t.Errorf("fates %v, want 2 confirmed and 3 refused", fates)
	}
	if !b.Capabilities().Unroutable {
		t.Error("it does not declare Unroutable")
	}
}

func TestWipeLosesWhatIsHeldToo(t *testing.T) {
	b := memory.New(nil)
	c := connect(t, b)
	publish(t, c, waybill.Durable, batch("q", 10))
	r, err := c.Subscribe(t.Context(), broker.Subscription{Destination: "q", Prefetch: 4})
	if err != nil {
		t.Fatal(err)
	}
	held, err := r.Receive(t.Context(), 4)
	if err != nil {
		t.Fatal(err)
	}
	if lost := b.Wipe(); lost != 10 || b.Depth("q") != 0 || b.Stats().Wiped != 10 {
		t.Errorf("Wipe lost %d, %d are left, counted %d; want 10, 0, 10", lost, b.Depth("q"), b.Stats().Wiped)
	}
	// The consumer knows nothing of it and acknowledges; its window is free again.
	if err := r.Settle(t.Context(), held, broker.Ack); err != nil {
		t.Errorf("Settle of what was wiped: %v", err)
	}
	publish(t, c, waybill.Durable, batch("q", 4))
	if again, err := r.Receive(t.Context(), 4); err != nil || len(again) != 4 {
		t.Errorf("received %d messages after the loss, error %v; want 4", len(again), err)
	}
}

func TestDownLosesWhatTravelsTransient(t *testing.T) {
	b := memory.New(nil)
	c := connect(t, b)
	publish(t, c, waybill.Durable, batch("q", 3))
	publish(t, c, waybill.Transient, batch("q", 5))
	b.Down()
	<-c.Done()
	if err := c.Err(); err == nil || errors.Is(err, broker.ErrClosed) {
		t.Errorf("the connection ended with %v; want a reason that is not ErrClosed", err)
	}
	if _, err := b.Connect(t.Context()); err == nil || errors.Is(err, broker.ErrRefused) {
		t.Errorf("Connect to a broker that is down: %v; want an error that is not ErrRefused", err)
	}
	b.Up()
	if got := all(t, connect(t, b), "q", 10*time.Millisecond); len(got) != 3 {
		t.Errorf("%d messages are left, want the 3 durable ones", len(got))
	}
	if s := b.Stats(); s.Broken != 1 || s.Wiped != 5 {
		t.Errorf("got %+v, want 1 broken, 5 wiped", s)
	}
}

func TestSettlingTwiceIsAnError(t *testing.T) {
	b := memory.New(nil)
	c := connect(t, b)
	publish(t, c, waybill.Durable, batch("q", 2))
	r, err := c.Subscribe(t.Context(), broker.Subscription{Destination: "q", Prefetch: 4})
	if err != nil {
		t.Fatal(err)
	}
	ds, err := r.Receive(t.Context(), 4)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Settle(t.Context(), ds, broker.DeadLetter); err != nil {
		t.Fatal(err)
	}
	if err := r.Settle(t.Context(), ds[:1], broker.Ack); err == nil || !strings.Contains(err.Error(), "settled already") {
		t.Errorf("the second Settle: %v; want that it is settled already", err)
	}
	if dead := b.DeadLetters("q"); len(dead) != 2 || string(dead[0].Body) != "0" {
		t.Errorf("dead letters %v, want 0 and 1", dead)
	}
	if s := b.Stats(); s.Settled != 2 || s.Delivered != 2 || s.Published != 2 {
		t.Errorf("got %+v, want 2 published, delivered and settled", s)
	}
}
