package brokertest_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/brokertest"
	"github.com/waybill-go/waybill/broker/memory"
)

// broken are adapters with one fault each, and the case that has to find it.
var broken = []struct {
	name    string
	finds   string // group/case
	faults  []memory.Fault
	conn    func(c broker.Conn) broker.Conn
	receive func(r broker.Receiver) broker.Receiver
}{
	{name: "loses", finds: "publish/a_batch_of_none", faults: []memory.Fault{{Lose: 0.01}}},
	{name: "repeats", finds: "receive/competing", faults: []memory.Fault{{Repeat: 0.01}}},
	{name: "reorders", finds: "receive/one_subscriber", faults: []memory.Fault{{Reorder: 0.01}}},
	{name: "doubts", finds: "publish/several_goroutines", faults: []memory.Fault{{Doubt: 0.01}}},
	{name: "trims", finds: "carry/headers_of_every_kind", conn: func(c broker.Conn) broker.Conn {
		return &changing{c, func(m *broker.Message) {
			for i := range m.Headers {
				m.Headers[i].Value = strings.TrimSpace(m.Headers[i].Value)
			}
		}}
	}},
	{name: "folds case", finds: "carry/destinations", conn: func(c broker.Conn) broker.Conn {
		return &changing{c, func(m *broker.Message) { m.Destination = strings.ToLower(m.Destination) }}
	}},
	{name: "swallows", finds: "publish/copies", conn: func(c broker.Conn) broker.Conn {
		return &swallowing{Conn: c, seen: map[string]bool{}}
	}},
	{name: "miscounts", finds: "publish/a_batch_of_none", conn: func(c broker.Conn) broker.Conn { return miscounting{c} }},
	{name: "prefetches", finds: "receive/Prefetch", conn: func(c broker.Conn) broker.Conn { return greedy{c} }},
	{name: "cannot be compared", finds: "connection/connections_and_receivers", conn: func(c broker.Conn) broker.Conn {
		return uncomparable{Conn: c}
	}},
	{name: "is always the same", finds: "connection/connections_and_receivers", receive: func(r broker.Receiver) broker.Receiver {
		return alike{}
	}},
	{name: "leaks", finds: "connection/a_closed_connection", conn: func(c broker.Conn) broker.Conn {
		go func() { select {} }()
		return c
	}},
	{name: "never acknowledges", finds: "settle/what_is_settled", receive: func(r broker.Receiver) broker.Receiver { return forgetful{r} }},
	{name: "drops on timeout", finds: "receive/a_Receive_that_ends", receive: func(r broker.Receiver) broker.Receiver { return hasty{r} }},
}

// which names the broken adapter that a child process runs the suite on.
const which = "WAYBILL_BROKERTEST_BROKEN"

func TestTheSuiteFindsWhatIsBroken(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the suite in a process of its own for each fault")
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range broken {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			group, c, _ := strings.Cut(b.finds, "/")
			command := exec.CommandContext(t.Context(), binary, "-test.v", "-test.run", "^TestBroken$/^"+group+"$/^"+c)
			command.Env = append(os.Environ(), which+"="+b.name)
			output, err := command.CombinedOutput()
			if err == nil || !strings.Contains(string(output), "--- FAIL: TestBroken/"+b.finds) {
				t.Errorf("got %v, want the case %s* to fail for an adapter that %s\n%s", err, b.finds, b.name, output)
			}
		})
	}
}

// TestBroken is what the child processes run.
func TestBroken(t *testing.T) {
	for _, b := range broken {
		if b.name == os.Getenv(which) {
			m := memory.New(nil)
			m.SetFaults(b.faults...)
			brokertest.Test(t, brokertest.Harness{
				Open:     func(testing.TB) broker.Broker { return wrapped{m, b.conn, b.receive} },
				Patience: 2 * time.Second,
			})
			return
		}
	}
	t.Skip("is run by TestTheSuiteFindsWhatIsBroken")
}

// wrapped wraps connections and receivers.
type wrapped struct {
	broker.Broker
	conn    func(c broker.Conn) broker.Conn
	receive func(r broker.Receiver) broker.Receiver
}

func (w wrapped) Connect(ctx context.Context) (broker.Conn, error) {
	c, err := w.Broker.Connect(ctx)
	if err == nil && w.conn != nil {
		c = w.conn(c)
	}
	if err == nil && w.receive != nil {
		c = &receiving{c, w.receive}
	}
	return c, err
}

type receiving struct {
	broker.Conn
	wrap func(r broker.Receiver) broker.Receiver
}

func (c receiving) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	r, err := c.Conn.Subscribe(ctx, s)
	if err == nil {
		r = c.wrap(r)
	}
	return r, err
}

// changing changes messages on their way.
type changing struct {
	broker.Conn
	change func(m *broker.Message)
}

func (c changing) Publish(ctx context.Context, ms []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	changed := make([]broker.Message, len(ms))
	for i, m := range ms {
		m.Headers = append([]broker.Header(nil), m.Headers...)
		c.change(&m)
		changed[i] = m
	}
	return c.Conn.Publish(ctx, changed, transport)
}

func (c changing) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	m := broker.Message{Destination: s.Destination}
	c.change(&m)
	s.Destination = m.Destination
	return c.Conn.Subscribe(ctx, s)
}

// uncomparable is of a type that no map takes as a key.
type uncomparable struct {
	broker.Conn
	_ []int
}

// alike is equal to every other of its kind.
type alike struct{ broker.Receiver }

// swallowing drops what has a message id that it knows.
type swallowing struct {
	broker.Conn
	seen map[string]bool
}

func (c *swallowing) Publish(ctx context.Context, ms []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	var fresh []broker.Message
	for i := range ms {
		id, _ := ms[i].Header("messageId")
		if !c.seen[id] {
			fresh = append(fresh, ms[i])
		}
		c.seen[id] = true
	}
	if _, err := c.Conn.Publish(ctx, fresh, transport); err != nil {
		return make([]broker.Result, len(ms)), err
	}
	results := make([]broker.Result, len(ms))
	for i := range results {
		results[i].Fate = broker.Confirmed
	}
	return results, nil
}

// miscounting returns a result too few.
type miscounting struct{ broker.Conn }

func (c miscounting) Publish(ctx context.Context, ms []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	results, err := c.Conn.Publish(ctx, ms, transport)
	if len(results) > 1 {
		results = results[1:]
	}
	return results, err
}

// greedy receives more than it may.
type greedy struct{ broker.Conn }

func (c greedy) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	s.Prefetch++
	return c.Conn.Subscribe(ctx, s)
}

// forgetful acknowledges nothing.
type forgetful struct{ broker.Receiver }

func (r forgetful) Settle(context.Context, []broker.Delivery, broker.Disposition) error { return nil }

// hasty drops what arrives shortly before its context ends.
type hasty struct{ broker.Receiver }

func (r hasty) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	deliveries, err := r.Receiver.Receive(ctx, limit)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < time.Millisecond {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return deliveries, err
}
