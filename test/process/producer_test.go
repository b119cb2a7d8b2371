package process

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store/postgres"
)

// The producer's own tables: orders whose state changes, with all states they ever
// had, and payments. A token tells a state that was committed from one that was
// rolled back under the same version.
const producerTables = `
CREATE TABLE orders (id text PRIMARY KEY, version bigint NOT NULL, token text NOT NULL);
CREATE TABLE order_states (id text, version bigint, token text NOT NULL, PRIMARY KEY (id, version));
CREATE TABLE payments (id text PRIMARY KEY);`

const (
	orderCount  = 40
	workers     = 4
	maxBacklog  = 3000 // rows in the outbox at which the workers pause
	rollbacksIn = 4    // of so many transactions one is not committed
)

// producer is workers that commit and roll back.
type producer struct {
	db       *sql.DB
	out      *outbox.Outbox
	payments string // destination of level Once
	orders   string // destination of level Latest

	committed, rolledBack atomic.Int64 // transactions
	sent                  atomic.Int64 // messages of committed ones
	backlog               func() int64 // rows in the outbox
}

func newProducer(db *sql.DB, payments, orders string, backlog func() int64) (*producer, error) {
	out, err := outbox.New(postgres.Dialect(), nil)
	return &producer{db: db, out: out, payments: payments, orders: orders, backlog: backlog}, err
}

// start lets the workers work until stop is called, which waits for them.
func (p *producer) start(t *testing.T, seed uint64) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for i := range workers {
		group.Go(func() {
			dice := rand.New(rand.NewPCG(seed, uint64(i)))
			for n := 0; ctx.Err() == nil; n++ {
				if p.backlog() > maxBacklog {
					select {
					case <-ctx.Done():
					case <-time.After(pollEvery):
					}
					continue
				}
				if err := p.transact(ctx, dice, fmt.Sprintf("%d-%d", i, n)); err != nil && ctx.Err() == nil {
					t.Errorf("a transaction failed: %v", err)
					return
				}
			}
		})
	}
	return func() {
		cancel()
		group.Wait()
	}
}

var errRollBack = errors.New("changed my mind")

// transact runs one transaction and commits it, rolls it back, or has the server cut
// its connection in the middle. token names it.
func (p *producer) transact(ctx context.Context, dice *rand.Rand, token string) error {
	change := p.change(dice, token)
	rollBack := dice.IntN(rollbacksIn) == 0
	cut := rollBack && dice.IntN(8) == 0
	sent := 0
	// The context of the test's end must not leave a commit's outcome unknown.
	err := p.out.InTx(context.WithoutCancel(ctx), p.db, func(tx *sql.Tx) error {
		n, err := change(tx)
		sent = n
		switch {
		case err != nil:
			return err
		case cut:
			_, err := tx.Exec(`SELECT pg_terminate_backend(pg_backend_pid())`)
			return errors.Join(errRollBack, err)
		case rollBack:
			return errRollBack
		}
		return nil
	})
	switch {
	case err == nil && !rollBack:
		p.committed.Add(1)
		p.sent.Add(int64(sent))
	case errors.Is(err, errRollBack):
		p.rolledBack.Add(1)
	default:
		return err
	}
	return nil
}

// change is a business change of a few orders and payments, with their messages. Two
// changes lock orders in one order, so that they cannot deadlock.
func (p *producer) change(dice *rand.Rand, token string) func(tx *sql.Tx) (int, error) {
	orders := dice.Perm(orderCount)[:dice.IntN(4)]
	slices.Sort(orders)
	payments := dice.IntN(4)
	if len(orders) == 0 {
		payments++
	}
	return func(tx *sql.Tx) (int, error) {
		ctx := context.Background()
		var messages []waybill.Message
		for _, n := range orders {
			id := fmt.Sprintf("order-%02d", n)
			var version int64
			err := tx.QueryRow(`
				INSERT INTO orders AS o VALUES ($1, 1, $2)
				ON CONFLICT (id) DO UPDATE SET version = o.version + 1, token = excluded.token
				RETURNING version`, id, token).Scan(&version)
			if err == nil {
				_, err = tx.Exec(`INSERT INTO order_states VALUES ($1, $2, $3)`, id, version, token)
			}
			if err != nil {
				return 0, err
			}
			messages = append(messages, waybill.Message{Destination: p.orders, Key: id, Body: fmt.Appendf(nil, "%d %s", version, token)})
		}
		for i := range payments {
			id := fmt.Sprintf("%s-%d", token, i)
			if _, err := tx.Exec(`INSERT INTO payments VALUES ($1)`, id); err != nil {
				return 0, err
			}
			messages = append(messages, waybill.Message{Destination: p.payments, Body: []byte(id)})
		}
		return len(messages), p.out.Send(ctx, tx, messages...)
	}
}
