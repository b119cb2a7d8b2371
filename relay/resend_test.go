package relay

import (
	"fmt"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/option"
)

// steppedLane is a lane without a database or a broker, and with a clock of its own.
type steppedLane struct {
	*lane
	clock time.Duration
	rows  int64
}

func newSteppedLane(t *testing.T, o Options) *steppedLane {
	t.Helper()
	o.Producer = "waybill"
	var check option.Check
	options := o.withDefaults(&check)
	if err := check.Err("relay options"); err != nil {
		t.Fatal(err)
	}
	term := &term{r: &Relay{o: options}, lanes: map[laneKey]*lane{}, inflights: map[waybill.ID]*inflight{}, start: func(*lane) {}, woken: make(chan struct{}, 1), maxLanes: 1}
	return &steppedLane{lane: term.laneOf("orders", false)}
}

// sends publishes n new messages now and returns them.
func (b *steppedLane) sends(n int) []*inflight {
	var all []*inflight
	for range n {
		b.rows++
		f := &inflight{row: b.rows, id: waybill.NewID(), lane: b.lane}
		b.window[f.id], b.t.inflights[f.id] = f, f
		b.publishes(f)
		all = append(all, f)
	}
	return all
}

// publishes is what lane.take and lane.send do to a message.
func (b *steppedLane) publishes(f *inflight) {
	f.copies++
	f.state, f.sent = waiting, b.clock
	b.arm(b.clock+b.timeout(), b.clock)
}

// confirms is what receipts do.
func (b *steppedLane) confirms(all ...*inflight) {
	b.noteReceipts(all, b.clock)
	for _, f := range all {
		b.drop(f)
	}
}

// passes lets time go by and publishes what is due, in steps; it returns how many
// copies were sent.
func (b *steppedLane) passes(d time.Duration) int {
	copies := 0
	for end := b.clock + d; b.clock < end; {
		b.clock += 20 * time.Millisecond
		for _, f := range b.overdue(b.clock, 500) {
			b.publishes(f)
			copies++
		}
	}
	return copies
}

// steadily makes the lane used to confirmations after rtt.
func (b *steppedLane) steadily(rtt time.Duration) {
	for range 50 {
		all := b.sends(10)
		b.clock += rtt
		b.confirms(all...)
	}
}

func TestNothingIsSentAgainWhileConfirmationsKeepTheirTime(t *testing.T) {
	b := newSteppedLane(t, Options{MinResend: 200 * time.Millisecond})
	for range 100 {
		all := b.sends(100)
		if copies := b.passes(100 * time.Millisecond); copies != 0 {
			t.Fatalf("sent %d copies, want none", copies)
		}
		b.confirms(all...)
	}
}

func TestAMessageOvertakenByItsSiblingsIsSentAgainAfterItsTimeout(t *testing.T) {
	b := newSteppedLane(t, Options{MinResend: 200 * time.Millisecond})
	b.steadily(50 * time.Millisecond)
	lost := b.sends(3)
	b.passes(100 * time.Millisecond)
	later := b.sends(10)
	if copies := b.passes(60 * time.Millisecond); copies != 0 {
		t.Fatalf("sent %d copies before the time-out, want none", copies)
	}
	b.confirms(later...)
	if copies := b.passes(200 * time.Millisecond); copies != len(lost) {
		t.Errorf("sent %d copies, want one for each of the %d lost", copies, len(lost))
	}
}

func TestASilentDestinationIsProbedAndNotFlooded(t *testing.T) {
	b := newSteppedLane(t, Options{MinResend: 200 * time.Millisecond, MaxResend: time.Minute})
	b.steadily(50 * time.Millisecond)
	b.sends(10_000)
	if copies := b.passes(10 * time.Second); copies == 0 || copies > 10 {
		t.Errorf("sent %d copies in 10 s of silence, want 1 to 10 probes", copies)
	}
	if copies := b.passes(10 * time.Minute); copies > 25 {
		t.Errorf("sent %d copies in 10 min of silence with a probe a minute, want 25 at most", copies)
	}
}

func TestABrokerThatLostEverythingIsRefilledInSlowStart(t *testing.T) {
	b := newSteppedLane(t, Options{MinResend: 200 * time.Millisecond})
	b.steadily(50 * time.Millisecond)
	b.sends(5_000)
	rounds, most := 0, 0
	for len(b.window) > 0 {
		if rounds++; rounds > 5_000 {
			t.Fatalf("%d messages are still waiting after 5,000 rounds, want none", len(b.window))
		}
		b.clock += 20 * time.Millisecond
		var copies []*inflight
		for _, f := range b.overdue(b.clock, 500) {
			b.publishes(f)
			copies = append(copies, f)
		}
		most = max(most, len(copies))
		b.clock += 10 * time.Millisecond
		if len(copies) > 0 {
			b.confirms(copies...)
		}
	}
	if seconds := b.clock.Seconds() - 50*0.05; seconds > 10 {
		t.Errorf("recovery took %.1f s, want 10 s at most", seconds)
	}
	if most < 100 {
		t.Errorf("sent %d copies at once at most, want 100 or more in the end of a slow start", most)
	}
}

func TestASlowConsumerGetsFewCopies(t *testing.T) {
	b := newSteppedLane(t, Options{MinResend: 200 * time.Millisecond})
	b.steadily(50 * time.Millisecond)
	all := b.sends(2_000)
	copies := 0
	for len(all) > 0 { // 100 a second, in order, where thousands a second were usual
		copies += b.passes(100 * time.Millisecond)
		b.confirms(all[:10]...)
		all = all[10:]
	}
	if copies > 100 {
		t.Errorf("sent %d copies of 2,000 messages to a consumer that is merely slow, want 100 at most", copies)
	}
}

func TestAfterAReconnectOnlyWhatMayBeLostIsSentAgain(t *testing.T) {
	for _, c := range []struct {
		transient bool
		want      int
	}{{false, 5}, {true, 25}} {
		t.Run(fmt.Sprintf("transient %v", c.transient), func(t *testing.T) {
			b := newSteppedLane(t, Options{})
			b.steadily(50 * time.Millisecond)
			b.sends(20)
			for _, f := range b.sends(5) {
				f.state = unsure
			}
			b.reconnected(c.transient, b.clock)
			if copies := b.passes(40 * time.Millisecond); copies != c.want {
				t.Errorf("sent %d again, want %d", copies, c.want)
			}
		})
	}
}

func TestTheTimeoutFollowsTheConfirmations(t *testing.T) {
	e := estimator{first: 5 * time.Second, least: time.Second, most: time.Minute}
	if e.timeout() != 5*time.Second {
		t.Errorf("before any sample: got %v, want the first, 5s", e.timeout())
	}
	for range 100 {
		e.sample(10 * time.Second)
	}
	if got := e.timeout(); got < 10*time.Second || got > 11*time.Second {
		t.Errorf("after a steady 10 s: got %v, want 10s to 11s", got)
	}
	for range 100 {
		e.sample(time.Millisecond)
	}
	if got := e.timeout(); got != time.Second {
		t.Errorf("after a steady 1 ms: got %v, want the least, 1s", got)
	}
	for range 100 {
		e.sample(time.Hour)
	}
	if got := e.timeout(); got != time.Minute {
		t.Errorf("after a steady 1 h: got %v, want the most, 1m0s", got)
	}
}
