package journey

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
)

// paced is a broker that takes its time with some destinations.
type paced struct {
	broker.Broker
	pace func(ctx context.Context, destination string)
}

func (b *paced) Connect(ctx context.Context) (broker.Conn, error) {
	conn, err := b.Broker.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &pacedConn{conn, b}, nil
}

type pacedConn struct {
	broker.Conn
	b *paced
}

func (c *pacedConn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	c.b.pace(ctx, messages[0].Destination)
	if err := ctx.Err(); err != nil {
		results := make([]broker.Result, len(messages))
		for i := range results {
			results[i].Err = err
		}
		return results, nil
	}
	return c.Conn.Publish(ctx, messages, transport)
}

// plain returns what makes messages to a destination with nothing in them.
func plain(destination string) func(int) waybill.Message {
	return func(int) waybill.Message { return waybill.Message{Destination: destination} }
}

func TestALongBacklogForASlowBrokerHoldsUpNobodyElse(t *testing.T) {
	w := newWorld(t, onSQLite, &paced{memory.New(nil), func(ctx context.Context, destination string) {
		if destination == "slow" {
			select {
			case <-time.After(90 * time.Millisecond): // for each batch of 50
			case <-ctx.Done():
			}
		}
	}})
	w.relayOptions.Window, w.relayOptions.Batch = 1_000_000, 50
	fast := w.peer().subscribe(broker.Subscription{Destination: "fast"})
	w.commit(waybill.Message{Destination: "fast"})
	w.commitMany(4_000, plain("slow"))
	last := waybill.NewID()
	w.commit(waybill.Message{ID: last, Destination: "fast"})
	r := w.relay()
	w.runs(r.Run)
	for idOf(t, fast.next()) != last {
	}
	// A relay that waits for the slow one has published all but a queue and a batch by
	// then, which are 150.
	if s := r.Stats(); s.Published > 3_600 {
		t.Errorf("the last message came when %d of 4,000 that have nothing to do with it were published, want 3,600 at most", s.Published)
	}
}

func TestADestinationThatBlocksItsProducersHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, onSQLite, &paced{memory.New(nil), func(ctx context.Context, destination string) {
			if destination == "stuck" {
				<-ctx.Done()
			}
		}})
		r := w.relay()
		stopRelay, stopInbox := w.runs(r.Run), w.runs(w.inbox().Run)
		w.commit(waybill.Message{Destination: "stuck"})
		for range 100 {
			w.commit(waybill.Message{Destination: "events"})
			time.Sleep(time.Second) // of the bubble's time
		}
		synctest.Wait()
		if s := r.Stats(); s.Disconnects > 0 || s.Confirmed < 99 {
			t.Errorf("because of another destination %d connections were given up, want none, and %d of 100 messages confirmed, want 99 or more", s.Disconnects, s.Confirmed)
		}
		stopInbox()
		stopRelay()
	})
}

func TestAConsumerThatFailsWithEverythingHoldsUpNobodyElse(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.relayOptions.MinResend, w.relayOptions.FirstResend, w.relayOptions.MaxResend = time.Minute, time.Minute, time.Minute
		w.relayOptions.MinRetry = time.Minute
		r := w.relay()
		w.runs(r.Run)
		w.runs(w.inbox().Run)
		const failing = 5_000
		ids := w.commitMany(failing, plain("failing"))
		w.waits("they are sent", 30*time.Second, func() bool { return r.Stats().Published == failing })
		p := w.peer()
		for i := 0; i < failing; i += 100 {
			all := make([]string, 100)
			for j := range all {
				all[j] = fmt.Sprintf(`{"id":%q,"outcome":"retry","error":"no"}`, ids[i+j])
			}
			p.receipt(`{"consumer":"peer","receipts":[` + strings.Join(all, ",") + `]}`)
		}
		w.waits("their receipts are read", 30*time.Second, func() bool { return r.Stats().Receipts == failing })
		w.commit(waybill.Message{Destination: "events"})
		w.waits("another consumer's message is confirmed", 30*time.Second, func() bool { return r.Stats().Confirmed == 1 })
		if s := r.Stats(); s.Retries > failing/2 {
			t.Errorf("it was confirmed after %d of %d retries that have nothing to do with it, want half of them at most", s.Retries, failing)
		}
		w.waits("all are postponed", time.Minute, func() bool {
			return w.number(w.producer, `SELECT count(*) FROM qmessage WHERE failures = 1 AND not_before > 0`) == failing
		})
	})
}
