// Package order is the order service's business: orders that are placed, shipped
// and delivered. Each change commits together with the message that tells of it.
package order

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
)

// Destination is the queue that tells of orders.
const Destination = "orders"

// Changed is the body of a message: the whole state of an order, so that a consumer
// needs the latest one only.
type Changed struct {
	Order string `json:"order"`
	State string `json:"state"`
}

// The states of an order.
const (
	Placed    = "placed"
	Shipped   = "shipped"
	Delivered = "delivered"
)

// before is the state that an order has to be in for a change to the next one.
var before = map[string]string{Shipped: Placed, Delivered: Shipped}

// ErrState says that an order does not exist, or is in another state than the
// change is for.
var ErrState = errors.New("it does not exist, or is not in the state before")

// ErrPlaced says that an order of this id was placed before.
var ErrPlaced = errors.New("it was placed before")

const (
	createOrders = `CREATE TABLE IF NOT EXISTS orders (id varchar(100) PRIMARY KEY, state varchar(20) NOT NULL)`
	insertOrder  = `INSERT INTO orders (id, state) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING`
	changeOrder  = `UPDATE orders SET state = $1 WHERE id = $2 AND state = $3`
	readOrder    = `SELECT state FROM orders WHERE id = $1`
)

// Service is the order service. It is safe for concurrent use.
type Service struct {
	db  *sql.DB
	out *outbox.Outbox
}

// New makes the service and, where they are missing, its table and Waybill's.
func New(ctx context.Context, db *sql.DB, dialect store.Dialect) (*Service, error) {
	if err := store.Migrate(ctx, db, dialect, "", store.Producer); err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, createOrders); err != nil {
		return nil, err
	}
	out, err := outbox.New(dialect, nil)
	return &Service{db: db, out: out}, err
}

// Committed tells a relay in this process that there is something to send.
func (s *Service) Committed() <-chan struct{} { return s.out.Committed() }

// Place makes a new order. An order that was placed before is ErrPlaced, and nothing is
// sent.
func (s *Service) Place(ctx context.Context, id string) error {
	return s.out.InTx(ctx, s.db, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, insertOrder, id, Placed)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, fmt.Errorf("order %s cannot be placed: %w", id, ErrPlaced))
		}
		return s.tell(ctx, tx, id, Placed)
	})
}

// Change takes an order to the state Shipped or Delivered. An order that is not in the
// state before it is ErrState, and nothing is sent.
func (s *Service) Change(ctx context.Context, id, state string) error {
	return s.out.InTx(ctx, s.db, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, changeOrder, state, id, before[state])
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, fmt.Errorf("order %s cannot be %s: %w", id, state, ErrState))
		}
		return s.tell(ctx, tx, id, state)
	})
}

// tell sends the order's state with the transaction that has changed it.
func (s *Service) tell(ctx context.Context, tx *sql.Tx, id, state string) error {
	body, err := json.Marshal(Changed{Order: id, State: state})
	if err != nil {
		return err
	}
	return s.out.Send(ctx, tx, waybill.Message{Destination: Destination, Key: id, Body: body})
}

// State returns an order's state; sql.ErrNoRows says that there is no such order.
func (s *Service) State(ctx context.Context, id string) (state string, err error) {
	err = s.db.QueryRowContext(ctx, readOrder, id).Scan(&state)
	return state, err
}
