// Package ent is the example with entgo.io/ent. The code in gen is generated with the
// features sql/execquery, which Send needs, and sql/upsert.
package ent

import (
	"context"
	"database/sql"
	"errors"
	"strconv"

	entsql "entgo.io/ent/dialect/sql"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/examples/orm/ent/gen"
	"github.com/waybill-go/waybill/outbox"
)

// Order is what travels.
type Order struct {
	ID   int64  `json:"id"`
	Item string `json:"item"`
}

// Shop places orders and ships them.
type Shop struct {
	Driver *entsql.Driver
	Outbox *outbox.Outbox
}

// Place inserts an order and sends it, both or neither. With sql/execquery Send takes a
// *gen.Tx as it is.
func (s *Shop) Place(ctx context.Context, o Order) error {
	message, err := waybill.JSON("orders", strconv.FormatInt(o.ID, 10), o)
	if err != nil {
		return err
	}
	tx, err := gen.NewClient(gen.Driver(s.Driver)).Tx(ctx)
	if err != nil {
		return err
	}
	if err := tx.Order.Create().SetID(o.ID).SetItem(o.Item).Exec(ctx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := s.Outbox.Send(ctx, tx, message); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	s.Outbox.Wake(ctx, s.Driver.DB()) // the relay need not find out by itself
	return nil
}

// Ship handles an order's message in the inbox's transaction:
//
//	in.Handle("orders", waybill.Latest, inbox.JSON(shop.Ship))
func (s *Shop) Ship(ctx context.Context, tx *sql.Tx, _ *waybill.Message, o Order) error {
	return s.within(tx).Shipment.Create().SetID(o.ID).SetItem(o.Item).OnConflictColumns("order_id").UpdateNewValues().Exec(ctx)
}

// within is a client in a transaction that somebody else has begun and ends.
func (s *Shop) within(tx *sql.Tx) *gen.Client {
	return gen.NewClient(gen.Driver(entsql.NewDriver(s.Driver.Dialect(), entsql.Conn{ExecQuerier: tx})))
}
