package torture

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
)

// abroad is a foreign consumer with receipts. It is written by docs/protocol.md alone, as
// one in another language would be, and uses neither package inbox nor its tables: it has a
// table of its own of what it has handled, and writes receipts as JSON.
type abroad struct {
	network
	cmd    command
	db     *database
	log    *slog.Logger
	faults atomic.Pointer[handlerFaults]

	connected atomic.Bool
	received  atomic.Int64
	copies    atomic.Int64 // that it had handled before
	failures  atomic.Int64
	misdeeds  atomic.Int64 // of these, on purpose

	mu   sync.Mutex
	dice *rand.Rand
}

// abroadName is the name that its receipts have.
const abroadName = "torture-abroad"

func newAbroad(cmd command, log *slog.Logger) (*abroad, error) {
	d, n, err := connect(cmd)
	if err != nil {
		return nil, err
	}
	a := &abroad{network: n, cmd: cmd, db: d, log: log, dice: rand.New(rand.NewPCG(cmd.Seed, 9))}
	a.faults.Store(&handlerFaults{})
	return a, nil
}

// receipt is one of a message of receipts.
type receipt struct {
	ID      string `json:"id"`
	Outcome string `json:"outcome"` // done, retry or rejected
	AfterMS int64  `json:"after_ms,omitempty"`
	Tries   int    `json:"tries,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Run consumes until ctx ends, and connects again for as long.
func (a *abroad) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := a.consume(ctx)
		a.connected.Store(false)
		if ctx.Err() == nil {
			a.log.WarnContext(ctx, "the foreign consumer connects again", slog.Any("error", err))
			backoff.Sleep(ctx, 200*time.Millisecond)
		}
	}
	return nil
}

// consume handles what comes over one connection.
func (a *abroad) consume(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := a.Connect(limited)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	messages, err := conn.Subscribe(limited, broker.Subscription{Destination: a.cmd.Destinations.Abroad, Prefetch: 50})
	if err != nil {
		return err
	}
	a.connected.Store(true)
	for {
		deliveries, err := messages.Receive(ctx, 50)
		if err != nil {
			return err
		}
		for i := range deliveries {
			if err := a.take(ctx, conn, messages, deliveries[i]); err != nil {
				return err
			}
		}
	}
}

// take handles one message, then acknowledges it, and then answers.
func (a *abroad) take(ctx context.Context, conn broker.Conn, from broker.Receiver, d broker.Delivery) error {
	a.received.Add(1)
	r, err := a.handle(ctx, &d.Message)
	if err != nil {
		return err // of the database: the message comes again
	}
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := from.Settle(limited, []broker.Delivery{d}, broker.Ack); err != nil {
		return err
	}
	to, _ := d.Header("receiptTo")
	if to == "" {
		return nil
	}
	body, err := json.Marshal(map[string]any{"consumer": abroadName, "receipts": []receipt{r}})
	if err != nil {
		return err
	}
	// What becomes of the receipt does not matter: the next copy brings another one.
	_, err = conn.Publish(limited, []broker.Message{{
		Destination: to, Headers: []broker.Header{{Name: "waybill", Value: "receipt.v1"}}, Body: body,
	}}, waybill.Durable)
	return err
}

// errTaken says that a message was handled before.
var errTaken = errors.New("handled before")

// handle writes a message's effect and, in the same transaction, that it was handled.
func (a *abroad) handle(ctx context.Context, m *broker.Message) (receipt, error) {
	of := headersOf(m)
	r := receipt{ID: of["messageId"], Outcome: "done"}
	fail := func(outcome string, err error) receipt {
		a.failures.Add(1)
		r.Outcome, r.Error = outcome, err.Error()
		return r
	}
	id, err := waybill.ParseID(r.ID)
	if err != nil {
		return fail("rejected", err), nil
	}
	var p payload
	if err := json.Unmarshal(m.Body, &p); err != nil {
		return fail("rejected", err), nil
	}
	faults := *a.faults.Load()
	switch {
	case faults.Reject > 0 && pick(r.ID, faults.Reject):
		a.misdeeds.Add(1)
		return fail("rejected", errors.New("not taken, for as long as the fault is active")), nil
	case a.oneIn(faults.Fail):
		r.Tries = 1 + int(of.number("failures"))
		return fail("retry", errors.New("a foreign handler's failure")), nil
	case a.oneIn(faults.Retry):
		r.AfterMS = 300
		return fail("retry", errors.New("not now")), nil
	}
	err = a.write(ctx, &waybill.Message{ID: id, Sequence: of.number("sequence"), TimeStamp: of.number("timeStamp"), Attempt: int(of.number("attempt"))}, &p)
	if errors.Is(err, errTaken) {
		a.copies.Add(1)
		err = nil
	}
	return r, err
}

// write is the transaction.
func (a *abroad) write(ctx context.Context, m *waybill.Message, p *payload) error {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tx, err := a.db.BeginTx(limited, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	insert := `INSERT INTO {abroad_record} (message_id) VALUES (?) ON CONFLICT DO NOTHING`
	if a.db.isMySQL() {
		insert = `INSERT IGNORE INTO {abroad_record} (message_id) VALUES (?)`
	}
	written, err := tx.ExecContext(limited, a.db.sql(insert), m.ID.String())
	if err != nil {
		return err
	}
	switch n, err := written.RowsAffected(); {
	case err != nil:
		return err
	case n == 0:
		return errTaken
	}
	if err := a.db.effect(limited, tx, a.cmd.Name, m, errandKind, p.Errand, p); err != nil {
		return err
	}
	return tx.Commit()
}

func (a *abroad) oneIn(n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n <= 0 || a.dice.IntN(n) != 0 {
		return false
	}
	a.misdeeds.Add(1)
	return true
}

// headers are a message's, by name.
type headers map[string]string

func headersOf(m *broker.Message) headers {
	all := headers{}
	for _, h := range m.Headers {
		all[h.Name] = h.Value
	}
	return all
}

// number is a header's number; 0 without one.
func (h headers) number(name string) int64 {
	n, _ := strconv.ParseInt(h[name], 10, 64)
	return n
}

// Stats say what was received.
func (a *abroad) Stats() stats {
	return stats{
		Ready: a.connected.Load(), Received: a.received.Load(), Duplicates: a.copies.Load(), Failures: a.failures.Load(), Faults: a.Counts(),
		Misdeeds: a.misdeeds.Load(), Filled: a.db.filled.Load(),
	}
}

// Handle sets the faults of the network and of the handler.
func (a *abroad) Handle(cmd command) (stop bool) {
	if cmd.Handlers != nil {
		a.faults.Store(cmd.Handlers)
	}
	return a.network.Handle(cmd)
}
