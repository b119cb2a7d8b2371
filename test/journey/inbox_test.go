package journey

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
)

// consumes starts an inbox with one handler for "orders".
func (w *world) consumes(level waybill.Level, handler inbox.Handler) *inbox.Inbox {
	w.t.Helper()
	in := w.newInbox(&w.inboxOptions)
	in.Handle("orders", level, handler)
	w.runs(in.Run)
	return in
}

func TestEachMessageIsReceiptedAndACopyToo(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		in := w.consumes(waybill.Once, w.record)
		p := w.peer()
		receipts := p.receipts()
		id := waybill.NewID()
		for range 3 {
			p.publish(arrival(id, "orders", "k", 1))
			receipts.expect(id, "done", "")
		}
		w.wantEffects(1)
		if s := in.Stats(); s.Handled != 1 || s.Duplicates != 2 {
			t.Errorf("got %+v, want 1 handled and 2 duplicates", s)
		}
	})
}

func TestAnOlderStateIsSkippedAndReceipted(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		in := w.consumes(waybill.Latest, w.record)
		p := w.peer()
		receipts := p.receipts()
		older, newer, a, b := waybill.NewID(), waybill.NewID(), waybill.NewID(), waybill.NewID()
		for _, m := range []broker.Message{
			arrival(newer, "orders", "k", 20), arrival(older, "orders", "k", 10),
			// Equal time stamps: the greater id wins, whatever the order.
			arrival(b, "orders", "tie", 5), arrival(a, "orders", "tie", 5),
		} {
			p.publish(m)
			receipts.expect(idOf(t, &m), "done", "")
		}
		if n := w.number(w.consumer, w.q(`SELECT count(*) FROM done WHERE message_id IN (?, ?)`), newer.String(), b.String()); n != 2 {
			t.Errorf("%d of the newer states took effect, want 2", n)
		}
		if s := in.Stats(); s.Handled != 2 || s.Superseded != 2 {
			t.Errorf("got %+v, want 2 handled and 2 superseded", s)
		}
	})
}

func TestAPoisonMessageFailsAlone(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, d database, consumes consumes) {
		w := newWorld(t, d, memory.New(nil))
		p := w.peer()
		receipts := p.receipts()
		var ids []waybill.ID
		for range 50 {
			id := waybill.NewID()
			ids = append(ids, id)
			p.publish(arrival(id, "orders", "", 1))
		}
		failing, panicking, permanent, later, sqlError := ids[7], ids[17], ids[27], ids[37], ids[47]
		consumes(w, waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			if err := w.record(ctx, tx, m); err != nil {
				return err
			}
			switch m.ID {
			case failing:
				return errors.New("carrier is away")
			case panicking:
				_ = ids[len(ids)+m.Attempt]
			case permanent:
				return waybill.Permanent(errors.New("no such order"))
			case later:
				return waybill.RetryAfter(5*time.Second, errors.New("closed until morning"))
			case sqlError:
				_, err := tx.ExecContext(ctx, `INSERT INTO no_such_table VALUES (1)`)
				return err
			}
			return nil
		})
		for _, id := range ids {
			r := receipts.of(id)
			want := receipt{ID: id.String(), Outcome: "done"}
			switch id {
			case failing:
				want.Outcome, want.Error = "retry", "carrier is away"
			case panicking:
				want.Outcome, want.Error = "retry", "index out of range"
			case permanent:
				want.Outcome, want.Error = "rejected", "no such order"
			case later:
				want.Outcome, want.AfterMS, want.Error = "retry", 5000, "closed until morning"
			case sqlError:
				want.Outcome, want.Error = "retry", "no_such_table"
			}
			if r.Outcome != want.Outcome || r.AfterMS != want.AfterMS || !strings.Contains(r.Error, want.Error) {
				t.Errorf("got the receipt %+v, want %+v", r, want)
			}
		}
		w.wantEffects(45)
		if n := w.number(w.consumer, `SELECT count(*) FROM n1_record`); n != 45 {
			t.Errorf("%d records, want 45: a failed message must leave none", n)
		}
	})
}

func TestAMessageThatFailsTooOftenIsRejected(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.resendsNever()
		w.inboxOptions.MaxTries = 3
		w.relayOptions.Producer, w.relayOptions.MinRetry = "shop", time.Millisecond
		var calls atomic.Int32
		w.consumes(waybill.Once, func(context.Context, *sql.Tx, *waybill.Message) error {
			calls.Add(1)
			return errors.New("never")
		})
		w.runs(w.relay().Run)
		w.commit(waybill.Message{Destination: "orders"})
		w.waits("it is rejected", 20*time.Second, w.isRejected)
		if n := calls.Load(); n != 3 {
			t.Errorf("got %d tries, want 3", n)
		}
		const want = "tester: gave up after 3 tries: never"
		var reason string
		if err := w.producer.QueryRow(`SELECT last_error FROM qmessage`).Scan(&reason); err != nil || reason != want {
			t.Errorf("got the reason %q (%v), want %q", reason, err, want)
		}
	})
}

func TestAMessageThatCannotBeHandledIsRejectedOrPutAside(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.consumes(waybill.Latest, w.record)
		p := w.peer()
		receipts := p.receipts()
		for _, c := range []struct {
			name    string
			message broker.Message
		}{
			{"no key", arrival(waybill.NewID(), "orders", "", 1)},
			{"time stamp of 0", arrival(waybill.NewID(), "orders", "k", 0)},
			{"time stamp missing", arrival(waybill.NewID(), "orders", "k", 1, broker.Header{Name: "timeStamp"})},
			{"odd time stamp", arrival(waybill.NewID(), "orders", "k", 1, broker.Header{Name: "timeStamp", Value: "yesterday"})},
			{"odd sequence", arrival(waybill.NewID(), "orders", "k", 1, broker.Header{Name: "sequence", Value: "-1"})},
			{"odd producer", arrival(waybill.NewID(), "orders", "k", 1, broker.Header{Name: "producer", Value: "a b"})},
		} {
			p.publish(c.message)
			got := receipts.of(idOf(t, &c.message))
			t.Run(c.name, func(t *testing.T) {
				if got.Outcome != "rejected" || got.Error == "" {
					t.Errorf("got the receipt %+v, want rejected with a reason", got)
				}
			})
		}
		// Nobody can be told of these; what follows them is handled all the same.
		stolen := p.subscribe(broker.Subscription{Destination: "victim"})
		p.publish(arrival(waybill.NewID(), "orders", "k", 1, broker.Header{Name: "messageId"}))
		p.publish(arrival(waybill.NewID(), "orders", "k", 1, broker.Header{Name: "messageId", Value: "8f14e45f-ceea-467f-9575-6f5a4f5a4f5a"}))
		p.publish(arrival(waybill.NewID(), "orders", "k", 1, broker.Header{Name: "receiptTo", Value: "victim"}))
		id := waybill.NewID()
		p.publish(arrival(id, "orders", "k", 1))
		receipts.expect(id, "done", "")
		if m, ok := stolen.within(300 * time.Millisecond); ok {
			t.Errorf("a forged receiptTo made the inbox write to another queue: %s", m.Body)
		}
		w.wantEffects(1)
	})
}

func TestAForeignProducersMessageIsRedeliveredByTheBroker(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		var calls atomic.Int32
		in := w.consumes(waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			if calls.Add(1) < 3 {
				return errors.New("not yet")
			}
			return w.record(ctx, tx, m)
		})
		w.peer().publish(arrival(waybill.NewID(), "orders", "", 1, broker.Header{Name: "receiptTo"}, broker.Header{Name: "producer"}))
		w.waits("it is handled", 10*time.Second, func() bool { return in.Stats().Handled == 1 })
		if n := calls.Load(); n != 3 {
			t.Errorf("got %d calls, want 3", n)
		}
	})
}

func TestAMessageBelowTheHorizonIsRejectedAndNotHandled(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.inboxOptions.PruneEvery, w.inboxOptions.Retention = 50*time.Millisecond, time.Hour
		in := w.consumes(waybill.Once, w.record)
		p := w.peer()
		receipts := p.receipts()
		long := time.Now().Add(-2 * time.Hour)
		done, late, floor := waybill.NewIDAt(long), waybill.NewIDAt(long.Add(time.Second)), waybill.NewID()
		p.publish(arrival(done, "orders", "k1", 1, broker.Header{Name: "floor", Value: done.String()}))
		receipts.expect(done, "done", "")
		// As long as its producer may send it again, its record stays.
		p.publish(arrival(done, "orders", "k1", 1, broker.Header{Name: "floor", Value: done.String()}))
		receipts.expect(done, "done", "")
		p.publish(arrival(floor, "orders", "k2", 1, broker.Header{Name: "floor", Value: floor.String()}))
		w.waits("the record is forgotten", 10*time.Second, func() bool { return in.Stats().Pruned == 1 })
		p.publish(arrival(done, "orders", "k1", 1))
		p.publish(arrival(late, "orders", "k3", 1))
		young := waybill.NewID()
		p.publish(arrival(young, "orders", "k4", 1))
		for _, id := range []waybill.ID{done, late} {
			receipts.expect(id, "rejected", "nothing can tell")
		}
		receipts.expect(young, "done", "")
		w.wantEffects(3)
	})
}

func TestAHandlerThatHangsIsTimedOutAndTheNextOnesGoOn(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.inboxOptions.Timeout = 2 * time.Second // which the other one is far below, on a busy machine too
		p := w.peer()
		receipts := p.receipts()
		hung, sound := waybill.NewID(), waybill.NewID()
		w.consumes(waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			if m.ID == hung {
				<-ctx.Done()
				return ctx.Err()
			}
			return w.record(ctx, tx, m)
		})
		p.publish(arrival(hung, "orders", "k", 1))
		p.publish(arrival(sound, "orders", "k", 2))
		receipts.expect(hung, "retry", "timed out after 2s")
		receipts.expect(sound, "done", "")
	})
}

func TestOneKeyIsNeverHandledTwiceAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, onPostgres, memory.New(nil))
	w.inboxOptions.Workers, w.inboxOptions.Batch = 8, 3
	var busy [5]atomic.Int32
	in := w.consumes(waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		n := &busy[int(m.Key[0]-'0')]
		if n.Add(1) != 1 {
			t.Errorf("key %s is handled twice at a time", m.Key)
		}
		defer n.Add(-1)
		return w.record(ctx, tx, m)
	})
	p := w.peer()
	for i := range 500 {
		p.publish(arrival(waybill.NewID(), "orders", fmt.Sprint(i%5), 1))
	}
	w.waits("all are handled", 20*time.Second, func() bool { return in.Stats().Handled == 500 })
}
