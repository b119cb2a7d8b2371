// Package gorm is the example with gorm.io/gorm.
package gorm

import (
	"context"
	"database/sql"
	"strconv"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/outbox"
)

// Order is what is placed, and what travels.
type Order struct {
	ID   int64  `json:"id"`
	Item string `json:"item"`
}

// Shipment is an order on its way.
type Shipment struct {
	OrderID int64 `gorm:"primaryKey"`
	Item    string
}

// Shop places orders and ships them.
type Shop struct {
	DB     *gorm.DB
	Outbox *outbox.Outbox
}

// Place inserts an order and sends it, both or neither. Within Transaction the connection
// of a *gorm.DB is the transaction, also with PrepareStmt, and Send takes it.
func (s *Shop) Place(ctx context.Context, o Order) error {
	message, err := waybill.JSON("orders", strconv.FormatInt(o.ID, 10), o)
	if err != nil {
		return err
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(&o).Error; err != nil {
			return err
		}
		return s.Outbox.Send(ctx, tx.Statement.ConnPool.(outbox.Tx), message)
	})
	if err == nil {
		s.Outbox.Wake(ctx, s.DB.ConnPool) // the relay need not find out by itself
	}
	return err
}

// Ship handles an order's message in the inbox's transaction:
//
//	in.Handle("orders", waybill.Latest, inbox.JSON(shop.Ship))
func (s *Shop) Ship(ctx context.Context, tx *sql.Tx, _ *waybill.Message, o Order) error {
	return within(ctx, s.DB, tx).Clauses(clause.OnConflict{UpdateAll: true}).Create(&Shipment{OrderID: o.ID, Item: o.Item}).Error
}

// within is db in a transaction that somebody else has begun and ends.
func within(ctx context.Context, db *gorm.DB, tx *sql.Tx) *gorm.DB {
	db = db.Session(&gorm.Session{NewDB: true, Context: ctx, SkipDefaultTransaction: true})
	db.Statement.ConnPool = tx
	return db
}
