// Package sqlx is the example with github.com/jmoiron/sqlx.
package sqlx

import (
	"context"
	"database/sql"
	"strconv"

	"github.com/jmoiron/sqlx"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
)

// Order is what is placed, and what travels.
type Order struct {
	ID   int64  `db:"id" json:"id"`
	Item string `db:"item" json:"item"`
}

// Shop places orders and ships them.
type Shop struct {
	DB     *sqlx.DB
	Outbox *outbox.Outbox
}

// Place inserts an order and sends it, both or neither. Send takes a *sqlx.Tx as it is.
func (s *Shop) Place(ctx context.Context, o Order) error {
	message, err := waybill.JSON("orders", strconv.FormatInt(o.ID, 10), o)
	if err != nil {
		return err
	}
	tx, err := s.DB.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after the commit
	if _, err := tx.NamedExecContext(ctx, `INSERT INTO orders (id, item) VALUES (:id, :item)`, o); err != nil {
		return err
	}
	if err := s.Outbox.Send(ctx, tx, message); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	s.Outbox.Wake(ctx, s.DB) // the relay need not find out by itself
	return nil
}

// Ship handles an order's message in the inbox's transaction:
//
//	in.Handle("orders", waybill.Latest, inbox.JSON(shop.Ship))
//
// A *sqlx.Tx made of tx would not know which placeholders the database wants, so the names
// are bound by the *sqlx.DB, which does.
func (s *Shop) Ship(ctx context.Context, tx *sql.Tx, _ *waybill.Message, o Order) error {
	query, args, err := s.DB.BindNamed(`INSERT INTO shipments (order_id, item) VALUES (:id, :item)
		ON CONFLICT (order_id) DO UPDATE SET item = excluded.item`, o)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, query, args...)
	return err
}
