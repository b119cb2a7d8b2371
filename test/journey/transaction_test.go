package journey

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
)

// misdeed is something that ends the transaction that a handler was given, or tries to.
type misdeed struct {
	name string
	on   []database
	do   func(ctx context.Context, w *world, tx *sql.Tx) error
	last bool // the handler does nothing after it
}

func misdeeds() []misdeed {
	statement := func(text string) func(context.Context, *world, *sql.Tx) error {
		return func(ctx context.Context, _ *world, tx *sql.Tx) error {
			_, _ = tx.ExecContext(ctx, text) // what it says is ignored
			return nil
		}
	}
	return []misdeed{
		{name: "tx.Commit", on: databases, do: func(_ context.Context, _ *world, tx *sql.Tx) error { _ = tx.Commit(); return nil }},
		{name: "tx.Rollback", on: databases, do: func(_ context.Context, _ *world, tx *sql.Tx) error { _ = tx.Rollback(); return nil }},
		{name: "COMMIT", on: databases, do: statement(`COMMIT`)},
		{name: "ROLLBACK", on: []database{onSQLite, onMySQL}, do: statement(`ROLLBACK`)},
		// PostgreSQL alone cannot keep single statements from committing behind it.
		{name: "ROLLBACK at last", on: []database{onPostgres}, do: statement(`ROLLBACK`), last: true},
		{name: "COMMIT AND CHAIN", on: []database{onPostgres, onMySQL}, do: statement(`COMMIT AND CHAIN`)},
		{name: "ROLLBACK AND CHAIN", on: []database{onPostgres, onMySQL}, do: statement(`ROLLBACK AND CHAIN`)},
		{name: "DDL", on: []database{onMySQL}, do: statement(`CREATE TABLE IF NOT EXISTS made_by_handler (n int)`)},
		{name: "TRUNCATE", on: []database{onMySQL}, do: statement(`TRUNCATE TABLE latest`)},
		{name: "several statements", on: []database{onSQLite}, do: statement(`INSERT INTO latest VALUES ('k', 1, 1); COMMIT; INSERT INTO latest VALUES ('l', 1, 1)`)},
		{name: "a conflict clause", on: []database{onSQLite}, do: statement(`INSERT OR ROLLBACK INTO latest SELECT 'k', 1, 1 UNION ALL SELECT 'k', 2, 2`)},
		{name: "an interrupted write", on: []database{onSQLite}, do: func(ctx context.Context, _ *world, tx *sql.Tx) error {
			short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			_, _ = tx.ExecContext(short, `INSERT INTO latest WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 100000000) SELECT x, 1, 1 FROM c`)
			return nil
		}},
		{name: "a statement that failed", on: []database{onPostgres}, do: statement(`INSERT INTO nowhere VALUES (1)`)},
		{name: "a savepoint that is released twice", on: []database{onPostgres}, do: statement(`SAVEPOINT a; RELEASE a; RELEASE a`)},
		{name: "no more writes", on: []database{onPostgres}, do: statement(`SET TRANSACTION READ ONLY`)},
		{name: "a deadlock", on: []database{onPostgres, onMySQL}, do: ignoreDeadlock},
	}
}

// ignoreDeadlock has the handler's transaction lose to another one, and ignores it.
func ignoreDeadlock(ctx context.Context, w *world, tx *sql.Tx) error {
	const first, second = `UPDATE hot SET n = n + 1 WHERE id = 1`, `UPDATE hot SET n = n + 1 WHERE id = 2`
	other, err := w.consumer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer other.Rollback()
	// It has written more, so that MySQL chooses the handler's; PostgreSQL chooses the one
	// that comes first.
	for n := range 50 {
		if _, err := other.ExecContext(ctx, fmt.Sprintf(`INSERT INTO heavy VALUES (%d)`, n)); err != nil {
			return err
		}
	}
	if _, err := other.ExecContext(ctx, second); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, first); err != nil {
		return err
	}
	waits := make(chan error, 1)
	go func() {
		_, err := other.ExecContext(ctx, first)
		waits <- err
	}()
	_, ignored := tx.ExecContext(ctx, second) // whoever comes second finds the deadlock
	err = <-waits
	if ignored == nil && err == nil {
		return errors.New("there was no deadlock")
	}
	return nil
}

// Whatever ends a transaction between the guard and the commit: nothing of its batch is
// receipted as done that is not, and nothing is left behind half.
func TestAHandlerThatEndsItsTransactionCostsNoEffectAndDoublesNone(t *testing.T) {
	t.Parallel()
	for _, deed := range misdeeds() {
		for _, d := range deed.on {
			t.Run(deed.name+" on "+d.name, func(t *testing.T) {
				t.Parallel()
				for _, level := range []waybill.Level{waybill.Once, waybill.Latest} {
					t.Run(level.String(), func(t *testing.T) { misbehaves(t, d, deed, level, (*world).consumes) })
				}
				t.Run("in batches", func(t *testing.T) { misbehaves(t, d, deed, waybill.Once, (*world).consumesBatches) })
			})
		}
	}
}

func misbehaves(t *testing.T, d database, deed misdeed, level waybill.Level, consumes consumes) {
	w := newWorld(t, d, memory.New(nil))
	w.inboxOptions.Workers = 1
	w.inboxOptions.BatchTime = time.Minute
	w.relayOptions.MinRetry, w.relayOptions.MaxRetry = 20*time.Millisecond, 50*time.Millisecond
	for _, text := range []string{`CREATE TABLE hot (id int PRIMARY KEY, n int)`, `INSERT INTO hot VALUES (1, 0), (2, 0)`, `CREATE TABLE heavy (n int)`} {
		w.exec(w.consumer, text)
	}
	ids := w.commitMany(3, func(i int) waybill.Message { return waybill.Message{Destination: "orders", Key: fmt.Sprint(i)} })
	r := w.relay()
	w.runs(r.Run)
	w.waits("all are with the broker", 20*time.Second, func() bool { return r.Stats().Published >= 3 })
	var done atomic.Bool
	culprit := 1
	if deed.last {
		culprit = 2 // of its batch, too
	}
	consumes(w, level, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		if m.Key == fmt.Sprint(culprit) && !done.Swap(true) {
			if err := w.record(ctx, tx, m); err != nil {
				return err
			}
			if err := deed.do(ctx, w, tx); err != nil || deed.last {
				return err
			}
			_ = w.record(ctx, tx, m) // once more: a half that may be left behind
			return nil
		}
		return w.record(ctx, tx, m)
	})
	w.emptied(30 * time.Second)
	if !done.Load() {
		t.Fatal("the handler did not misbehave")
	}
	for i, id := range ids {
		n := w.number(w.consumer, w.q(`SELECT count(*) FROM done WHERE message_id = ?`), id.String())
		// Where the database refuses to end the transaction, what the handler wrote in it
		// stands as a whole.
		if whole := i == culprit && n == 2 && (d.name == "mysql" || deed.name == "a deadlock"); n != 1 && !whole {
			t.Errorf("message %d: got %d effects, want 1", i, n)
		}
	}
}

// A handler's error fails its own message, and the others are done together again.
func TestOneMessageThatFailsDoesNotMakeTheOthersGoOneByOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, onSQLite, memory.New(nil))
	w.inboxOptions.Workers, w.inboxOptions.Batch, w.inboxOptions.BatchTime = 1, 100, time.Minute
	w.relayOptions.MinRetry, w.relayOptions.MaxRetry = 20*time.Millisecond, 50*time.Millisecond
	ids := w.commitMany(100, func(i int) waybill.Message { return waybill.Message{Destination: "orders", Key: fmt.Sprint(i)} })
	r := w.relay()
	w.runs(r.Run)
	w.waits("all are with the broker", 20*time.Second, func() bool { return r.Stats().Published >= 100 })
	transactions := map[*sql.Tx]bool{}
	in := w.consumes(waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		transactions[tx] = true
		if m.Key == "50" && m.Failures == 0 {
			return errors.New("not now")
		}
		return w.record(ctx, tx, m)
	})
	w.emptied(30 * time.Second)
	w.wantEffects(int64(len(ids)))
	if s := in.Stats(); s.Retried != 1 {
		t.Errorf("got %d failures, want 1", s.Retried)
	}
	// One that failed, one of the 99 others, one of the copy; the memory broker may hand
	// the first hundred over in a few pieces.
	if len(transactions) > 20 {
		t.Errorf("got %d transactions of 100 messages, want a few", len(transactions))
	}
}

// Receipts that come twice are as common as brokers that deliver twice.
func TestARetryReceiptThatComesTwiceIsOneFailure(t *testing.T) {
	t.Parallel()
	b := memory.New(nil)
	b.SetFaults(memory.Fault{Where: memory.Receipts, Repeat: 1})
	w := newWorld(t, onSQLite, b)
	w.resendsNever()
	w.inboxOptions.MaxTries = 5
	w.relayOptions.MinRetry, w.relayOptions.MaxRetry = 20*time.Millisecond, 50*time.Millisecond
	var calls atomic.Int64
	w.consumes(waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		if calls.Add(1) < 5 {
			return errors.New("not now")
		}
		return w.record(ctx, tx, m)
	})
	w.runs(w.relay().Run)
	w.commit(waybill.Message{Destination: "orders"})
	w.emptied(30 * time.Second)
	w.wantEffects(1)
	if n := calls.Load(); n != 5 {
		t.Errorf("got %d calls of the handler, want 5", n)
	}
}

// An operator's mistake takes the table of records away for a while: no handler has run by
// then, and no message is to blame.
func TestTroubleBeforeAHandlerRunsIsNobodysFailure(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.inboxOptions.MaxTries = 2
		w.relayOptions.MinRetry, w.relayOptions.MaxRetry = 20*time.Millisecond, 50*time.Millisecond
		in := w.consumes(waybill.Once, w.record)
		w.waits("the inbox is connected", 20*time.Second, func() bool { return in.Stats().Connected })
		w.exec(w.consumer, `ALTER TABLE n1_record RENAME TO n1_away`)
		w.runs(w.relay().Run)
		ids := w.commitMany(20, func(i int) waybill.Message { return waybill.Message{Destination: "orders", Key: fmt.Sprint(i)} })
		w.waits("some tries have failed", 30*time.Second, func() bool { return in.Stats().Troubles+in.Stats().Retried >= 8 })
		w.exec(w.consumer, `ALTER TABLE n1_away RENAME TO n1_record`)
		w.waits("all are handled or rejected", 30*time.Second, func() bool {
			return w.left() == 0 || w.number(w.producer, `SELECT count(*) FROM qmessage WHERE status = 0`) == 0
		})
		w.wantEffects(int64(len(ids)))
		if s := in.Stats(); s.Rejected != 0 || s.Retried != 0 {
			t.Errorf("got %d rejected messages and %d failures, want none", s.Rejected, s.Retried)
		}
	})
}

// noRoom has a statement find no room for what it writes.
func noRoom(ctx context.Context, tx *sql.Tx, d database) error {
	switch d.name {
	case onPostgres.name:
		_, err := tx.ExecContext(ctx, `DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$`)
		return err
	case onMySQL.name:
		_, err := tx.ExecContext(ctx, `SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full'`)
		return err
	}
	var pages int64
	if err := tx.QueryRowContext(ctx, `PRAGMA max_page_count = 1`).Scan(&pages); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `CREATE TABLE large AS SELECT zeroblob(1000000)`)
	_ = tx.QueryRowContext(ctx, `PRAGMA max_page_count = 1000000`).Scan(&pages)
	return err
}

// One message's handler finds no room although there is some for others, as where the disk
// is full now and then, or only for what is large.
func TestAHandlerThatFindsNoRoomHasNotFailed(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		w := newWorld(t, d, memory.New(nil))
		w.inboxOptions.Workers, w.inboxOptions.MaxTries = 1, 1
		var mu sync.Mutex
		calls := map[string]int{}
		ids := w.commitMany(20, func(i int) waybill.Message { return waybill.Message{Destination: "orders", Key: fmt.Sprint(i)} })
		w.runs(w.relay().Run)
		in := w.consumes(waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			mu.Lock()
			defer mu.Unlock()
			if calls[m.Key]++; m.Key == "3" || calls[m.Key] <= 2 {
				if err := noRoom(ctx, tx, d); err != nil {
					return fmt.Errorf("write something large: %w", err)
				}
				return errors.New("there was room")
			}
			return w.record(ctx, tx, m)
		})
		w.waits("one message is postponed and the others are done", 60*time.Second, func() bool {
			return w.left() == 1 && w.number(w.producer, `SELECT count(*) FROM qmessage WHERE status = 0 AND failures = 0 AND not_before > 0`) == 1
		})
		w.wantEffects(int64(len(ids) - 1))
		if s := in.Stats(); s.Rejected != 0 || s.Retried != 0 {
			t.Errorf("got %d rejected messages and %d failures, want none", s.Rejected, s.Retried)
		}
	})
}

// A connection that dies with one message's handler, again and again, while the database
// is well, is that message's failure, and holds nobody up.
func TestAHandlerThatTakesItsConnectionDownFailsAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		on   database
		kill string
	}{
		{onPostgres, `SELECT pg_terminate_backend(pg_backend_pid())`},
		{onMySQL, `KILL CONNECTION_ID()`},
	} {
		test := func(t *testing.T, consumes consumes) {
			w := newWorld(t, c.on, memory.New(nil))
			w.inboxOptions.Workers, w.inboxOptions.MaxTries = 1, 3
			w.relayOptions.MinRetry, w.relayOptions.MaxRetry = 20*time.Millisecond, 50*time.Millisecond
			w.commitMany(20, func(i int) waybill.Message { return waybill.Message{Destination: "orders", Key: fmt.Sprint(i)} })
			w.runs(w.relay().Run)
			consumes(w, waybill.Once, func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
				if m.Key == "3" {
					_, _ = tx.ExecContext(ctx, c.kill)
					return nil
				}
				return w.record(ctx, tx, m)
			})
			w.waits("one message is rejected and the others are done", 60*time.Second, func() bool {
				return w.left() == 1 && w.isRejected()
			})
			w.wantEffects(19)
		}
		for _, way := range ways {
			t.Run(c.on.name+" "+way.name, func(t *testing.T) { test(t, way.consumes) })
		}
	}
}
