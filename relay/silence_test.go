package relay

import (
	"testing"
	"time"
)

// simulation is a broker's queue and its one consumer, in the time of a steppedLane.
type simulation struct {
	*steppedLane
	queue  []*inflight
	done   map[*inflight]bool
	rest   time.Duration // until the consumer has done with the first of queue
	cost   time.Duration // of a message; a copy costs a hundredth
	frozen bool
	copies int
}

func newSimulation(t *testing.T, cost time.Duration) *simulation {
	t.Helper()
	b := &simulation{steppedLane: newSteppedLane(t, Options{}), done: map[*inflight]bool{}, cost: cost}
	b.steadily(50 * time.Millisecond)
	return b
}

func (b *simulation) sends(n int) []*inflight {
	all := b.steppedLane.sends(n)
	b.queue = append(b.queue, all...)
	return all
}

// passes lets time go by.
func (b *simulation) passes(d time.Duration) {
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
	b := newSimulation(t, 50*time.Millisecond)
	b.sends(4_000) // 200 s of work, with 60 s for MaxResend
	b.passes(3 * time.Minute)
	b.sends(4_000)
	b.passes(5 * time.Minute)
	if len(b.window) > 0 {
		t.Fatalf("%d messages are not confirmed, want none", len(b.window))
	}
	if b.copies > 50 {
		t.Errorf("sent %d copies of 8,000 messages of which none was lost, want 50 at most", b.copies)
	}
}

func TestAConsumerThatWakesUpBeforeAFullQueueIsNotFlooded(t *testing.T) {
	b := newSimulation(t, 100*time.Millisecond)
	b.sends(3_000)
	b.frozen = true
	b.passes(10 * time.Minute)
	b.frozen = false
	b.passes(6 * time.Minute)
	if len(b.window) > 0 {
		t.Fatalf("%d messages are not confirmed, want none", len(b.window))
	}
	if b.copies > 50 {
		t.Errorf("sent %d copies of 3,000 messages of which none was lost, want 50 at most", b.copies)
	}
}

func TestASlowConsumerGetsBackWhatTheBrokerHasLost(t *testing.T) {
	b := newSimulation(t, 50*time.Millisecond)
	b.sends(1_000)
	b.queue = nil // it lost everything
	b.passes(5 * time.Minute)
	if len(b.window) > 0 {
		t.Fatalf("%d messages are not confirmed, want none", len(b.window))
	}
	if b.copies > 3_000 {
		t.Errorf("sent %d copies of 1,000 lost messages, want 3,000 at most", b.copies)
	}
}

func TestMessagesThatNobodyAnswersDoNotKeepOthersFromBeingSentAgain(t *testing.T) {
	const messages, bad = 2_000, 3
	for _, c := range []struct {
		name string
		from int // the first message that nobody answers
	}{{"the oldest", 0}, {"the newest", messages - bad}} {
		t.Run(c.name, func(t *testing.T) {
			b := newSimulation(t, time.Millisecond)
			all := b.sends(messages)
			b.queue = nil // it lost everything
			for _, f := range all[c.from : c.from+bad] {
				b.done[f] = true // as a foreign consumer that takes it and says nothing
			}
			b.passes(2 * time.Minute)
			if len(b.window) != bad {
				t.Errorf("%d messages are not confirmed, want the %d that nobody answers", len(b.window), bad)
			}
		})
	}
}

func TestAConnectionThatComesAndGoesBringsNoFlood(t *testing.T) {
	b := newSimulation(t, time.Millisecond)
	b.sends(1_000)
	b.frozen = true
	for range 20 {
		b.reconnected(true, b.clock)
		b.passes(500 * time.Millisecond)
	}
	if b.copies > 5_000 {
		t.Errorf("sent %d copies of 1,000 messages over 20 connections, want 5,000 at most", b.copies)
	}
}
