// Package handler has the handlers of "waybill receive": a Printer prints messages, a
// Shell gives each to a command, and a Quota ends the run after so many.
package handler

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/jsonl"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/recent"
)

// printAgain is after how long a message comes again that could not be printed.
const printAgain = time.Second

// Printer prints each message as a line of JSON before its record is committed, so
// that none is recorded and not printed. It is safe for concurrent use.
type Printer struct {
	mu      sync.Mutex
	w       io.Writer
	broken  func(error)
	printed ids
}

// NewPrinter prints to w. broken is called when w takes nothing more; it should end
// the run: the message is not to blame and comes again.
func NewPrinter(w io.Writer, broken func(error)) *Printer {
	return &Printer{w: w, broken: broken, printed: ids{Most: remembered}}
}

// Handle is the inbox.Handler. A message whose transaction was rolled back and run
// again is not printed again.
func (p *Printer) Handle(_ context.Context, _ *sql.Tx, m *waybill.Message) error {
	text, err := jsonl.Encode(m)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.printed.Has(m.ID) {
		return nil
	}
	if _, err := p.w.Write(text); err != nil {
		p.broken(err)
		return waybill.RetryAfter(printAgain, fmt.Errorf("print: %w", err))
	}
	p.printed.Set(m.ID, struct{}{})
	return nil
}

// Quota lets so many messages be handled and then ends the run. It has to be used
// with one worker and batches of at most its slack, so that no handler runs for a
// message beyond it.
type Quota struct {
	mu      sync.Mutex
	left    int
	slack   int
	stop    func()
	handled ids
}

// NewQuota ends the run, by calling stop while the last handler runs, once fewer
// than slack of left messages remain: with slack 1, once all are handled. The
// transaction under way is still committed.
func NewQuota(left, slack int, stop func()) *Quota {
	return &Quota{left: left, slack: slack, stop: stop, handled: ids{Most: remembered}}
}

// Limit returns h with the quota. A message whose transaction was rolled back and
// run again counts once.
func (q *Quota) Limit(h inbox.Handler) inbox.Handler {
	return func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		if err := h(ctx, tx, m); err != nil {
			return err
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.handled.Has(m.ID) {
			return nil
		}
		q.handled.Set(m.ID, struct{}{})
		if q.left--; q.left < q.slack {
			q.stop()
		}
		return nil
	}
}

// ids are those of messages that were handled lately.
type ids = recent.Map[waybill.ID, struct{}]

// remembered is how many ids are kept at least. A message is handled again
// within its batch's next try, so this is far more than enough.
const remembered = 10_000
