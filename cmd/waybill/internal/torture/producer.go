package torture

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
)

// business is a message's body.
type business struct {
	Token   string `json:"token"` // of the transaction
	Order   string `json:"order,omitempty"`
	Version int64  `json:"version,omitempty"`

	Notice string `json:"notice,omitempty"`

	Transfer string `json:"transfer,omitempty"`
	Source   string `json:"source,omitempty"`
	Target   string `json:"target,omitempty"`
	Amount   int64  `json:"amount,omitempty"`
}

// producer is a process of clerks who move money and orders, in transactions that
// commit, roll back, or take long.
type producer struct {
	e       errand
	books   *books
	out     *outbox.Outbox
	journal *journal
	log     *slog.Logger

	waiting                        atomic.Int64 // rows in the outbox
	ready, doomed                  atomic.Bool
	commits, rollbacks, uncertains atomic.Int64 // transactions
}

const (
	clerks      = 4
	maxWaiting  = 8_000 // rows in the outbox at which the clerks pause
	hotOrders   = 4     // of all orders these get half of the changes
	noticeOne   = 4     // of so many transactions one has a notice
	rollbackOne = 6     // of so many transactions one is rolled back
	lingerOne   = 40    // of so many one stays open for a while after Send
	lingerMost  = 700 * time.Millisecond
)

func newProducer(e errand, log *slog.Logger) (*producer, error) {
	b, err := openBooks(e.Database, e.Prefix)
	if err != nil {
		return nil, err
	}
	b.SetMaxOpenConns(clerks + 1)
	out, err := outbox.New(b.dialect, &outbox.Options{TablePrefix: e.Prefix})
	if err != nil {
		return nil, err
	}
	j, err := openJournal(e.Journal)
	return &producer{e: e, books: b, out: out, journal: j, log: log}, err
}

// Run lets the clerks work until ctx ends.
func (p *producer) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { p.watch(ctx) })
	for i := range clerks {
		work.Go(func() {
			dice := rand.New(rand.NewPCG(p.e.Seed, uint64(i)))
			for n := 0; ctx.Err() == nil; n++ {
				if p.waiting.Load() > maxWaiting {
					sleep(ctx, 20*time.Millisecond)
					continue
				}
				token := fmt.Sprintf("%s-%d-%d", p.e.Name, i, n)
				if err := p.transact(ctx, dice, token); err != nil && ctx.Err() == nil {
					p.log.WarnContext(ctx, "transaction failed", slog.String("token", token), slog.Any("error", err))
					sleep(ctx, 100*time.Millisecond)
				}
				sleep(ctx, p.e.Pace)
			}
		})
	}
	return nil
}

// watch counts the outbox's rows now and then.
func (p *producer) watch(ctx context.Context) {
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		if n, err := p.books.number(limited, `SELECT count(*) FROM {qmessage}`); err == nil {
			p.waiting.Store(n)
			p.ready.Store(true)
		}
		cancel()
		sleep(ctx, 200*time.Millisecond)
	}
}

// transact runs one transaction to whatever end the dice say, and notes it.
func (p *producer) transact(ctx context.Context, dice *rand.Rand, token string) error {
	// Not ctx: the end of the process must not leave outcomes unknown. A database that
	// is away or hangs is given up.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	doomed := dice.IntN(rollbackOne) == 0
	tx, err := p.books.BeginTx(limited, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := p.change(limited, tx, dice, token); err != nil {
		return errors.Join(err, p.rollBack(tx, token))
	}
	if dice.IntN(lingerOne) == 0 {
		sleep(ctx, time.Duration(dice.Int64N(int64(lingerMost))))
	}
	if doomed {
		return p.rollBack(tx, token)
	}
	if err := p.journal.write(token, begun); err != nil {
		return err
	}
	if p.doomed.Load() {
		go die(time.Duration(dice.Int64N(int64(time.Millisecond))))
	}
	if err := tx.Commit(); err != nil {
		p.uncertains.Add(1)
		return errors.Join(err, p.journal.write(token, unknown))
	}
	p.commits.Add(1)
	return p.journal.write(token, committed)
}

// rollBack ends a transaction that was not committed. Whether the database has heard
// of it does not matter: it never got a COMMIT.
func (p *producer) rollBack(tx *sql.Tx, token string) error {
	_ = tx.Rollback()
	p.rollbacks.Add(1)
	return p.journal.write(token, rolledBack)
}

// die ends this process without notice a moment from now.
func die(in time.Duration) {
	time.Sleep(in)
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
}

// change changes some orders and moves some money, and sends a message of each. All
// clerks lock what they change in one order, so that they cannot deadlock.
func (p *producer) change(ctx context.Context, tx *sql.Tx, dice *rand.Rand, token string) error {
	var changed []string
	for range dice.IntN(3) {
		n := dice.IntN(orders)
		if dice.IntN(2) == 0 {
			n = dice.IntN(hotOrders)
		}
		changed = append(changed, orderName(n, p.e.Topic))
	}
	slices.Sort(changed)
	changed = slices.Compact(changed)
	transfers := dice.IntN(p.e.Transfers + 1)
	if len(changed) == 0 {
		transfers = max(transfers, 1)
	}
	var messages []waybill.Message
	for _, id := range changed {
		m, err := p.changeOrder(ctx, tx, id, token)
		if err != nil {
			return err
		}
		messages = append(messages, m)
	}
	moves := make([]business, transfers)
	deltas := map[string]int64{}
	for i := range moves {
		from := dice.IntN(accounts)
		to := (from + 1 + dice.IntN(accounts-1)) % accounts
		moves[i] = business{
			Token: token, Transfer: fmt.Sprintf("%s-%d", token, i),
			Source: accountName(from), Target: accountName(to), Amount: 1 + dice.Int64N(100),
		}
		deltas[moves[i].Source] -= moves[i].Amount
		deltas[moves[i].Target] += moves[i].Amount
	}
	if err := p.books.move(ctx, tx, "account", deltas); err != nil {
		return err
	}
	var values []any
	for _, b := range moves {
		m := p.message(p.e.Destinations.Transfers, "", b)
		if dice.IntN(2) == 0 {
			m.Destination = p.e.Destinations.Quick
		}
		values = append(values, b.Transfer, b.Source, b.Target, b.Amount, m.ID.String())
		messages = append(messages, m)
	}
	if len(moves) > 0 {
		insert := `INSERT INTO {transfer} (id, source, target, amount, message_id) VALUES ` + placeholders(transfers, "(?, ?, ?, ?, ?)")
		if _, err := tx.ExecContext(ctx, p.books.sql(insert), values...); err != nil {
			return err
		}
	}
	if dice.IntN(noticeOne) == 0 {
		b := business{Token: token, Notice: token + "-notice"}
		m := p.message(p.e.Destinations.Notices, "", b)
		if _, err := tx.ExecContext(ctx, p.books.sql(`INSERT INTO {notice} (id, message_id) VALUES (?, ?)`), b.Notice, m.ID.String()); err != nil {
			return err
		}
		messages = append(messages, m)
	}
	return p.out.Send(ctx, tx, messages...)
}

func (p *producer) changeOrder(ctx context.Context, tx *sql.Tx, id, token string) (waybill.Message, error) {
	b := business{Token: token, Order: id}
	_, err := tx.ExecContext(ctx, p.books.sql(`UPDATE {orders} SET version = version + 1 WHERE id = ?`), id)
	if err == nil {
		err = tx.QueryRowContext(ctx, p.books.sql(`SELECT version FROM {orders} WHERE id = ?`), id).Scan(&b.Version)
	}
	m := p.message(p.e.Destinations.Orders, id, b)
	if isPublic(id) {
		m.Destination, m.Topic = p.e.Destinations.Public, true
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, p.books.sql(`INSERT INTO {order_state} (id, version, token, message_id) VALUES (?, ?, ?, ?)`), id, b.Version, token, m.ID.String())
	}
	return m, err
}

// message makes a message whose id is of the clock that this process has.
func (p *producer) message(to, key string, b business) waybill.Message {
	body, err := json.Marshal(b)
	if err != nil {
		panic(err) // strings and numbers
	}
	return waybill.Message{ID: waybill.NewIDAt(time.Now().Add(p.e.Skew)), Destination: to, Key: key, Body: body}
}

// move changes balances, in the accounts' order.
func (b *books) move(ctx context.Context, tx *sql.Tx, table string, deltas map[string]int64) error {
	ids := make([]string, 0, len(deltas))
	for id := range deltas {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if _, err := tx.ExecContext(ctx, b.sql(`UPDATE {`+table+`} SET balance = balance + ? WHERE id = ?`), deltas[id], id); err != nil {
			return err
		}
	}
	return nil
}

// Tell tells of the transactions.
func (p *producer) Tell() word {
	return word{Ready: p.ready.Load(), Commits: p.commits.Load(), Rollbacks: p.rollbacks.Load(), Uncertain: p.uncertains.Load()}
}

// Hear hears of the end: a good one, or one inside the next COMMIT.
func (p *producer) Hear(e errand) (stop bool) {
	if e.DieInCommit {
		p.doomed.Store(true)
	}
	return e.Stop
}
