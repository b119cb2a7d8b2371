package demo

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/store"
)

// The shipping service's own tables. Its handlers guard nothing themselves: they
// overwrite a shipment with whatever comes and add to the balance whatever comes,
// so that a double or a stale effect would show. The history is only appended to:
// it says what was applied, and in which order.
var shippingTables = []string{`
CREATE TABLE shipments (
	order_id TEXT PRIMARY KEY,
	version INTEGER NOT NULL,
	state TEXT NOT NULL,
	address TEXT NOT NULL
) STRICT`, `
CREATE TABLE account (
	balance INTEGER NOT NULL
) STRICT`, `
INSERT INTO account (balance) VALUES (0)`, `
CREATE TABLE history (
	n INTEGER PRIMARY KEY,
	message_id TEXT NOT NULL,
	destination TEXT NOT NULL,
	order_id TEXT NOT NULL,
	version INTEGER NOT NULL,
	state TEXT NOT NULL,
	address TEXT NOT NULL,
	amount INTEGER NOT NULL
) STRICT`}

const (
	overwriteShipment = `
INSERT INTO shipments (order_id, version, state, address) VALUES (?, ?, ?, ?)
ON CONFLICT (order_id) DO UPDATE SET version = excluded.version, state = excluded.state, address = excluded.address`

	addToBalance = `UPDATE account SET balance = balance + ?`

	writeHistory = `
INSERT INTO history (message_id, destination, order_id, version, state, address, amount)
VALUES (?, ?, ?, ?, ?, ?, ?)`
)

// openShipping makes the shipping service's tables.
func openShipping(ctx context.Context, db *sql.DB, dialect store.Dialect) error {
	if err := store.Migrate(ctx, db, dialect, "", store.Consumer); err != nil {
		return err
	}
	return create(ctx, db, shippingTables)
}

// handleShipping names the shipping service's handlers, which take their time.
func handleShipping(in *inbox.Inbox, pace time.Duration) {
	at := func(h inbox.Handler) inbox.Handler {
		return func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			sleep(ctx, pace)
			return h(ctx, tx, m)
		}
	}
	in.Handle(toOrders, waybill.Latest, at(takeState))
	in.Handle(toPayments, waybill.Once, at(takePayment))
}

func takeState(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
	var s orderState
	if err := json.Unmarshal(m.Body, &s); err != nil {
		return waybill.Permanent(err)
	}
	if _, err := tx.ExecContext(ctx, overwriteShipment, s.Order, s.Version, s.State, s.Address); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, writeHistory, m.ID, m.Destination, s.Order, s.Version, s.State, s.Address, 0)
	return err
}

func takePayment(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
	var p payment
	if err := json.Unmarshal(m.Body, &p); err != nil {
		return waybill.Permanent(err)
	}
	if _, err := tx.ExecContext(ctx, addToBalance, p.Amount); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, writeHistory, m.ID, m.Destination, p.Order, 0, "", "", p.Amount)
	return err
}
