package servertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// BenchBatch is how many messages a benchmark publishes at once, BenchPrefetch how many
// it may have received and not settled.
const (
	BenchBatch    = 500
	BenchPrefetch = 2000
)

// benchTurn is how many batches one client does before it is the other's turn. Both then
// meet the same conditions on the machine, so their ratio is worth more than the figures.
const benchTurn = 20

// Client publishes to one queue and receives from it: over an adapter, or with a client
// library alone.
type Client interface {
	// Publish sends messages and returns when the broker has confirmed them all.
	Publish(ms []broker.Message, transport waybill.Transport) error
	// Receive receives and acknowledges n messages.
	Receive(n int) error
}

// SideBySide measures an adapter beside its client library, on the same server and in
// the same run: messages of 256 bytes, in batches. bare makes the client that the library
// alone is the fastest with, for a queue that exists.
func SideBySide(b *testing.B, adapter broker.Broker, bare func(b *testing.B, queue string) Client) {
	b.Helper()
	for _, p := range []phase{
		{name: "publish", measured: publishing(waybill.Durable), after: receiving},
		{name: "publish_transient", measured: publishing(waybill.Transient), after: receiving},
		{name: "receive", before: publishing(waybill.Durable), measured: receiving},
	} {
		b.Run(p.name, func(b *testing.B) {
			rivals := []*rival{newRival(b, adapter, bare), newRival(b, adapter, nil)}
			for i := range b.N {
				for k := range rivals {
					rivals[(i+k)%len(rivals)].turn(b, p) // who is first changes
				}
			}
			report(b, rivals[0], rivals[1])
		})
	}
}

// phase is what a benchmark measures, and what has to happen before and after it.
type phase struct {
	name                    string
	before, measured, after func(c Client, batch []broker.Message) error
}

// publishing publishes the batches of one turn.
func publishing(transport waybill.Transport) func(Client, []broker.Message) error {
	return func(c Client, batch []broker.Message) error {
		for range benchTurn {
			if err := c.Publish(batch, transport); err != nil {
				return err
			}
		}
		return nil
	}
}

// receiving receives the messages of one turn.
func receiving(c Client, _ []broker.Message) error { return c.Receive(benchTurn * BenchBatch) }

// rival is a client that is measured, with a queue of its own.
type rival struct {
	client Client
	batch  []broker.Message
	took   time.Duration
}

// newRival makes a queue and the bare client for it, or with nil the adapter's, and has
// it receive a batch, so that it has begun when it is measured.
func newRival(b *testing.B, adapter broker.Broker, bare func(b *testing.B, queue string) Client) *rival {
	b.Helper()
	queue := "bench-" + strings.ToLower(rand.Text()[:10])
	r := &rival{client: &seam{conn: connect(b.Context(), b, adapter), queue: queue}, batch: benchMessages(queue)}
	must(b, r.client.Publish(r.batch, waybill.Durable))
	if bare != nil {
		r.client = bare(b, queue)
	}
	must(b, r.client.Receive(BenchBatch))
	return r
}

// turn does one turn of a phase.
func (r *rival) turn(b *testing.B, p phase) {
	b.Helper()
	if p.before != nil {
		must(b, p.before(r.client, r.batch))
	}
	began := time.Now()
	must(b, p.measured(r.client, r.batch))
	r.took += time.Since(began)
	if p.after != nil {
		must(b, p.after(r.client, r.batch))
	}
}

// report reports the rates of both and their ratio.
func report(b *testing.B, bare, adapter *rival) {
	b.Helper()
	rate := func(r *rival) float64 { return float64(b.N) * benchTurn * BenchBatch / r.took.Seconds() }
	b.ReportMetric(rate(bare), "bare-msgs/s")
	b.ReportMetric(rate(adapter), "seam-msgs/s")
	b.ReportMetric(rate(adapter)/rate(bare), "seam/bare")
	b.ReportMetric(0, "ns/op")
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// benchMessages makes a batch with Waybill's headers.
func benchMessages(queue string) []broker.Message {
	ms := make([]broker.Message, BenchBatch)
	for i := range ms {
		ms[i] = broker.Message{Destination: queue, Key: fmt.Sprint(i), Body: []byte(strings.Repeat("0123456789abcdef", 16)), Headers: []broker.Header{
			{Name: "messageId", Value: waybill.NewID().String()}, {Name: "businessMark", Value: fmt.Sprint(i)}, {Name: "timeStamp", Value: "1790000000000001"},
			{Name: "sequence", Value: "12"}, {Name: "producer", Value: "bench"}, {Name: "receiptTo", Value: "ack.bench"}, {Name: "attempt", Value: "0"},
			{Name: "floor", Value: waybill.NewID().String()},
		}}
	}
	return ms
}

// seam is the Client over an adapter.
type seam struct {
	conn     broker.Conn
	queue    string
	receiver broker.Receiver
}

// Publish publishes a batch.
func (s *seam) Publish(ms []broker.Message, transport waybill.Transport) error {
	results, err := s.conn.Publish(context.Background(), ms, transport)
	if err != nil {
		return err
	}
	for _, r := range results {
		if r.Fate != broker.Confirmed {
			return fmt.Errorf("not confirmed: %w", r.Err)
		}
	}
	return nil
}

// Receive subscribes when it is called first.
func (s *seam) Receive(n int) error {
	ctx := context.Background()
	if s.receiver == nil {
		var err error
		s.receiver, err = s.conn.Subscribe(ctx, broker.Subscription{Destination: s.queue, Prefetch: BenchPrefetch})
		if err != nil {
			return err
		}
	}
	for n > 0 {
		deliveries, err := s.receiver.Receive(ctx, min(n, BenchBatch))
		if err == nil {
			err = s.receiver.Settle(ctx, deliveries, broker.Ack)
		}
		if err != nil {
			return err
		}
		n -= len(deliveries)
	}
	return nil
}
