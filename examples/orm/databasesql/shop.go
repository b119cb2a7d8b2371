// Package databasesql is the example with database/sql alone.
package databasesql

import (
	"context"
	"database/sql"
	"strconv"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
)

// Order is what is placed, and what travels.
type Order struct {
	ID   int64  `json:"id"`
	Item string `json:"item"`
}

// Shop places orders and ships them.
type Shop struct {
	DB     *sql.DB
	Outbox *outbox.Outbox
}

// Place inserts an order and sends it, both or neither.
func (s *Shop) Place(ctx context.Context, o Order) error {
	message, err := waybill.JSON("orders", strconv.FormatInt(o.ID, 10), o)
	if err != nil {
		return err
	}
	return s.Outbox.InTx(ctx, s.DB, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO orders (id, item) VALUES ($1, $2)`, o.ID, o.Item); err != nil {
			return err
		}
		return s.Outbox.Send(ctx, tx, message)
	})
}

// Ship handles an order's message in the inbox's transaction:
//
//	in.Handle("orders", waybill.Latest, inbox.JSON(shop.Ship))
func (s *Shop) Ship(ctx context.Context, tx *sql.Tx, _ *waybill.Message, o Order) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO shipments (order_id, item) VALUES ($1, $2)
		ON CONFLICT (order_id) DO UPDATE SET item = excluded.item`, o.ID, o.Item)
	return err
}
