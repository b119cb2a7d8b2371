package journey

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
)

// consumes starts an inbox with a handler for "orders".
type consumes func(w *world, level waybill.Level, handler inbox.Handler) *inbox.Inbox

// ways are the ways in which an inbox calls a handler.
var ways = []struct {
	name     string
	consumes consumes
}{{"one by one", (*world).consumes}, {"in batches", (*world).consumesBatches}}

// eachWay runs a test on each database and with each way.
func eachWay(t *testing.T, test func(t *testing.T, d database, consumes consumes)) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, d database) { test(t, d, way.consumes) })
		})
	}
}

// consumesBatches is consumes with a batch handler that has a handler do message after message.
func (w *world) consumesBatches(level waybill.Level, handler inbox.Handler) *inbox.Inbox {
	w.t.Helper()
	in := w.newInbox(&w.inboxOptions)
	in.HandleBatch("orders", level, func(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
		for _, m := range messages {
			if err := handler(ctx, tx, m); err != nil {
				return inbox.Failed(m, err)
			}
		}
		return nil
	})
	w.runs(in.Run)
	return in
}

// recordAll is record for a batch, with one statement.
func (w *world) recordAll(ctx context.Context, tx *sql.Tx, messages []*waybill.Message) error {
	var args []any
	var rows []string
	for _, m := range messages {
		n, arg := len(args), w.database.arg
		rows = append(rows, "("+arg(n+1)+", "+arg(n+2)+", "+arg(n+3)+", "+arg(n+4)+")")
		args = append(args, m.ID.String(), m.Destination, m.Key, m.TimeStamp)
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO done VALUES `+strings.Join(rows, ", "), args...)
	return err
}

func TestOneStatementCarriesTheWritesOfABatch(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d database) {
		const messages, poison = 1000, 77
		w := newWorld(t, d, memory.New(nil))
		w.inboxOptions.Workers, w.inboxOptions.MaxTries = 1, 2
		w.relayOptions.MinRetry, w.relayOptions.MaxRetry = 20*time.Millisecond, 50*time.Millisecond
		w.exec(w.consumer, `CREATE TABLE shipped (n integer PRIMARY KEY)`)
		w.exec(w.consumer, w.q(`INSERT INTO shipped VALUES (?)`), poison)
		ids := w.commitMany(messages, func(i int) waybill.Message {
			return waybill.Message{Destination: "orders", Body: fmt.Append(nil, i)}
		})
		var mu sync.Mutex
		var sizes []int
		in := w.newInbox(&w.inboxOptions)
		in.HandleBatch("orders", waybill.Once, func(ctx context.Context, tx *sql.Tx, batch []*waybill.Message) error {
			mu.Lock()
			sizes = append(sizes, len(batch))
			mu.Unlock()
			if err := w.recordAll(ctx, tx, batch); err != nil {
				return err
			}
			var numbers []string
			for _, m := range batch {
				numbers = append(numbers, "("+string(m.Body)+")")
			}
			_, err := tx.ExecContext(ctx, `INSERT INTO shipped VALUES `+strings.Join(numbers, ", "))
			return err // of one message, which it does not name
		})
		w.runs(in.Run)
		w.runs(w.relay().Run)
		w.waits("one is rejected and the others are done", time.Minute, func() bool { return w.left() == 1 && w.isRejected() })
		w.wantEffects(messages - 1)
		if n := w.number(w.consumer, `SELECT count(*) FROM shipped`); n != messages {
			t.Errorf("%d are shipped, want each once: %d", n, messages)
		}
		var rejected waybill.ID
		if err := w.producer.QueryRow(`SELECT message_id FROM qmessage`).Scan(&rejected); err != nil || rejected != ids[poison] {
			t.Errorf("%s is rejected (%v), want %s", rejected, err, ids[poison])
		}
		mu.Lock()
		defer mu.Unlock()
		if len(sizes) > messages/4 || slices.Max(sizes) < 20 {
			t.Errorf("the handler was called %d times, with %d messages at most: these are no batches", len(sizes), slices.Max(sizes))
		}
	})
}
