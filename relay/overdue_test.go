package relay

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
)

// lossy is a relay whose broker, in the bubble's time, loses everything that it confirms.
type lossy struct {
	*steppedTerm
	began time.Time
	sent  map[int64][]time.Duration // when each row was sent, since the beginning
}

// looks lets all loops look once, and again as long as there is more to do.
func (s *lossy) looks() {
	s.t.Helper()
	for busy := true; busy; {
		busy = false
		for _, l := range s.loops {
			busy = l.once(s.t.Context(), s.term) || busy
		}
	}
}

// takes has the lane of "orders" begin to publish what is queued.
func (s *lossy) takes() []outgoing {
	batch := s.lanes[laneKey{destination: "orders"}].take()
	s.note(batch)
	return batch
}

func (s *lossy) note(batch []outgoing) {
	for _, x := range batch {
		s.sent[x.f.row] = append(s.sent[x.f.row], time.Since(s.began))
	}
}

// answers is the broker's answer to a batch: one fate for each, or one for all.
func (s *lossy) answers(batch []outgoing, connection int, fates ...broker.Fate) {
	results := make([]broker.Result, len(batch))
	for i := range results {
		results[i] = broker.Result{Fate: fates[min(i, len(fates)-1)], Err: errors.New("as the test has it")}
	}
	batch[0].f.lane.noteFates(batch, results, connection)
}

// passes lets time go by while the relay works and the broker confirms at once.
func (s *lossy) passes(d time.Duration) {
	s.t.Helper()
	idle := 0
	for end := time.Now().Add(d); time.Now().Before(end); {
		s.looks()
		published := false
		for _, l := range slices.Clone(s.order) {
			for batch := l.take(); len(batch) > 0; batch = l.take() {
				s.note(batch)
				s.answers(batch, s.connection, broker.Confirmed)
				published = true
			}
		}
		if published {
			idle = 0
			continue
		}
		idle = s.waitUntil(idle, end)
	}
}

// receipts has the consumer confirm rows.
func (s *lossy) receipts(consumer string, rows ...int64) {
	s.t.Helper()
	ids := s.messages()
	all := s.rowIDs()
	for _, row := range rows {
		s.say(consumer, waybill.Done, ids[slices.Index(all, row)])
	}
}

func (s *lossy) rowIDs() (ids []int64) {
	s.t.Helper()
	rows, err := s.r.queue.Scan(s.t.Context(), 0, 100_000, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return ids
}

// wantCopy checks when the last copy of a row was sent.
func (s *lossy) wantCopy(row int64, copies int, from, to time.Duration) {
	s.t.Helper()
	const slack = 150 * time.Millisecond // between looks
	times := s.sent[row]
	if len(times) < copies {
		s.t.Fatalf("row %d was sent at %v; want copy %d from %v to %v", row, times, copies, from, to)
	}
	if at := times[copies-1]; at < from || at > to+slack {
		s.t.Errorf("row %d was sent at %v; want copy %d from %v to %v", row, times, copies, from, to)
	}
}

// Whatever happens at the moment at which a message or its receipt is lost, the message is
// sent again when its time-out is over.
func TestNoTimeoutIsMissed(t *testing.T) {
	const first, least = 5 * time.Second, time.Second // FirstResend, MinResend
	learns := func(s *lossy, n int) {                 // n times that a receipt takes 1 ms
		for range n {
			s.insert(1, 1)
			s.looks()
			s.answers(s.takes(), s.connection, broker.Confirmed)
			time.Sleep(time.Millisecond) // of the bubble's time
			ids := s.rowIDs()
			s.receipts("shop", ids[len(ids)-1])
			s.looks()
		}
	}
	for _, c := range []struct {
		name   string
		o      Options
		cursor int64
		loses  func(s *lossy)
	}{
		{name: "the lane is looked at while the first batch is being published", loses: func(s *lossy) {
			s.insert(1, 1)
			s.looks()
			batch := s.takes()
			s.looks()
			time.Sleep(10 * time.Millisecond) // of the bubble's time
			s.looks()
			s.answers(batch, s.connection, broker.Confirmed)
			s.passes(20 * time.Second)
			s.wantCopy(1, 2, first, first)
		}},
		{name: "the lane is looked at while the copy is being published", loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(4 * time.Second)
			for len(s.sent[1]) < 2 {
				s.looks()
				if batch := s.takes(); len(batch) > 0 {
					s.looks()
					time.Sleep(100 * time.Millisecond) // of the bubble's time
					s.looks()
					s.answers(batch, s.connection, broker.Confirmed)
					break
				}
				s.wait(0)
			}
			s.passes(60 * time.Second)
			s.wantCopy(1, 3, 2*first, 3*first)
		}},
		{name: "another message is being published when it is overdue", loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(first - 10*time.Millisecond)
			s.insert(1, 1)
			s.looks()
			batch := s.takes()
			time.Sleep(10 * time.Millisecond) // of the bubble's time
			s.looks()
			s.looks()
			s.answers(batch, s.connection, broker.Confirmed)
			s.passes(20 * time.Second)
			s.wantCopy(1, 2, first, first)
		}},
		{name: "the time-out is learnt after it was sent", loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(100 * time.Millisecond)
			s.insert(1, 1)
			s.passes(10 * time.Millisecond)
			s.receipts("shop", 2)
			s.passes(20 * time.Second)
			s.wantCopy(1, 2, least, least)
		}},
		{name: "the time-out is learnt from a message that was sent before it", loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(100 * time.Millisecond)
			s.insert(1, 1)
			s.passes(10 * time.Millisecond)
			s.receipts("shop", 1)
			s.passes(20 * time.Second)
			s.wantCopy(2, 2, 100*time.Millisecond+least, 110*time.Millisecond+least)
		}},
		{name: "the time-out becomes shorter", loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(4 * time.Second)
			s.receipts("shop", 1) // it is 12 s
			at := time.Since(s.began)
			s.insert(1, 1)
			s.passes(10 * time.Millisecond)
			learns(s, 50)
			if now := s.order[0].timeout(); now != least {
				s.t.Fatalf("the time-out is %v, want %v", now, least)
			}
			s.passes(20 * time.Second)
			s.wantCopy(2, 2, at+least, at+least)
		}},
		{name: "it is proven lost while its consumer looked down", loses: func(s *lossy) {
			s.insert(2, 1)
			s.passes(70 * time.Second) // probes of row 2, at longer and longer intervals
			at := time.Since(s.began)
			s.insert(1, 1)
			s.passes(10 * time.Millisecond)
			s.receipts("shop", 3)
			s.passes(20 * time.Second)
			if !slices.ContainsFunc(s.sent[1], func(sent time.Duration) bool { return at <= sent && sent <= at+100*time.Millisecond }) {
				s.t.Errorf("row 1 was sent at %v, want a copy at %v", s.sent[1], at)
			}
		}},
		{name: "a receipt of a message sent once ends a silence, and proves nothing", loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(10 * time.Millisecond)
			s.insert(2, 1)
			s.passes(70 * time.Second) // probes of row 3
			at := time.Since(s.began)
			s.receipts("shop", 1)
			s.passes(20 * time.Second)
			if took := slices.Max([]time.Duration{s.sent[2][len(s.sent[2])-1], s.sent[3][len(s.sent[3])-1]}); took < at || len(s.sent[2]) < 2 {
				s.t.Errorf("sent at %v and %v, want a copy after %v", s.sent[2], s.sent[3], at)
			}
		}},
		{name: "a message that nobody ever answers is under way", loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(50 * time.Millisecond)
			learns(s, 20)
			s.passes(30 * time.Second) // row 1 is sent again and again
			learns(s, 20)
			at := time.Since(s.began)
			s.insert(1, 1)
			s.passes(20 * time.Second)
			s.wantCopy(42, 2, at+least, at+least)
		}},
		{name: "a receipt proves it lost after its time-out", loses: func(s *lossy) {
			learns(s, 20)
			s.insert(1, 1) // row 21
			s.passes(100 * time.Millisecond)
			s.insert(1, 1)
			s.passes(850 * time.Millisecond)
			s.receipts("shop", 21) // somebody is working
			s.passes(200 * time.Millisecond)
			at := time.Since(s.began)
			s.insert(1, 1)
			s.passes(50 * time.Millisecond)
			s.receipts("shop", 23)
			s.passes(20 * time.Second)
			s.wantCopy(22, 2, at, at+50*time.Millisecond)
		}},
		{name: "a receipt of what the last holder has sent ends a silence", cursor: 9, loses: func(s *lossy) {
			s.insert(9, 1)
			s.passes(70 * time.Second) // probes at 5 s, 15 s, 35 s and 75 s
			at := time.Since(s.began)
			s.receipts("shop", 1)
			s.passes(20 * time.Second)
			rows := 0
			for _, sent := range s.sent {
				if slices.ContainsFunc(sent, func(sent time.Duration) bool { return at < sent && sent <= at+first+100*time.Millisecond }) {
					rows++
				}
			}
			if rows == 0 {
				s.t.Errorf("sent at %v, want a copy within %v of %v", s.sent, first, at)
			}
		}},
		{name: "its consumer asks for a retry", loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(100 * time.Millisecond)
			at := time.Since(s.began)
			s.settleOne(s.t.Context(), slowReceipt{consumerReceipt: consumerReceipt{waybill.Receipt{ID: s.messages()[0], Outcome: waybill.Retry, After: time.Millisecond}, "shop"}})
			time.Sleep(2 * time.Millisecond)                                 // of the bubble's time
			for len(s.sent[1]) < 2 && time.Since(s.began) < at+time.Minute { // the database's clock is not the bubble's
				s.passes(100 * time.Millisecond)
			}
			at = s.sent[1][1]
			s.passes(20 * time.Second)
			s.wantCopy(1, 3, at+least, at+first)
		}},
		{name: "it was delayed and has become due", loses: func(s *lossy) {
			s.insert(1, 1)
			s.exec(`UPDATE qmessage SET not_before = 1`)
			s.looks()
			s.passes(20 * time.Second)
			s.wantCopy(1, 2, first, first+s.r.o.Poll)
		}},
		{name: "enough waits for the broker when it is overdue", o: Options{BatchBytes: 1000}, loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(time.Second)
			s.insert(1, 2000)
			s.looks() // queued, and the broker takes nothing
			for time.Since(s.began) < 8*time.Second {
				s.looks()
				s.wait(0)
			}
			s.passes(20 * time.Second)
			s.wantCopy(1, 2, 8*time.Second, 8*time.Second)
		}},
		{name: "the connection is a new one before the broker's answer is noted", loses: func(s *lossy) {
			s.insert(1, 1)
			s.looks()
			batch := s.takes()
			s.reconnects()
			s.looks()
			s.answers(batch, s.connection-1, broker.Unknown)
			s.passes(time.Second)
			s.wantCopy(1, 2, 0, 0)
		}},
		{name: "it travels transient, and the connection is a new one before the broker's confirmation is noted",
			o: Options{Default: Destination{Transport: waybill.Transient}}, loses: func(s *lossy) {
				s.insert(1, 1)
				s.looks()
				batch := s.takes()
				s.reconnects()
				s.looks()
				s.answers(batch, s.connection-1, broker.Confirmed)
				s.passes(time.Second)
				s.wantCopy(1, 2, 0, 0)
			}},
		{name: "the connection is a new one after the broker did not answer", loses: func(s *lossy) {
			s.insert(1, 1)
			s.looks()
			s.answers(s.takes(), s.connection, broker.Unknown)
			s.passes(time.Second)
			s.reconnects()
			s.passes(time.Second)
			s.wantCopy(1, 2, time.Second, time.Second)
		}},
		{name: "the publishing fails by half", loses: func(s *lossy) {
			s.insert(2, 1)
			s.looks()
			batch := s.takes()
			s.looks()
			s.answers(batch, s.connection, broker.Confirmed, broker.Unknown)
			s.passes(20 * time.Second)
			s.wantCopy(1, 2, first, first)
			s.wantCopy(2, 2, first, first)
		}},
		{name: "the broker refuses it", loses: func(s *lossy) {
			s.insert(1, 1)
			s.looks()
			batch := s.takes()
			s.looks()
			s.answers(batch, s.connection, broker.Refused)
			s.passes(time.Second)
			s.wantCopy(1, 2, 0, 0)
		}},
		{name: "the last holder has sent it", cursor: 50, loses: func(s *lossy) {
			s.insert(51, 1)
			scan := s.loops[slices.IndexFunc(s.loops, func(l *loop) bool { return l.found != nil })]
			scan.once(s.t.Context(), s.term)
			batch := s.takes() // row 51
			s.looks()          // and the sweep
			s.answers(batch, s.connection, broker.Confirmed)
			s.passes(first + 100*time.Millisecond)
			s.wantCopy(51, 2, first, first) // the probe
			s.receipts("shop", 51)
			at := time.Since(s.began)
			s.passes(20 * time.Second)
			s.wantCopy(1, 1, at, at)
		}},
		{name: "the last holder has sent it, and its lane was looked at before", cursor: 1, loses: func(s *lossy) {
			s.insert(1, 1)
			rows, err := s.r.queue.Sweep(s.t.Context(), 0, 1, 10)
			if err != nil {
				s.t.Fatal(err)
			}
			s.mu.Lock()
			s.laneOf("orders", false)
			s.mu.Unlock()
			s.pump.overdue() // it is empty
			s.term.adopt(&rows[0])
			s.overtaken = nil
			s.pump.adoptTo.Store(0)
			s.passes(20 * time.Second)
			s.wantCopy(1, 1, first, first)
		}},
		{name: "the process is stopped for an hour", loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(time.Second)
			time.Sleep(time.Hour) // of the bubble's time
			s.passes(20 * time.Second)
			s.wantCopy(1, 2, time.Hour+time.Second, time.Hour+first)
		}},
		{name: "the broker is away for an hour", loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(time.Second)
			s.mu.Lock()
			s.clock.run(false)
			s.mu.Unlock()
			time.Sleep(time.Hour) // of the bubble's time
			s.reconnects()
			s.passes(20 * time.Second)
			s.wantCopy(1, 2, time.Hour+first, time.Hour+first)
		}},
		{name: "the table cannot be read when it is overdue", loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(first - 100*time.Millisecond)
			s.exec(`ALTER TABLE qmessage RENAME TO gone`)
			s.passes(time.Second)
			s.exec(`ALTER TABLE gone RENAME TO qmessage`)
			s.passes(20 * time.Second)
			s.wantCopy(1, 2, first, first+3*time.Second)
		}},
		{name: "one of its named consumers has confirmed", o: named(100), loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(100 * time.Millisecond)
			s.receipts("shop", 1)
			s.passes(20 * time.Second)
			s.wantCopy(1, 2, least, least)
			s.wantCopy(1, 3, 2*least, 4*least)
		}},
		{name: "one copy is for two of its named consumers", o: Options{
			Default: Destination{Consumers: []string{"shop", "audit", "archive"}}, FirstResend: least,
		}, loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(100 * time.Millisecond)
			s.receipts("shop", 1)
			s.passes(1200 * time.Millisecond)
			s.wantCopy(1, 2, least, least) // one for both
			s.receipts("audit", 1)
			s.passes(20 * time.Second)
			s.wantCopy(1, 3, 2*least, 2*least)
		}},
		{name: "named consumers had been slower", o: Options{
			Default: Destination{Consumers: []string{"shop", "audit"}},
		}, loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(10 * time.Millisecond)
			s.receipts("shop", 1) // it would be parked after 5 s
			s.insert(1, 1)
			s.passes(10 * time.Millisecond)
			s.receipts("shop", 2)
			s.receipts("audit", 2)
			s.passes(20 * time.Second)
			s.wantCopy(1, 2, least, least)
		}},
		{name: "its row is locked, and too many are", loses: func(s *lossy) {
			s.insert(1, 1)
			s.passes(100 * time.Millisecond)
			s.mu.Lock()
			for _, f := range s.inflights {
				f.state = settling
			}
			s.mu.Unlock()
			s.looks()
			s.passes(20 * time.Second)
			at := time.Since(s.began)
			s.waitAgain(s.messages())
			s.passes(20 * time.Second)
			s.wantCopy(1, 2, at, at)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := c.o
			inBubble(t, o, func(t *testing.T, s *steppedTerm) {
				if c.cursor > 0 {
					s.cursor, s.overtaken = c.cursor, map[waybill.ID][]string{}
					s.pump.adoptTo.Store(c.cursor)
				}
				s.connection = 1
				l := &lossy{s, time.Now(), map[int64][]time.Duration{}}
				c.loses(l)
			})
		})
	}
}

// reconnects has the connection followed by another one.
func (s *lossy) reconnects() {
	l := &link{t: s.term, up: make(chan struct{}), wasConnected: true}
	l.open(context.Background(), nil, func() {})
}
