// Package pgx is the example with github.com/jackc/pgx and its own pool.
package pgx

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store/postgres/pgxdriver"
)

// Order is what is placed, and what travels.
type Order struct {
	ID   int64  `json:"id"`
	Item string `json:"item"`
}

// Shop places orders and ships them.
type Shop struct {
	Pool   *pgxpool.Pool
	Outbox *outbox.Outbox
}

// Place inserts an order and sends it, both or neither.
func (s *Shop) Place(ctx context.Context, o Order) error {
	message, err := waybill.JSON("orders", strconv.FormatInt(o.ID, 10), o)
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, s.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO orders (id, item) VALUES ($1, $2)`, o.ID, o.Item); err != nil {
			return err
		}
		return s.Outbox.Send(ctx, pgxdriver.Tx(tx), message)
	})
	if err == nil {
		s.Outbox.Wake(ctx, pgxdriver.Pool(s.Pool)) // relays need not find out by themselves
	}
	return err
}

// Ship handles an order's message in the inbox's transaction. The inbox works on the pool, too:
//
//	in, err := inbox.New(stdlib.OpenDBFromPool(pool), postgres.Dialect(), brk, nil)
//	in.Handle("orders", waybill.Latest, inbox.JSON(pgxdriver.Decoded(shop.Ship)))
func (s *Shop) Ship(ctx context.Context, tx pgx.Tx, _ *waybill.Message, o Order) error {
	_, err := tx.Exec(ctx, `INSERT INTO shipments (order_id, item) VALUES ($1, $2)
		ON CONFLICT (order_id) DO UPDATE SET item = excluded.item`, o.ID, o.Item)
	return err
}
