package demo

import (
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/internal/backoff"
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

// createShipping makes the shipping service's tables.
func createShipping(ctx context.Context, db *sql.DB, dialect store.Dialect) error {
	if err := store.Migrate(ctx, db, dialect, "", store.Consumer); err != nil {
		return err
	}
	return create(ctx, db, shippingTables)
}

// shippingProcess is the shipping service's process.
type shippingProcess struct {
	network
	in *inbox.Inbox
}

// newShipping makes the shipping service, whose handlers take as long as pace.
func newShipping(db *sql.DB, dialect store.Dialect, n network, pace time.Duration, log *slog.Logger) (*shippingProcess, error) {
	batch := 50
	if pace > 0 {
		batch = 10
	}
	in, err := inbox.New(db, dialect, n, &inbox.Options{
		Consumer: "shipping",
		Batch:    batch,
		Drain:    3 * time.Second,
		Logger:   log,
	})
	if err != nil {
		return nil, err
	}
	slowly := func(h inbox.Handler) inbox.Handler {
		return func(ctx context.Context, tx *sql.Tx, m *waybill.Message) error {
			backoff.Sleep(ctx, pace)
			return h(ctx, tx, m)
		}
	}
	in.Handle(toOrders, waybill.Latest, slowly(takeState))
	in.Handle(toPayments, waybill.Once, slowly(takePayment))
	return &shippingProcess{n, in}, nil
}

// Run consumes until ctx ends.
func (p *shippingProcess) Run(ctx context.Context) error { return p.in.Run(ctx) }

// Stats say what was handled.
func (p *shippingProcess) Stats() stats {
	s := p.in.Stats()
	return stats{Ready: s.Connected, Applied: s.Handled, Duplicates: s.Duplicates, Superseded: s.Superseded, Faults: p.Counts()}
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
