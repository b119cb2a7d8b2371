package kafka

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
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
	// Kafka takes '.' and '_' for the same. The better names may collide that way, and
	// then the other ones are used, which must not.
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
			t.Errorf("%q becomes %q without need", plain, got)
		}
	}
}

// TestAPositionIsNeverPastAMessageThatIsNotSettled settles in random order and watches
// the position.
func TestAPositionIsNeverPastAMessageThatIsNotSettled(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 1))
		offset := int64(1000)
		tr := newTrack(offset, 0)
		var open []*token
		for range 3000 {
			switch {
			case random.IntN(2) == 0:
				offset += 1 + int64(random.IntN(3)) // compaction and transactions leave gaps
				k := &token{track: tr, offset: offset}
				tr.add(k)
				open = append(open, k)
			case len(open) > 0:
				// Some seeds leave one message for long, as a handler that fails does.
				i := random.IntN(len(open))
				if seed%2 == 0 && len(open) > 1 {
					i = 1 + random.IntN(len(open)-1)
				}
				if !tr.settle(open[i]) || tr.settle(open[i]) {
					t.Fatal("settling is news once and not twice")
				}
				open = slices.Delete(open, i, i+1)
			}
			position, _, _ := tr.position()
			if len(open) > 0 && position > open[0].offset {
				t.Fatalf("seed %d: the position is %d and %d is not settled", seed, position, open[0].offset)
			}
			if len(open) == 0 && offset > 1000 && position != offset+1 {
				t.Fatalf("seed %d: all is settled up to %d and the position is %d", seed, offset, position)
			}
			if tr.unsettled() != len(open) {
				t.Fatalf("seed %d: %d are unsettled, not %d", seed, len(open), tr.unsettled())
			}
			if len(tr.open) > 2*len(open)+130 {
				t.Fatalf("seed %d: %d messages are remembered for %d that are not settled", seed, len(tr.open), len(open))
			}
		}
		for _, k := range open {
			tr.settle(k)
		}
		if position, _, _ := tr.position(); position != offset+1 {
			t.Fatalf("seed %d: in the end the position is %d, not %d", seed, position, offset+1)
		}
	}
}

func TestSettlingWhatWasLostDoesNothing(t *testing.T) {
	tr := newTrack(5, 0)
	k := &token{track: tr, offset: 5}
	tr.add(k)
	tr.lost = true
	if tr.settle(k) {
		t.Error("settling a message of a lost partition is news")
	}
	if position, _, news := tr.position(); position != 5 || news {
		t.Errorf("the position is %d, news %v", position, news)
	}
}

func TestAPartitionThatWasCutIsCommittedFromWhereItGoesOn(t *testing.T) {
	r := &Receiver{tracks: tracks{}, wake: make(chan struct{}, 1)}
	fetch := func(offsets ...int64) {
		p := kgo.FetchPartition{Partition: 0}
		for _, offset := range offsets {
			p.Records = append(p.Records, &kgo.Record{Topic: "t", Offset: offset})
		}
		r.arrived(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "t", Partitions: []kgo.FetchPartition{p}}}}})
	}
	fetch(88, 89, 90, 91)
	before := r.tracks[0]
	for _, k := range slices.Clone(before.open[:2]) {
		before.settle(k)
		r.unsettled--
	}
	fetch(85, 86) // the broker has lost what came behind 84
	if position, _, news := r.tracks[0].position(); position != 85 || news {
		t.Errorf("the position is %d, news %v", position, news)
	}
	if len(r.arrivals) != 2 || r.unsettled != 2 {
		t.Errorf("%d messages wait, %d are not settled", len(r.arrivals), r.unsettled)
	}
	for _, d := range r.arrivals {
		if k := d.Token.(*token); k.track == before {
			t.Errorf("offset %d of the end that was lost waits", k.offset)
		}
	}
}
