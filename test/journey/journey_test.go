package journey

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/relay"
)

// onEach runs a test on each kind of database.
func onEach(t *testing.T, test func(t *testing.T, d database)) {
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) { test(t, d) })
	}
}

var errRollback = errors.New("rolled back on purpose")

// produce commits n messages from several goroutines, half of them states of a few
// keys, and rolls back a tenth beside them.
func (w *world) produce(n int) {
	w.t.Helper()
	if w.database.dialect.Capabilities().SingleWriter {
		n /= 2 // whose commits wait for each other
	}
	var senders sync.WaitGroup
	const each = 4
	for s := range each {
		senders.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(s), 7))
			for i := range n / each {
				m := waybill.Message{Destination: "events", Body: fmt.Appendf(nil, "event %d of %d", i, s)}
				if i%2 == 0 {
					m.Destination, m.Key = "states", fmt.Sprintf("order %d", dice.IntN(20))
				}
				err := w.out.InTx(context.Background(), w.producer, func(tx *sql.Tx) error {
					if err := w.write(context.Background(), tx, m); err != nil {
						return err
					}
					if dice.IntN(10) == 0 {
						return errRollback
					}
					return nil
				})
				if err != nil && !errors.Is(err, errRollback) {
					w.t.Errorf("send: %v", err)
					return
				}
			}
		})
	}
	senders.Wait()
}

func TestEveryMessageTakesEffectOnceAndItsRowGoes(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.resendsNever()
		r := w.relay()
		in := w.inbox()
		w.runs(r.Run)
		w.runs(in.Run)
		w.produce(1000)
		w.emptied(60 * time.Second)
		w.judge()
		if s := r.Stats(); s.Copies > 0 {
			t.Errorf("sent %d copies without any fault, want none", s.Copies)
		}
	})
}

func TestABrokerThatLosesRepeatsAndReordersChangesNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		b := memory.New(nil)
		b.SetFaults(memory.Fault{Lose: 0.3, Repeat: 0.3, Reorder: 0.3, Late: 0.1, Delay: 100 * time.Millisecond, Doubt: 0.05})
		w := newWorld(t, d, b)
		r := w.relay()
		in := w.inbox()
		w.runs(r.Run)
		w.runs(in.Run)
		w.produce(1000)
		w.emptied(60 * time.Second)
		w.judge()
		if s, i := r.Stats(), in.Stats(); s.Copies == 0 || i.Duplicates == 0 || i.Superseded == 0 {
			t.Errorf("the faults put nothing to the test: got %+v and %+v, want copies, duplicates and superseded states", s, i)
		}
		toldByDestination(t, r, in)
	})
}

// toldByDestination checks that what relay and inbox tell of each destination is what they tell
// of all together.
func toldByDestination(t *testing.T, r *relay.Relay, in *inbox.Inbox) {
	t.Helper()
	s, i := r.Stats(), in.Stats()
	var sent relay.DestinationStats
	for _, d := range s.Destinations {
		sent.Published += d.Published
		sent.Copies += d.Copies
		sent.Confirmed += d.Confirmed
		sent.Rejected += d.Rejected
	}
	// Published and Copies go on: a copy may be on its way still.
	if sent.Published < s.Published || sent.Copies < s.Copies || sent.Confirmed < s.Latency.Count || sent.Confirmed > s.Confirmed || sent.Rejected != s.Rejected {
		t.Errorf("got %+v by destination, want those of %+v", sent, s)
	}
	var taken inbox.DestinationStats
	for _, d := range i.Destinations {
		taken.Handled += d.Handled
		taken.Superseded += d.Superseded
		taken.Retried += d.Retried
		taken.Rejected += d.Rejected
	}
	if taken.Handled != i.Handled || taken.Retried != i.Retried || taken.Rejected != i.Rejected || taken.Superseded < i.Superseded || len(i.Destinations) < 2 {
		t.Errorf("got %+v by destination, want those of %+v", taken, i)
	}
}

func TestRelaysAndConsumersThatStopAndStartLoseNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		produced := make(chan struct{})
		go func() {
			defer close(produced)
			w.produce(2000)
		}()
		for running := true; running; {
			in := w.inbox()
			stopRelay, stopOther, stopInbox := w.runs(w.relay().Run), w.runs(w.relay().Run), w.runs(in.Run)
			w.waits("more is handled, or all is committed", 30*time.Second, func() bool {
				select {
				case <-produced:
					running = false
				default:
				}
				return !running || in.Stats().Handled >= 50
			})
			stopInbox()
			stopRelay()
			stopOther()
		}
		w.runs(w.relay().Run)
		w.runs(w.inbox().Run)
		w.emptied(30 * time.Second)
		w.judge()
	})
}

func TestABrokerThatLosesEverythingItKeepsCostsNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		b := memory.New(nil)
		w := newWorld(t, d, b)
		w.runs(w.relay().Run)
		w.produce(500) // nobody consumes yet
		stop := w.runs(w.inbox().Run)
		w.produce(100)
		stop()
		w.produce(500)
		b.Wipe()
		w.runs(w.inbox().Run)
		w.emptied(60 * time.Second)
		w.judge()
	})
}

func TestABrokerThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		b := memory.New(nil)
		b.Down()
		w := newWorld(t, d, b)
		r := w.relay()
		w.runs(r.Run)
		w.runs(w.inbox().Run)
		w.produce(400)
		w.waits("the relay leads", 5*time.Second, func() bool { return r.Stats().Leading })
		if n := w.number(w.producer, `SELECT sum(retry) FROM qmessage`); n != 0 {
			t.Errorf("counted %d copies while the broker was away, want none", n)
		}
		b.Up()
		w.waits("something is confirmed", 30*time.Second, func() bool { return r.Stats().Confirmed > 0 })
		b.Break()
		w.produce(400)
		b.Break()
		w.produce(400)
		w.emptied(30 * time.Second)
		w.judge()
	})
}
