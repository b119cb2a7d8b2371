package bun_test

import (
	"context"
	"testing"

	driver "github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"github.com/uptrace/bun/schema"

	"github.com/waybill-go/waybill/examples/orm/bun"
	"github.com/waybill-go/waybill/examples/orm/ormtest"
	"github.com/waybill-go/waybill/inbox"
)

func TestOrdersAreSentAndShippedOnce(t *testing.T) {
	ormtest.Orders(t, []string{"sqlite", "postgres"}, func(_ *testing.T, d ormtest.Database) ormtest.Shop {
		var dialect schema.Dialect = sqlitedialect.New()
		if d.Name == "postgres" {
			dialect = pgdialect.New()
		}
		shop := &bun.Shop{DB: driver.NewDB(d.DB, dialect), Outbox: d.Outbox}
		return ormtest.Shop{
			Place: func(ctx context.Context, id int64, item string) error {
				return shop.Place(ctx, bun.Order{ID: id, Item: item})
			},
			Ship: inbox.JSON(shop.Ship),
		}
	})
}
