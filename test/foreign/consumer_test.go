package foreign

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/internal/test/patience"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// sent are the messages that a consumer takes: what it is asked to answer, and a body.
var sent = []struct{ answer, body string }{
	{"done", text},
	{"done", raw},
	{"done", ""},
	{"retry", "again, please"},
	{"rejected", "nothing for me"},
	{"done", `{"state":"shipped"}`},
}

// consume has a client's consumer take what a relay sends, and notes how the messages come to
// it and what its receipts do.
func consume(t *testing.T, programs *fleet, c *client, via connector, all *results) {
	t.Helper()
	ctx := patience.Context(t)
	queue := queueName("consumer", via.name, strings.ToLower(strings.ReplaceAll(waybill.NewID().String(), "-", "")))
	db := open(t, "sqlite:"+filepath.Join(t.TempDir(), "producer.db"), store.Producer)
	out, err := outbox.New(sqlite.Dialect(), nil)
	if err != nil {
		t.Fatal(err)
	}
	b := via.broker(t)
	refusal := &refusal{Handler: quiet(t).Handler(), over: via.name}
	r, err := relay.New(db, sqlite.Dialect(), b, &relay.Options{
		Producer: "foreign", Wake: out.Committed(), MinRetry: 50 * time.Millisecond, Logger: slog.New(refusal),
	})
	if err != nil {
		t.Fatal(err)
	}
	p := programs.run(t, c, "consume", queue)
	p.waits(t, queue, "ready")
	runs(t, r.Run)
	err = out.InTx(ctx, db, func(tx *sql.Tx) error {
		for _, m := range sent {
			if err := out.Send(ctx, tx, waybill.Message{Destination: queue, Key: key, Headers: map[string]string{"answer": m.answer}, Body: []byte(m.body)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var pending, rejected int
	patience.Until(t, "all messages have their receipts", func() bool {
		const count = `SELECT count(*) FILTER (WHERE status = 0), count(*) FILTER (WHERE status = 2) FROM qmessage`
		if err := db.QueryRowContext(context.Background(), count).Scan(&pending, &rejected); err != nil {
			t.Fatal(err)
		}
		return pending == 0 || refusal.seen.Load()
	}, func() any { return fmt.Sprint(pending, rejected, len(p.lines(queue))) })
	if refusal.seen.Load() { // the receipts stay in their queue, and the relay says so
		all.consumed(cell{c.name, "", c.server.name, via.name}, stays)
		return
	}
	var reason string
	if err := db.QueryRowContext(ctx, `SELECT last_error FROM qmessage`).Scan(&reason); err != nil || rejected != 1 || !strings.Contains(reason, "no such order") {
		t.Errorf("got %d rejected messages, the reason %q, error %v; want one, with the consumer's reason", rejected, reason, err)
	}
	outcome, why := taken(p.lines(queue))
	if why != "" {
		t.Log(why)
	}
	all.consumed(cell{c.name, "", c.server.name, via.name}, outcome)
}

// refusal sees a relay say that it cannot take receipts over a protocol.
type refusal struct {
	slog.Handler
	over string
	seen atomic.Bool
}

// WithAttrs implements slog.Handler; the attributes are of no use here.
func (r *refusal) WithAttrs([]slog.Attr) slog.Handler { return r }

// Handle implements slog.Handler.
func (r *refusal) Handle(ctx context.Context, record slog.Record) error {
	record.Attrs(func(a slog.Attr) bool {
		err, isError := a.Value.Any().(error)
		if isError && strings.Contains(err.Error(), "receive it over") && strings.HasPrefix(err.Error(), r.over+":") && r.over != "activemq" {
			r.seen.Store(true)
		}
		return true
	})
	return r.Handler.Handle(ctx, record)
}

// taken says as what a consumer has taken the messages, or what is wrong, and why.
func taken(lines [][]string) (outcome, why string) {
	kinds := map[string]bool{}
	isAgain := false
	missing := map[string]bool{}
	for _, m := range sent {
		missing[m.body] = true
	}
	for _, line := range lines {
		if line[0] != "took" {
			continue
		}
		kind, answer, mark, failures := line[1], line[2], line[3], line[4]
		body, err := hex.DecodeString(line[5])
		if err != nil || mark != key || !isSent(answer, string(body)) {
			return garbled, fmt.Sprintf("got a %s with the key %q and the body %q", kind, mark, body)
		}
		isAgain = isAgain || answer == "retry" && failures == "1"
		kinds[kind] = true
		delete(missing, string(body))
	}
	if len(missing) > 0 || !isAgain {
		return lost, fmt.Sprintf("missing are %q; a second try: %t", sorted(missing), isAgain)
	}
	return strings.Join(sorted(kinds), ", "), ""
}

func isSent(answer, body string) bool {
	for _, m := range sent {
		if m.answer == answer && m.body == body {
			return true
		}
	}
	return false
}
