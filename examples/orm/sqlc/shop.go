// Package sqlc is the example with sqlc: the code in gen is generated from query.sql and
// schema.sql. It takes every transaction of database/sql, Waybill's too.
package sqlc

import (
	"context"
	"database/sql"
	"strconv"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/examples/orm/sqlc/gen"
	"github.com/waybill-go/waybill/outbox"
)

//go:generate go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.30.0 generate

// Shop places orders and ships them.
type Shop struct {
	DB     *sql.DB
	Outbox *outbox.Outbox
}

// Place inserts an order and sends it, both or neither.
func (s *Shop) Place(ctx context.Context, o gen.Order) error {
	message, err := waybill.JSON("orders", strconv.FormatInt(o.ID, 10), o)
	if err != nil {
		return err
	}
	return s.Outbox.InTx(ctx, s.DB, func(tx *sql.Tx) error {
		if err := gen.New(tx).InsertOrder(ctx, gen.InsertOrderParams(o)); err != nil {
			return err
		}
		return s.Outbox.Send(ctx, tx, message)
	})
}

// Ship handles an order's message in the inbox's transaction:
//
//	in.Handle("orders", waybill.Latest, inbox.JSON(shop.Ship))
func (s *Shop) Ship(ctx context.Context, tx *sql.Tx, _ *waybill.Message, o gen.Order) error {
	return gen.New(tx).KeepShipment(ctx, gen.KeepShipmentParams{OrderID: o.ID, Item: o.Item})
}
