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
)

// moods are what the consumers' handlers do besides their work: one of so many calls
// each; 0 never.
type moods struct {
	Slow  int `json:"slow,omitempty"`  // takes up to a fifth of a second
	Hang  int `json:"hang,omitempty"`  // does not return until it is given up
	Panic int `json:"panic,omitempty"` // panics after its writes
	Fail  int `json:"fail,omitempty"`  // returns an error after its writes
	Later int `json:"later,omitempty"` // asks for another copy after a while
	// Reject is the share of messages, one of so many, that are given up: always the
	// same ones, for as long as the mood lasts.
	Reject int `json:"reject,omitempty"`
}

var badMood = moods{Slow: 30, Hang: 500, Panic: 100, Fail: 25, Later: 50, Reject: 25}

// consumer is a process that makes its own accounts or orders from messages.
type consumer struct {
	network
	e     errand
	books *books
	in    *inbox.Inbox
	mood  atomic.Pointer[moods]

	mu   sync.Mutex
	dice *rand.Rand
}

func newConsumer(e errand, log *slog.Logger) (*consumer, error) {
	b, err := openBooks(e.Database, e.Prefix)
	if err != nil {
		return nil, err
	}
	n, err := openNetwork(e)
	if err != nil {
		return nil, err
	}
	c := &consumer{network: n, e: e, books: b, dice: rand.New(rand.NewPCG(e.Seed, 7))}
	c.mood.Store(&moods{})
	receipts := waybill.Durable
	if e.Seed%2 == 0 { // each of its processes in its own way
		receipts = waybill.Transient
	}
	in, err := inbox.New(b.DB, b.dialect, n, &inbox.Options{
		Consumer: consumerName(e.Group), TablePrefix: e.Prefix,
		// Batches of transfers lock accounts in the order in which they come, and so
		// deadlock now and then, as they should here; with larger ones that would take
		// most of the time.
		Workers: 2, Batch: 50, Timeout: 3 * time.Second, MaxTries: 1000, Drain: 5 * time.Second,
		Retention: e.Retain, PruneEvery: time.Second, Receipts: receipts,
		Logger: log,
	})
	if err != nil {
		return nil, err
	}
	c.in = in
	switch e.Group {
	case onceGroup:
		in.Handle(e.Destinations.Transfers, waybill.Once, c.moody(c.transfer))
		in.Handle(e.Destinations.Quick, waybill.Once, c.moody(c.transfer))
		in.Handle(e.Destinations.Notices, waybill.Once, c.notice)
	case latestGroup:
		in.Handle(e.Destinations.Orders, waybill.Latest, c.moody(c.order))
	case mirrorGroup:
		in.HandleWith(e.Destinations.Public, waybill.Latest, c.moody(c.order), &inbox.HandleOptions{Topic: true})
	case auditGroup:
		in.HandleWith(e.Destinations.Public, waybill.Once, c.moody(c.audit), &inbox.HandleOptions{Topic: true})
	}
	return c, nil
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

type handler func(ctx context.Context, tx *sql.Tx, m *waybill.Message, b *business) error

// moody makes a handler of what a message does, with all that handlers do wrong.
func (c *consumer) moody(work handler) inbox.Handler {
	return func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
		var b business
		if err := json.Unmarshal(m.Body, &b); err != nil {
			return waybill.Permanent(err)
		}
		mood := *c.mood.Load()
		// What one of a topic's consumers rejects goes again to all of them.
		if mood.Reject > 0 && !m.Topic && pick(string(m.Body), mood.Reject) {
			return waybill.Permanent(errors.New("not taken, for as long as the mood lasts"))
		}
		if c.one(mood.Hang) {
			<-ctx.Done()
			return ctx.Err()
		}
		c.dawdle(ctx)
		if err := work(ctx, tx, m, &b); err != nil {
			return err
		}
		switch {
		case c.one(mood.Panic):
			panic("a handler's fault")
		case c.one(mood.Fail):
			return errors.New("a handler's failure")
		case c.one(mood.Later):
			return waybill.RetryAfter(300*time.Millisecond, errors.New("not now"))
		}
		return nil
	}
}

// dawdle takes its time, if the mood is so.
func (c *consumer) dawdle(ctx context.Context) {
	if c.one(c.mood.Load().Slow) {
		sleep(ctx, 200*time.Millisecond)
	}
}

// one is true in one of n cases.
func (c *consumer) one(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return n > 0 && c.dice.IntN(n) == 0
}

// pick picks one of n names, always the same ones.
func pick(name string, n int) bool { return hash(name)%uint64(n) == 0 }

func (c *consumer) transfer(ctx context.Context, tx *sql.Tx, m *waybill.Message, b *business) error {
	if err := c.books.move(ctx, tx, "book", map[string]int64{b.Source: -b.Amount, b.Target: b.Amount}); err != nil {
		return err
	}
	return c.effect(ctx, tx, m, "transfer", b.Transfer, b)
}

// notice may be slow and has no other moods: a failure would be the broker's to deliver
// again, and whether it does is its own affair.
func (c *consumer) notice(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
	var b business
	if err := json.Unmarshal(m.Body, &b); err != nil {
		return waybill.Permanent(err)
	}
	c.dawdle(ctx)
	return c.effect(ctx, tx, m, "notice", b.Notice, &b)
}

func (c *consumer) order(ctx context.Context, tx *sql.Tx, m *waybill.Message, b *business) error {
	_, err := tx.ExecContext(ctx, c.books.sql(`UPDATE {held} SET version = ?, token = ? WHERE id = ?`), b.Version, b.Token, b.Order)
	if err != nil {
		return err
	}
	return c.effect(ctx, tx, m, c.e.Group, b.Order, b)
}

func (c *consumer) audit(ctx context.Context, tx *sql.Tx, m *waybill.Message, b *business) error {
	return c.effect(ctx, tx, m, auditGroup, auditRef(state{b.Order, b.Version}), b)
}

// auditRef names a state of an order among the audit's effects.
func auditRef(s state) string { return fmt.Sprintf("%s/%d", s.id, s.version) }

// auditedState is what auditRef names.
func auditedState(ref string) (order string, version int64) {
	order, number, _ := strings.Cut(ref, "/")
	version, _ = strconv.ParseInt(number, 10, 64) // it is auditRef's
	return order, version
}

func (c *consumer) effect(ctx context.Context, tx *sql.Tx, m *waybill.Message, kind, ref string, b *business) error {
	_, err := tx.ExecContext(ctx, c.books.sql(`
		INSERT INTO {effect} (kind, ref, version, token, message_id, sequence, time_stamp, attempt, happened, who)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`),
		kind, ref, b.Version, b.Token, m.ID.String(), m.Sequence, m.TimeStamp, m.Attempt, time.Now().UnixMicro(), c.e.Name)
	return err
}

// Run consumes until ctx ends.
func (c *consumer) Run(ctx context.Context) error { return c.in.Run(ctx) }

// Tell tells what was received.
func (c *consumer) Tell() word {
	s := c.in.Stats()
	return word{
		Ready: s.Connected, Received: s.Received, Duplicates: s.Duplicates, Superseded: s.Superseded,
		Failures: s.Retried + s.Rejected, Forgotten: s.Forgotten, Pruned: s.Pruned, Faults: c.Counts(),
	}
}

// Hear sets the network's faults and the handlers' mood.
func (c *consumer) Hear(e errand) (stop bool) {
	if e.Mood != nil {
		c.mood.Store(e.Mood)
	}
	return c.network.Hear(e)
}
