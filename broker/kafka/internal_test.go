package kafka

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill-go/waybill/broker/internal/arrival"
)

func TestEveryDestinationHasATopicOfItsOwn(t *testing.T) {
	long, wide := strings.Repeat("x", 255), strings.Repeat("漢", 255)
	names := []string{
		"orders", "Orders", "orders.eu", "orders_eu", "orders-eu", "orders--eu", "orders-", "orders--2Eeu", "orders-é", "orders/eu", "orders:eu",
		"ack.orders", "a", ".", "..", "__consumer_offsets", "_x", "-", "--", "orders--topic", "orders--h", "é", "e\u0301", "漢字", "🚚",
		long, long[:254] + "y", long[:248], wide, wide[:762] + "é", strings.Repeat(".", 255), strings.Repeat("_", 255),
	}
	legal := regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)
	b := &Broker{}
	// Kafka takes '.' and '_' for the same. The better names may collide in that way; then
	// the other ones are used, which must not.
	exact, strict := map[string]string{}, map[string]string{}
	for _, name := range names {
		for _, topic := range []bool{false, true} {
			from := name
			if topic {
				from = "the topic " + name
			}
			all := b.candidates(name, topic)
			for _, mapped := range all {
				if !legal.MatchString(mapped) || mapped == "." || mapped == ".." {
					t.Errorf("%q becomes %q, which Kafka does not take", from, mapped)
				}
				if before, ok := exact[mapped]; ok {
					t.Errorf("%q and %q may both be %q", before, from, mapped)
				}
				exact[mapped] = from
			}
			last := all[len(all)-1]
			if before, ok := strict[strings.ReplaceAll(last, ".", "_")]; ok {
				t.Errorf("%q and %q are the same to Kafka, as %q", before, from, last)
			}
			strict[strings.ReplaceAll(last, ".", "_")] = from
		}
	}
	for _, plain := range []string{"orders", "orders.eu", "orders_eu", "order-events", "ack.orders"} {
		if got := b.candidates(plain, false)[0]; got != plain {
			t.Errorf("%q becomes %q, want it as it is", plain, got)
		}
	}
}

// The test settles in random order and looks at the position after each.
func TestAPositionIsNeverPastAMessageThatIsNotSettled(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 1))
		offset := int64(1000)
		a := newAssignment(offset, 0)
		var open []*token
		for range 3000 {
			switch {
			case random.IntN(2) == 0:
				offset += 1 + int64(random.IntN(3)) // compaction and transactions leave gaps
				k := &token{assignment: a, offset: offset}
				a.add(k)
				open = append(open, k)
			case len(open) > 0:
				// With some seeds one message is not settled for long, as where its handler fails.
				i := random.IntN(len(open))
				if seed%2 == 0 && len(open) > 1 {
					i = 1 + random.IntN(len(open)-1)
				}
				if !a.settle(open[i]) || a.settle(open[i]) {
					t.Fatalf("seed %d: settling has an effect never or twice, want once", seed)
				}
				open = slices.Delete(open, i, i+1)
			}
			position, _, _ := a.position()
			if len(open) > 0 && position > open[0].offset {
				t.Fatalf("seed %d: the position is %d and %d is not settled", seed, position, open[0].offset)
			}
			if len(open) == 0 && offset > 1000 && position != offset+1 {
				t.Fatalf("seed %d: all is settled up to %d and the position is %d", seed, offset, position)
			}
			if a.unsettled() != len(open) {
				t.Fatalf("seed %d: %d are unsettled, not %d", seed, len(open), a.unsettled())
			}
			if len(a.open) > 2*len(open)+130 {
				t.Fatalf("seed %d: %d messages are remembered for %d that are not settled", seed, len(a.open), len(open))
			}
		}
		for _, k := range open {
			a.settle(k)
		}
		if position, _, _ := a.position(); position != offset+1 {
			t.Fatalf("seed %d: in the end the position is %d, not %d", seed, position, offset+1)
		}
	}
}

func TestSettlingWhatWasLostDoesNothing(t *testing.T) {
	a := newAssignment(5, 0)
	k := &token{assignment: a, offset: 5}
	a.add(k)
	a.lost = true
	if a.settle(k) {
		t.Error("settling a message of a lost partition has an effect, want none")
	}
	if position, _, news := a.position(); position != 5 || news {
		t.Errorf("the position is %d, news %v; want 5, false", position, news)
	}
}

func TestAPartitionThatHasLostItsEndIsCommittedFromWhereItGoesOn(t *testing.T) {
	c := &conn{done: make(chan struct{})}
	r := &receiver{conn: c, assignments: assignments{}, arrivals: arrival.NewBuffer(c)}
	fetch := func(offsets ...int64) {
		p := kgo.FetchPartition{Partition: 0}
		for _, offset := range offsets {
			p.Records = append(p.Records, &kgo.Record{Topic: "t", Offset: offset})
		}
		r.arrived(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "t", Partitions: []kgo.FetchPartition{p}}}}})
	}
	fetch(88, 89, 90, 91)
	before := r.assignments[0]
	for _, k := range slices.Clone(before.open[:2]) {
		before.settle(k)
		r.unsettled--
	}
	fetch(85, 86) // the broker has lost what came behind 84
	if position, _, news := r.assignments[0].position(); position != 85 || news {
		t.Errorf("the position is %d, news %v; want 85, false", position, news)
	}
	arrivals, err := r.Receive(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(arrivals) != 2 || r.unsettled != 2 {
		t.Errorf("%d messages wait, %d are not settled; want 2, 2", len(arrivals), r.unsettled)
	}
	for _, d := range arrivals {
		if k := d.Token.(*token); k.assignment == before {
			t.Errorf("offset %d of the end that was lost waits, want it dropped", k.offset)
		}
	}
}
