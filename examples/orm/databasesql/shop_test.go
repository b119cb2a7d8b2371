package databasesql_test

import (
	"context"
	"testing"

	"github.com/waybill-go/waybill/examples/orm/databasesql"
	"github.com/waybill-go/waybill/examples/orm/ormtest"
	"github.com/waybill-go/waybill/inbox"
)

func TestOrdersAreSentAndShippedOnce(t *testing.T) {
	ormtest.Orders(t, []string{"sqlite", "postgres"}, func(_ *testing.T, d ormtest.Database) ormtest.Shop {
		shop := &databasesql.Shop{DB: d.DB, Outbox: d.Outbox}
		return ormtest.Shop{
			Place: func(ctx context.Context, id int64, item string) error {
				return shop.Place(ctx, databasesql.Order{ID: id, Item: item})
			},
			Ship: inbox.JSON(shop.Ship),
		}
	})
}
