package journey

import (
	"context"
	"database/sql"
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

// fill500 commits so many times 500 messages to one destination and returns their ids.
func (w *world) fill500(destination string, times int) (ids []waybill.ID) {
	w.t.Helper()
	for range times {
		batch := make([]waybill.Message, 500)
		for i := range batch {
			batch[i] = waybill.Message{ID: waybill.NewID(), Destination: destination}
			ids = append(ids, batch[i].ID)
		}
		err := w.out.InTx(context.Background(), w.producer, func(tx *sql.Tx) error { return w.out.Send(context.Background(), tx, batch...) })
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return ids
}

func TestALongBacklogForASlowBrokerHoldsUpNobodyElse(t *testing.T) {
	w := newWorld(t, databases[0], &paced{memory.New(nil), func(ctx context.Context, destination string) {
		if destination == "slow" {
			select {
			case <-time.After(90 * time.Millisecond): // for each batch of 50
			case <-ctx.Done():
			}
		}
	}})
	w.relayOptions.Window, w.relayOptions.Batch = 1_000_000, 50
	next := w.peer().subscribe(broker.Subscription{Destination: "fast"})
	w.mustSend(waybill.Message{Destination: "fast"})
	w.fill500("slow", 8)
	last := waybill.NewID()
	w.mustSend(waybill.Message{ID: last, Destination: "fast"})
	r := w.relay()
	w.runs(r.Run)
	for {
		m, ok := next(20 * time.Second)
		if !ok {
			t.Fatal("the last message did not arrive")
		}
		if header(t, m, "messageId") == last.String() {
			break
		}
	}
	// A relay that waits for the slow one has published all but a queue and a batch by
	// then, which are 150.
	if s := r.Stats(); s.Published > 3_600 {
		t.Errorf("the last message came when %d of 4,000 that have nothing to do with it were published", s.Published)
	}
}

func TestADestinationThatBlocksItsProducersHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, databases[0], &paced{memory.New(nil), func(ctx context.Context, destination string) {
			if destination == "stuck" {
				<-ctx.Done()
			}
		}})
		r := w.relay()
		stopRelay, stopInbox := w.runs(r.Run), w.runs(w.inbox().Run)
		w.mustSend(waybill.Message{Destination: "stuck"})
		for range 100 {
			w.mustSend(waybill.Message{Destination: "events"})
			time.Sleep(time.Second) // of the bubble's time
		}
		synctest.Wait()
		if s := r.Stats(); s.Disconnects > 0 || s.Confirmed < 99 {
			t.Errorf("%d connections were given up and %d of 100 messages confirmed because of another destination", s.Disconnects, s.Confirmed)
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
		ids := w.fill500("failing", failing/500)
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
		w.mustSend(waybill.Message{Destination: "events"})
		w.waits("another consumer's message is confirmed", 30*time.Second, func() bool { return r.Stats().Confirmed == 1 })
		if s := r.Stats(); s.Retries > failing/2 {
			t.Errorf("it was confirmed after %d of %d retries that have nothing to do with it", s.Retries, failing)
		}
		w.waits("all are postponed", time.Minute, func() bool {
			return w.number(w.producer, `SELECT count(*) FROM qmessage WHERE failures = 1 AND not_before > 0`) == failing
		})
	})
}
