package journey

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/internal/wire"
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
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, onSQLite, &paced{memory.New(nil), func(ctx context.Context, destination string) {
			if destination == "slow" {
				select {
				case <-time.After(90 * time.Millisecond): // of the bubble's time, for each batch of 50
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
		stop := w.runs(r.Run)
		for idOf(t, fast.next()) != last {
		}
		// A relay that waits for the slow one has published all but a queue and a batch by
		// then, which are 150.
		if s := r.Stats(); s.Published > 3_600 {
			t.Errorf("the last message came when %d of 4,000 that have nothing to do with it were published, want 3,600 at most", s.Published)
		}
		stop()
	})
}

func TestADestinationThatBlocksItsProducersHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
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

// locks keeps everybody else from changing a destination's rows until it is undone.
func (w *world) locks(destination string) (undo func()) {
	w.t.Helper()
	tx, err := w.producer.BeginTx(context.Background(), &sql.TxOptions{Isolation: sql.LevelReadCommitted}) // which locks no gaps
	if err != nil {
		w.t.Fatal(err)
	}
	undo = sync.OnceFunc(func() {
		if err := tx.Rollback(); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(undo)
	if _, err := tx.Exec(w.q(`UPDATE qmessage SET last_error = '' WHERE destination = ?`), destination); err != nil {
		w.t.Fatal(err)
	}
	return undo
}

func TestAConsumerThatFailsWithEverythingHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.resendsNever()
		w.relayOptions.MinRetry, w.relayOptions.MaxRetry = time.Hour, time.Hour
		r := w.relay()
		w.runs(r.Run)
		w.runs(w.inbox().Run)
		const failing = 1_000
		ids := w.commitMany(failing, plain("failing"))
		w.waits("they are sent", 30*time.Second, func() bool { return r.Stats().Published == failing })
		written := func() {}
		if !d.dialect.Capabilities().SingleWriter { // one transaction's rows do not lock the others'
			written = w.locks("failing")
		}
		p := w.peer()
		for i := 0; i < failing; i += 100 {
			all := make([]string, 100)
			for j := range all {
				all[j] = fmt.Sprintf(`{"id":%q,"outcome":"retry","error":"no"}`, ids[i+j])
			}
			p.receipt(`{"consumer":"peer","receipts":[` + strings.Join(all, ",") + `]}`)
		}
		receipts := func() any { return r.Stats().Receipts }
		patience.Until(t, "their receipts are read", func() bool { return r.Stats().Receipts == failing }, receipts)
		w.commit(waybill.Message{Destination: "events"})
		w.waits("another consumer's message is confirmed", 30*time.Second, func() bool { return r.Stats().Confirmed == 1 })
		written()
		w.waits("all are postponed", time.Minute, func() bool {
			return w.number(w.producer, `SELECT count(*) FROM qmessage WHERE failures = 1 AND not_before > 0`) == failing
		})
	})
}

func TestARowThatSomebodyHasLockedHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	for _, d := range []database{onPostgres, onMySQL} {
		t.Run(d.name, func(t *testing.T) {
			w := newWorld(t, d, memory.New(nil))
			nobody := w.peer().subscribe(broker.Subscription{Destination: "nobody"})
			w.runs(w.inbox().Run)
			w.runs(w.relay().Run)
			ids := w.commitMany(3, plain("nobody"))
			arrives := func() {
				t.Helper()
				if _, ok := nobody.within(time.Minute); !ok {
					t.Fatal("no copy arrived within a minute")
				}
			}
			for range ids {
				arrives()
			}
			w.commit(waybill.Message{Destination: "events"})
			w.waits("a message to take effect", 30*time.Second, func() bool { return w.effects() == 1 })
			other, err := w.producer.Begin()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = other.Rollback() }()
			// Nobody confirms these: they are sent again, and their copies counted.
			if _, err := other.Exec(w.q(`SELECT id FROM qmessage WHERE message_id = ? FOR UPDATE`), ids[0].String()); err != nil {
				t.Fatal(err)
			}
			arrives()
			// One of them is rejected and one confirmed, and both are locked, too.
			for _, id := range ids {
				if _, err := other.Exec(w.q(`SELECT id FROM qmessage WHERE message_id = ? FOR UPDATE`), id.String()); err != nil {
					t.Fatal(err)
				}
			}
			w.peer().publish(
				wire.EncodeReceipts(w.receiptQueue(), "nobody", []waybill.Receipt{
					{ID: ids[0], Outcome: waybill.Done}, {ID: ids[1], Outcome: waybill.Rejected, Error: "no"}, {ID: ids[2], Outcome: waybill.Retry, After: time.Hour},
				}))
			for i := range int64(10) {
				w.commit(waybill.Message{Destination: "events"})
				w.waits("messages to take effect beside the locked rows", 30*time.Second, func() bool { return w.effects() == i+2 })
			}
			w.waits("rows to go beside the locked ones", 30*time.Second, func() bool { return w.left() == 3 })
			if err := other.Rollback(); err != nil {
				t.Fatal(err)
			}
			w.waits("the rows to be written that were locked", 60*time.Second, func() bool {
				return w.left() == 2 && w.number(w.producer, `SELECT count(*) FROM qmessage WHERE status = 2`) == 1 && w.number(w.producer, `SELECT count(*) FROM qmessage WHERE status = 0 AND not_before > 0`) == 1
			})
		})
	}
}

func TestAMessageThatAHandlerSendsOnWakesTheRelay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, onSQLite, memory.New(nil))
	w.consumer = w.producer // the handler's transaction is the outbox's
	in, err := inbox.New(w.consumer, w.database.dialect, w.broker, &w.inboxOptions)
	if err != nil {
		t.Fatal(err)
	}
	in.Handle("first", waybill.Once, func(ctx context.Context, tx *sql.Tx, _ *waybill.Message) error {
		return w.out.Send(ctx, tx, waybill.Message{Destination: "next"})
	})
	w.commit(waybill.Message{Destination: "first"})
	<-w.out.Committed() // by that commit
	w.runs(in.Run)
	w.runs(w.relay().Run)
	select {
	case <-w.out.Committed():
	case <-time.After(patience.Limit):
		t.Error("the handler's commit did not wake the relay")
	}
}

func TestALockedLeaseDoesNotEndItsHoldersWork(t *testing.T) {
	t.Parallel()
	for _, d := range []database{onPostgres, onMySQL} {
		t.Run(d.name, func(t *testing.T) {
			w := newWorld(t, d, memory.New(nil))
			w.relayOptions.Lease = 300 * time.Millisecond
			w.runs(w.inbox().Run)
			r := w.relay()
			w.runs(r.Run)
			w.commit(waybill.Message{Destination: "events"})
			w.waits("a message to take effect", 30*time.Second, func() bool { return w.effects() == 1 })
			other, err := w.producer.Begin()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = other.Rollback() }()
			if _, err := other.Exec(`SELECT name FROM qrelay FOR UPDATE`); err != nil {
				t.Fatal(err)
			}
			isOver := func() bool {
				return w.number(w.producer, w.q(`SELECT count(*) FROM qrelay WHERE expires_at < ?`), time.Now().Add(-2*time.Second).UnixMicro()) == 1
			}
			w.waits("the lease to be long over", 30*time.Second, isOver)
			if !r.Stats().Leading {
				t.Error("the relay leads no more")
			}
			w.commit(waybill.Message{Destination: "events"})
			w.waits("another message to take effect", 30*time.Second, func() bool { return w.effects() == 2 })
		})
	}
}
