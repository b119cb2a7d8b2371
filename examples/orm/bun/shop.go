// Package bun is the example with github.com/uptrace/bun.
package bun

import (
	"context"
	"database/sql"
	"strconv"

	"github.com/uptrace/bun"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
)

// Order is what is placed, and what travels.
type Order struct {
	ID   int64  `bun:",pk" json:"id"`
	Item string `json:"item"`
}

// Shipment is an order on its way.
type Shipment struct {
	OrderID int64 `bun:",pk"`
	Item    string
}

// Shop places orders and ships them.
type Shop struct {
	DB     *bun.DB
	Outbox *outbox.Outbox
}

// Place inserts an order and sends it, both or neither. Send takes a bun.Tx as it is.
func (s *Shop) Place(ctx context.Context, o Order) error {
	message, err := waybill.JSON("orders", strconv.FormatInt(o.ID, 10), o)
	if err != nil {
		return err
	}
	err = s.DB.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(&o).Exec(ctx); err != nil {
			return err
		}
		return s.Outbox.Send(ctx, tx, message)
	})
	if err == nil {
		s.Outbox.Wake(ctx, s.DB.DB) // the relay need not find out by itself
	}
	return err
}

// Ship handles an order's message in the inbox's transaction, which bun's queries take as
// their connection:
//
//	in.Handle("orders", waybill.Latest, inbox.JSON(shop.Ship))
func (s *Shop) Ship(ctx context.Context, tx *sql.Tx, _ *waybill.Message, o Order) error {
	_, err := s.DB.NewInsert().Conn(tx).Model(&Shipment{OrderID: o.ID, Item: o.Item}).
		On("CONFLICT (order_id) DO UPDATE").Set("item = excluded.item").Exec(ctx)
	return err
}
