package kafka

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
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
