package rabbitmq

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestEveryDestinationHasANameOfItsOwn(t *testing.T) {
	long, wide := strings.Repeat("x", 255), strings.Repeat("漢", 255)
	names := []string{
		"orders", "Orders", "orders.eu", "ack.orders", "amq.", "amq.orders", "amqorders", "AMQ.orders", "waybill",
		long, long[:254] + "y", "amq." + long[:251], "amq." + long[:250], wide, wide[:252] + "é", strings.Repeat("é", 127) + "a", strings.Repeat("é", 128),
	}
	seen := map[string]string{}
	keep := func(mapped, from string) {
		t.Helper()
		if before, ok := seen[mapped]; ok {
			t.Errorf("%q and %q are both %q", before, from, mapped)
		}
		seen[mapped] = from
		if len(mapped) > maxName || !utf8.ValidString(mapped) || strings.HasPrefix(mapped, reserved) {
			t.Errorf("%q becomes %q, of %d bytes; want valid UTF-8 of at most %d without %s", from, mapped, len(mapped), maxName, reserved)
		}
	}
	for _, name := range names {
		keep(entity(name), name)
		for _, group := range []string{"g", "g.h", long, wide} {
			keep(groupQueue(name, group), name+" with the group "+group)
		}
	}
	for _, plain := range []string{"orders", "orders.eu", "ack.orders", "orders/漢字", long} {
		if entity(plain) != plain {
			t.Errorf("%q becomes %q, want it as it is", plain, entity(plain))
		}
	}
	if got := groupQueue("orders", "shipping"); got != "orders>shipping" {
		t.Errorf("the queue of a group is %q, want orders>shipping", got)
	}
}

// The test is the broker: in whatever order deliveries are settled, each tag is settled
// exactly once, by a frame of its own or one for many.
func TestEachDeliveryTagIsSettledOnce(t *testing.T) {
	const n = 2000
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		tags := deliveryTags{next: 1}
		outstanding := map[uint64]bool{}
		tokens := make([]*token, n)
		for i := range tokens {
			tokens[i] = &token{tag: uint64(i + 1)}
			outstanding[uint64(i+1)] = true
		}
		// Mostly in order, as handlers settle.
		for i := range tokens {
			k := min(n-1, i+random.IntN(1+int(seed)*int(seed)))
			tokens[i], tokens[k] = tokens[k], tokens[i]
		}
		frames := 0
		for i := 0; i < n; {
			size := min(1+random.IntN(40), n-i)
			batch := map[uint64]bool{}
			for _, t := range tokens[i : i+size] {
				batch[t.tag] = true
			}
			given := slices.Clone(tokens[i : i+size])
			if i > 0 {
				given = append(given, tokens[random.IntN(i)]) // one again
			}
			err := tags.settle(given, func(tag uint64, multiple bool) error {
				frames++
				if !outstanding[tag] {
					t.Fatalf("seed %d: tag %d is settled again, want once", seed, tag)
				}
				for low := uint64(1); low <= tag; low++ {
					if (low == tag || multiple) && outstanding[low] {
						if !batch[low] {
							t.Fatalf("seed %d: tag %d is settled, want it left", seed, low)
						}
						delete(outstanding, low)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(tags.settled) > len(outstanding) {
				t.Fatalf("seed %d: %d runs are remembered while %d tags are not settled", seed, len(tags.settled), len(outstanding))
			}
			i += size
		}
		if len(outstanding) > 0 || len(tags.settled) > 0 {
			t.Fatalf("seed %d: %d tags are not settled, %d are remembered; want none", seed, len(outstanding), len(tags.settled))
		}
		if seed == 0 && frames > n/10 {
			t.Errorf("%d tags in order took %d frames, want at most %d", n, frames, n/10)
		}
	}
}

func TestAMessageThatIsHeldCostsNoMemoryForThoseSettledBehindIt(t *testing.T) {
	const window, n = 10, 10_001
	tags := deliveryTags{next: 1}
	sent := 0
	send := func(_ uint64, multiple bool) error {
		if sent++; multiple {
			t.Error("a frame for many would have settled the one that is held")
		}
		return nil
	}
	for tag := uint64(2); tag < n; tag += 2 { // the first is held, and two at a time are settled in the wrong order
		if err := tags.settle([]*token{{tag: tag + 1}}, send); err != nil {
			t.Fatal(err)
		}
		if err := tags.settle([]*token{{tag: tag}}, send); err != nil {
			t.Fatal(err)
		}
		if len(tags.settled) > window {
			t.Fatalf("%d are remembered after %d messages, want %d at most", len(tags.settled), tag, window)
		}
	}
	if err := tags.settle([]*token{{tag: 1}}, send); err != nil {
		t.Fatal(err)
	}
	if tags.next != n+1 || len(tags.settled) != 0 || sent != n {
		t.Errorf("next is %d, %d runs are remembered, %d frames were sent", tags.next, len(tags.settled), sent)
	}
}

// The library closes both notices when the channel ends.
func TestTheEndOfAChannelIsNotTakenForThatOfItsQueue(t *testing.T) {
	timedOut := &amqp.Error{Code: amqp.PreconditionFailed, Reason: "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 2000 ms.", Server: true}
	for _, c := range []struct {
		name      string
		exception *amqp.Error
		cancelled bool
		want      string
	}{
		{"an exception", &amqp.Error{Code: amqp.InternalError, Reason: "boom", Server: true}, false, "boom"},
		{"the consumer_timeout", timedOut, false, "consumer_timeout"},
		{"a deleted queue", nil, true, errCancelled.Error()},
		{"our own close", nil, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 100 {
				r := &receiver{closes: make(chan *amqp.Error, 1), cancels: make(chan string, 1)}
				if c.exception != nil {
					r.closes <- c.exception
				}
				if c.cancelled {
					r.cancels <- "tag"
				} else {
					close(r.closes)
					close(r.cancels)
				}
				got := ""
				if err := r.reason(); err != nil {
					got = err.Error()
				}
				if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
					t.Fatalf("got %q, want a reason with %q", got, c.want)
				}
			}
		})
	}
}
