// Package shipment is the shipping service's business: it keeps the latest state of
// each order. Messages may come twice, late and out of order; what Take is called with
// is newer than all that it was called with before.
package shipment

import (
	"context"
	"database/sql"
	"encoding/json"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/store"
)

const (
	createShipments = `CREATE TABLE IF NOT EXISTS shipments (order_id varchar(100) PRIMARY KEY, state varchar(20) NOT NULL)`
	readShipment    = `SELECT state FROM shipments WHERE order_id = $1`
	writeShipment   = `
INSERT INTO shipments (order_id, state) VALUES ($1, $2)
ON CONFLICT (order_id) DO UPDATE SET state = excluded.state`
)

// Service is the shipping service.
type Service struct {
	db    *sql.DB
	inbox *inbox.Inbox
}

// New makes the service and, where they are missing, its table and Waybill's.
func New(ctx context.Context, db *sql.DB, dialect store.Dialect, b broker.Broker, o *inbox.Options) (*Service, error) {
	if err := store.Migrate(ctx, db, dialect, "", store.Consumer); err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, createShipments); err != nil {
		return nil, err
	}
	in, err := inbox.New(db, dialect, b, o)
	if err != nil {
		return nil, err
	}
	s := &Service{db: db, inbox: in}
	in.Handle("orders", waybill.Latest, s.Take)
	return s, nil
}

// Run takes messages until ctx ends.
func (s *Service) Run(ctx context.Context) error { return s.inbox.Run(ctx) }

// Take applies one message in the transaction that the inbox has opened. An error rolls
// back everything, and the message comes again; a batch that was rolled back is run
// again, so that Take may see a message more than once and its effect is there once.
func (s *Service) Take(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
	var changed struct {
		State string `json:"state"`
	}
	if err := json.Unmarshal(m.Body, &changed); err != nil {
		return waybill.Permanent(err) // no further try can help: it goes back to the sender
	}
	_, err := tx.ExecContext(ctx, writeShipment, m.Key, changed.State)
	return err
}

// State returns the latest state of an order that has arrived; sql.ErrNoRows says
// that none has.
func (s *Service) State(ctx context.Context, id string) (state string, err error) {
	err = s.db.QueryRowContext(ctx, readShipment, id).Scan(&state)
	return state, err
}
