package relay

import (
	"testing"
	"time"
)

// bank is a broker's queue and its one consumer, in the time of a bench.
type bank struct {
	*bench
	queue  []*inflight
	done   map[*inflight]bool
	rest   time.Duration // until the consumer has done with the first of queue
	cost   time.Duration // of a message; a copy costs a hundredth
	frozen bool
	copies int
}

func newBank(t *testing.T, cost time.Duration) *bank {
	t.Helper()
	b := &bank{bench: newBench(t, Options{}), done: map[*inflight]bool{}, cost: cost}
	b.steadily(50 * time.Millisecond)
	return b
}

func (b *bank) sends(n int) []*inflight {
	all := b.bench.sends(n)
	b.queue = append(b.queue, all...)
	return all
}

// passes lets time go by.
func (b *bank) passes(d time.Duration) {
	const tick = 20 * time.Millisecond
	for end := b.clock + d; b.clock < end; {
		b.clock += tick
		for _, f := range b.overdue(b.clock, 500) {
			b.publishes(f)
			b.copies++
			b.queue = append(b.queue, f)
		}
		if b.frozen {
			continue
		}
		var confirmed []*inflight
		for b.rest -= tick; b.rest <= 0 && len(b.queue) > 0; {
			f := b.queue[0]
			b.queue = b.queue[1:]
			if b.done[f] {
				b.rest += b.cost / 100
				continue
			}
			b.done[f] = true
			b.rest += b.cost
			confirmed = append(confirmed, f)
		}
		b.rest = max(b.rest, 0)
		if len(confirmed) > 0 {
			b.confirms(confirmed...)
		}
	}
}

func TestAConsumerThatNeedsLongerThanMaxResendIsNotFlooded(t *testing.T) {
	b := newBank(t, 50*time.Millisecond)
	b.sends(4_000) // 200 s of work, with 60 s for MaxResend
	b.passes(3 * time.Minute)
	b.sends(4_000)
	b.passes(5 * time.Minute)
	if len(b.window) > 0 {
		t.Fatalf("%d messages are not confirmed", len(b.window))
	}
	if b.copies > 50 {
		t.Errorf("%d copies of 8,000 messages, of which none was lost", b.copies)
	}
}

func TestAConsumerThatWakesUpBeforeAFullQueueIsNotFlooded(t *testing.T) {
	b := newBank(t, 100*time.Millisecond)
	b.sends(3_000)
	b.frozen = true
	b.passes(10 * time.Minute)
	b.frozen = false
	b.passes(6 * time.Minute)
	if len(b.window) > 0 {
		t.Fatalf("%d messages are not confirmed", len(b.window))
	}
	if b.copies > 50 {
		t.Errorf("%d copies of 3,000 messages, of which none was lost", b.copies)
	}
}

func TestASlowConsumerGetsBackWhatTheBrokerHasLost(t *testing.T) {
	b := newBank(t, 50*time.Millisecond)
	b.sends(1_000)
	b.queue = nil // it lost everything
	b.passes(5 * time.Minute)
	if len(b.window) > 0 {
		t.Fatalf("%d messages are not confirmed", len(b.window))
	}
	if b.copies > 3_000 {
		t.Errorf("%d copies of 1,000 lost messages", b.copies)
	}
}

func TestMessagesThatNobodyAnswersDoNotKeepOthersFromBeingSentAgain(t *testing.T) {
	for _, first := range []bool{true, false} {
		b := newBank(t, time.Millisecond)
		all := b.sends(2_000)
		b.queue = nil // it lost everything
		bad := all[:3]
		if !first {
			bad = all[len(all)-3:]
		}
		for _, f := range bad {
			b.done[f] = true // as a foreign consumer that takes it and says nothing
		}
		b.passes(2 * time.Minute)
		if len(b.window) != len(bad) {
			t.Errorf("bad ones first: %v: %d messages are not confirmed, want the %d that nobody answers", first, len(b.window), len(bad))
		}
	}
}

func TestAConnectionThatComesAndGoesBringsNoFlood(t *testing.T) {
	b := newBank(t, time.Millisecond)
	b.sends(1_000)
	b.frozen = true
	for range 20 {
		b.reconnected(true, b.clock)
		b.passes(500 * time.Millisecond)
	}
	if b.copies > 5_000 {
		t.Errorf("%d copies of 1,000 messages after 20 connections", b.copies)
	}
}
