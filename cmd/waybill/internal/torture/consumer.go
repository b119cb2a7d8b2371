package torture

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/backoff"
)

// handlerFaults are what the consumers' handlers do besides their work: in one of so many
// calls each; 0 never.
type handlerFaults struct {
	Slow  int `json:"slow,omitempty"`  // takes up to a fifth of a second
	Hang  int `json:"hang,omitempty"`  // does not return until it is given up
	Panic int `json:"panic,omitempty"` // panics after its writes
	Fail  int `json:"fail,omitempty"`  // returns an error after its writes
	Retry int `json:"retry,omitempty"` // asks for another copy after a while
	End   int `json:"end,omitempty"`   // ends its transaction after its writes, or has it ended, and says nothing
	// Reject is the share of messages, one of so many, that are given up: always the
	// same ones, for as long as this fault is active.
	Reject int `json:"reject,omitempty"`
}

// allHandlerFaults are what the fault "handlers" does.
var allHandlerFaults = handlerFaults{Slow: 30, Hang: 500, Panic: 100, Fail: 25, Retry: 50, End: 50, Reject: 25}

// consumer is a process that makes its own accounts or orders from messages.
type consumer struct {
	network
	cmd    command
	db     *database
	in     *inbox.Inbox
	faults atomic.Pointer[handlerFaults]

	misdeeds atomic.Int64 // of the handlers

	mu     sync.Mutex
	dice   *rand.Rand
	failed map[string]int // how often foreign messages were handled
}

func newConsumer(cmd command, log *slog.Logger) (*consumer, error) {
	d, n, err := connect(cmd)
	if err != nil {
		return nil, err
	}
	c := &consumer{network: n, cmd: cmd, db: d, dice: rand.New(rand.NewPCG(cmd.Seed, 7)), failed: map[string]int{}}
	c.faults.Store(&handlerFaults{})
	receipts := waybill.Durable
	if cmd.Seed%2 == 0 { // which differs from one life to the next
		receipts = waybill.Transient
	}
	c.in, err = inbox.New(d.DB, d.dialect, n, &inbox.Options{
		Consumer: consumerName(cmd.Group), TablePrefix: cmd.Prefix,
		// Batches of transfers lock accounts in the order in which they come, and so
		// deadlock now and then, as they should here; with larger ones that would take
		// most of the time.
		Workers: 2, Batch: 50, Timeout: 3 * time.Second, MaxTries: 1000, Drain: 5 * time.Second,
		Retention: cmd.Retention, PruneEvery: time.Second, Receipts: receipts,
		Logger: log,
	})
	if err != nil {
		return nil, err
	}
	c.handle(cmd.Group, cmd.Destinations)
	return c, nil
}

// handle names the handlers of a group.
func (c *consumer) handle(group string, from destinations) {
	topic := &inbox.HandleOptions{Topic: true}
	switch group {
	case onceGroup:
		c.in.Handle(from.Transfers, waybill.Once, c.withFaults(c.transfer))
		c.in.Handle(from.Quick, waybill.Once, c.withFaults(c.transfer))
		c.in.Handle(from.Parcels, waybill.Once, c.faultyHandler(unpack, c.parcel))
		c.in.Handle(from.Errands, waybill.Once, c.withFaults(c.errand))
		c.in.Handle(from.Notices, waybill.Once, c.notice)
	case latestGroup:
		c.in.Handle(from.Orders, waybill.Latest, c.withFaults(c.order))
	case mirrorGroup:
		c.in.HandleWith(from.Public, waybill.Latest, c.withFaults(c.order), topic)
	case auditGroup:
		c.in.HandleWith(from.Public, waybill.Once, c.withFaults(c.audit), topic)
	}
}

// The consumer groups: one keeps accounts and takes every transfer once, and one keeps
// the latest state of the orders that come through a queue. Of those that come through
// the topic, one keeps the latest state, and one takes every state once.
const (
	onceGroup   = "once"
	latestGroup = "latest"
	mirrorGroup = "mirror"
	auditGroup  = "audit"
)

var topicGroups = []string{mirrorGroup, auditGroup}

// consumerName is a group's name as the inbox has it.
func consumerName(group string) string { return "torture-" + group }

// handler is what a message does.
type handler func(ctx context.Context, tx *sql.Tx, m *waybill.Message, p *payload) error

// withFaults makes an inbox's handler of work, with all that handlers do wrong.
func (c *consumer) withFaults(work handler) inbox.Handler { return c.faultyHandler(readBody, work) }

// readBody reads a message's payload from its body.
func readBody(m *waybill.Message) (*payload, error) {
	p := new(payload)
	if err := json.Unmarshal(m.Body, p); err != nil {
		return nil, waybill.Permanent(err)
	}
	return p, nil
}

// faultyHandler is withFaults for messages that read reads.
func (c *consumer) faultyHandler(read func(*waybill.Message) (*payload, error), work handler) inbox.Handler {
	return func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		p, err := read(m)
		if err != nil {
			return err
		}
		if p.Foreign != "" {
			return c.visit(ctx, tx, m, p)
		}
		faults := *c.faults.Load()
		// What one of a topic's consumers rejects goes again to all of them.
		if faults.Reject > 0 && !m.Topic && pick(m.ID.String(), faults.Reject) {
			c.misdeeds.Add(1)
			return waybill.Permanent(errors.New("not taken, for as long as the fault is active"))
		}
		if c.oneIn(faults.Hang) {
			<-ctx.Done()
			return ctx.Err()
		}
		c.delay(ctx)
		if err := work(ctx, tx, m, p); err != nil {
			return err
		}
		switch {
		case c.oneIn(faults.Panic):
			panic("a handler's fault")
		case c.oneIn(faults.Fail):
			return errors.New("a handler's failure")
		case c.oneIn(faults.Retry):
			return waybill.RetryAfter(300*time.Millisecond, errors.New("not now"))
		case c.oneIn(faults.End):
			if c.end(ctx, tx) {
				// What it goes on to write must not be all that is left of it.
				_ = c.effect(ctx, tx, m, behindKind, p.Token, p)
			}
		}
		return nil
	}
}

// end ends a transaction in one of the waysToEnd, and reports whether it has ended.
func (c *consumer) end(ctx context.Context, tx *sql.Tx) bool {
	ways := c.waysToEnd(ctx, tx)
	c.mu.Lock()
	way := ways[c.dice.IntN(len(ways))]
	c.mu.Unlock()
	return way()
}

// waysToEnd are the things that end a transaction behind the back of who has begun it, and
// ignore what is said to that. Each reports whether the transaction has ended: inside an XA
// branch MySQL refuses the statements that would end it, and it goes on.
func (c *consumer) waysToEnd(ctx context.Context, tx *sql.Tx) []func() bool {
	statement := func(text string) func() bool {
		return func() bool {
			_, err := tx.ExecContext(ctx, c.db.sql(text))
			return err == nil || !c.db.isMySQL()
		}
	}
	ways := []func() bool{
		func() bool { _ = tx.Commit(); return true },
		func() bool { _ = tx.Rollback(); return true },
		statement(`COMMIT`),
	}
	switch {
	case c.db.kind == "sqlite":
		ways = append(ways, statement(`ROLLBACK`),
			statement(`INSERT OR ROLLBACK INTO {consumer_account} SELECT id, balance FROM {consumer_account} LIMIT 1`))
	case c.db.isMySQL():
		ways = append(ways, statement(`ROLLBACK`), statement(`CREATE TABLE IF NOT EXISTS {consumer_account} (id INT)`))
	case c.db.isPostgres():
		ways = append(ways, statement(`SELECT 1 / 0`))
	}
	return ways
}

// delay takes a while, where handlers are slow.
func (c *consumer) delay(ctx context.Context) {
	if c.oneIn(c.faults.Load().Slow) {
		backoff.Sleep(ctx, 200*time.Millisecond)
	}
}

// oneIn is true in one of n cases, and counts these as misdeeds; never for 0.
func (c *consumer) oneIn(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n <= 0 || c.dice.IntN(n) != 0 {
		return false
	}
	c.misdeeds.Add(1)
	return true
}

// pick picks one of n names, always the same ones.
func pick(name string, n int) bool { return hash(name)%uint64(n) == 0 }

func (c *consumer) transfer(ctx context.Context, tx *sql.Tx, m *waybill.Message, p *payload) error {
	if err := c.db.move(ctx, tx, "consumer_account", map[string]int64{p.Source: -p.Amount, p.Target: p.Amount}); err != nil {
		return err
	}
	return c.effect(ctx, tx, m, transferKind, p.Transfer, p)
}

// notice may be slow and has no other faults: after a failure the broker would have to
// deliver the message again, and not every broker does.
func (c *consumer) notice(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
	p, err := readBody(m)
	if err != nil {
		return err
	}
	c.delay(ctx)
	return c.effect(ctx, tx, m, noticeKind, p.Notice, p)
}

func (c *consumer) parcel(ctx context.Context, tx *sql.Tx, m *waybill.Message, p *payload) error {
	return c.effect(ctx, tx, m, parcelKind, p.Parcel, p)
}

func (c *consumer) order(ctx context.Context, tx *sql.Tx, m *waybill.Message, p *payload) error {
	_, err := tx.ExecContext(ctx, c.db.sql(`UPDATE {consumer_order} SET version = ?, token = ? WHERE id = ?`), p.Version, p.Token, p.Order)
	if err != nil {
		return err
	}
	return c.effect(ctx, tx, m, c.cmd.Group, p.Order, p)
}

func (c *consumer) audit(ctx context.Context, tx *sql.Tx, m *waybill.Message, p *payload) error {
	return c.effect(ctx, tx, m, auditGroup, auditRef(state{p.Order, p.Version}), p)
}

// auditRef names a state of an order among the audit's effects.
func auditRef(s state) string { return fmt.Sprintf("%s/%d", s.id, s.version) }

// auditedState is what auditRef names.
func auditedState(ref string) (order string, version int64) {
	order, number, _ := strings.Cut(ref, "/")
	version, _ = strconv.ParseInt(number, 10, 64) // auditRef has written it
	return order, version
}

func (c *consumer) effect(ctx context.Context, tx *sql.Tx, m *waybill.Message, kind, ref string, p *payload) error {
	return c.db.effect(ctx, tx, c.cmd.Name, m, kind, ref, p)
}

// effect writes that a message took effect at the process of a name.
func (d *database) effect(ctx context.Context, tx *sql.Tx, who string, m *waybill.Message, kind, ref string, p *payload) error {
	_, err := tx.ExecContext(ctx, d.sql(`
		INSERT INTO {effect} (kind, ref, version, token, message_id, sequence, time_stamp, attempt, happened, who, due, digest)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`),
		kind, ref, p.Version, p.Token, m.ID.String(), m.Sequence, m.TimeStamp, m.Attempt, time.Now().UnixMicro(), who, p.Due, p.Digest)
	return err
}

// Run consumes until ctx ends.
func (c *consumer) Run(ctx context.Context) error { return c.in.Run(ctx) }

// Stats say what was received.
func (c *consumer) Stats() stats {
	s := c.in.Stats()
	return stats{
		Ready: s.Connected, Received: s.Received, Duplicates: s.Duplicates, Superseded: s.Superseded,
		Failures: s.Retried + s.Rejected, Forgotten: s.Forgotten, Pruned: s.Pruned, Faults: c.Counts(),
		Misdeeds: c.misdeeds.Load(), Filled: c.db.filled.Load(),
	}
}

// Handle sets the faults of the network and of the handlers.
func (c *consumer) Handle(cmd command) (stop bool) {
	if cmd.Handlers != nil {
		c.faults.Store(cmd.Handlers)
	}
	return c.network.Handle(cmd)
}
