package demo

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
)

// The two destinations: the state of orders, of which only the latest counts, and
// payments, each of which counts once.
const (
	toOrders   = "orders"
	toPayments = "payments"
)

// The order service's own tables. The journal is what the verdict is computed from:
// it is written in the same transaction as the change and its message, by the
// business's own statements, so it says what was committed whatever became of the
// messages. versions count an order's changes.
var ordersTables = []string{`
CREATE TABLE orders (
	id TEXT PRIMARY KEY,
	version INTEGER NOT NULL,
	state TEXT NOT NULL,
	address TEXT NOT NULL,
	amount INTEGER NOT NULL
) STRICT`, `
CREATE TABLE journal (
	n INTEGER PRIMARY KEY,
	message_id TEXT NOT NULL UNIQUE,
	destination TEXT NOT NULL,
	order_id TEXT NOT NULL,
	version INTEGER NOT NULL,
	state TEXT NOT NULL,
	address TEXT NOT NULL,
	amount INTEGER NOT NULL
) STRICT`}

const (
	placeOrder = `INSERT INTO orders (id, version, state, address, amount) VALUES (?, 1, 'placed', ?, ?)`

	advanceOrder = `
UPDATE orders SET version = version + 1, state = ?
WHERE id = ? AND state = ?
RETURNING version, state, address`

	moveOrder = `
UPDATE orders SET version = version + 1, address = ?
WHERE id = ?
RETURNING version, state, address`

	writeJournal = `
INSERT INTO journal (message_id, destination, order_id, version, state, address, amount)
VALUES (?, ?, ?, ?, ?, ?, ?)`
)

// orderState is the body of a message to orders: the whole state, so that the
// latest one makes all others superfluous.
type orderState struct {
	Order   string `json:"order"`
	Version int64  `json:"version"`
	State   string `json:"state"`
	Address string `json:"address"`
}

// payment is the body of a message to payments. Amounts are in cents.
type payment struct {
	Order  string `json:"order"`
	Amount int64  `json:"amount"`
}

// The states of an order, in their order.
var states = []string{"placed", "shipped", "delivered"}

// orderService is the order service.
type orderService struct {
	db  *sql.DB
	out *outbox.Outbox

	committed  atomic.Int64 // messages
	rolledBack atomic.Int64 // messages of transactions that were rolled back on purpose
}

// newOrderService makes the order service and its tables.
func newOrderService(ctx context.Context, db *sql.DB, dialect store.Dialect) (*orderService, error) {
	if err := store.Migrate(ctx, db, dialect, "", store.Producer); err != nil {
		return nil, err
	}
	if err := create(ctx, db, ordersTables); err != nil {
		return nil, err
	}
	out, err := outbox.New(dialect, nil)
	if err != nil {
		return nil, err
	}
	return &orderService{db: db, out: out}, nil
}

func create(ctx context.Context, db *sql.DB, tables []string) error {
	for _, table := range tables {
		if _, err := db.ExecContext(ctx, table); err != nil {
			return fmt.Errorf("make the demo's own tables: %w", err)
		}
	}
	return nil
}

// errRollBack rolls a transaction back on purpose, when all of it is done but the commit.
var errRollBack = errors.New("the customer has changed their mind")

// do runs a business transaction: change makes it and returns the bodies of its messages,
// to orders and, where there is one, to payments. With rollBack it is rolled back at the
// last moment.
func (s *orderService) do(ctx context.Context, order string, rollBack bool, change func(tx *sql.Tx) (*orderState, *payment, error)) error {
	n := int64(0)
	err := s.out.InTx(ctx, s.db, func(tx *sql.Tx) error {
		state, paid, err := change(tx)
		if err != nil {
			return err
		}
		messages := []waybill.Message{{ID: waybill.NewID(), Destination: toOrders, Key: order, Body: body(state)}}
		if err := journal(ctx, tx, &messages[0], *state, 0); err != nil {
			return err
		}
		if paid != nil {
			m := waybill.Message{ID: waybill.NewID(), Destination: toPayments, Body: body(paid)}
			if err := journal(ctx, tx, &m, orderState{Order: order}, paid.Amount); err != nil {
				return err
			}
			messages = append(messages, m)
		}
		n = int64(len(messages))
		if err := s.out.Send(ctx, tx, messages...); err != nil {
			return err
		}
		if rollBack {
			return errRollBack
		}
		return nil
	})
	switch {
	case errors.Is(err, errRollBack):
		s.rolledBack.Add(n)
		return nil
	case err != nil:
		return fmt.Errorf("order %s: %w", order, err)
	}
	s.committed.Add(n)
	return nil
}

// journal writes a message down in the journal.
func journal(ctx context.Context, tx *sql.Tx, m *waybill.Message, s orderState, amount int64) error {
	_, err := tx.ExecContext(ctx, writeJournal, m.ID, m.Destination, s.Order, s.Version, s.State, s.Address, amount)
	return err
}

func body(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // structs of strings and numbers always encode
	}
	return text
}

// place makes a new order; it is paid at once unless it is free.
func (s *orderService) place(ctx context.Context, order, address string, amount int64, rollBack bool) error {
	return s.do(ctx, order, rollBack, func(tx *sql.Tx) (*orderState, *payment, error) {
		if _, err := tx.ExecContext(ctx, placeOrder, order, address, amount); err != nil {
			return nil, nil, err
		}
		state := &orderState{order, 1, states[0], address}
		if amount == 0 {
			return state, nil, nil
		}
		return state, &payment{order, amount}, nil
	})
}

// advance takes an order from its state number step to the next.
func (s *orderService) advance(ctx context.Context, order string, step int, rollBack bool) error {
	return s.do(ctx, order, rollBack, func(tx *sql.Tx) (*orderState, *payment, error) {
		state, err := change(ctx, tx, order, advanceOrder, states[step+1], order, states[step])
		return state, nil, err
	})
}

// move sends an order to another address, whatever its state.
func (s *orderService) move(ctx context.Context, order, address string, rollBack bool) error {
	return s.do(ctx, order, rollBack, func(tx *sql.Tx) (*orderState, *payment, error) {
		state, err := change(ctx, tx, order, moveOrder, address, order)
		return state, nil, err
	})
}

func change(ctx context.Context, tx *sql.Tx, order, statement string, args ...any) (*orderState, error) {
	state := &orderState{Order: order}
	err := tx.QueryRowContext(ctx, statement, args...).Scan(&state.Version, &state.State, &state.Address)
	return state, err
}
