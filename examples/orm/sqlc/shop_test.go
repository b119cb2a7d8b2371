package sqlc_test

import (
	"context"
	"testing"

	"github.com/waybill-go/waybill/examples/orm/ormtest"
	"github.com/waybill-go/waybill/examples/orm/sqlc"
	"github.com/waybill-go/waybill/examples/orm/sqlc/gen"
	"github.com/waybill-go/waybill/inbox"
)

func TestOrdersAreSentAndShippedOnce(t *testing.T) {
	ormtest.Orders(t, []string{"postgres"}, func(_ *testing.T, d ormtest.Database) ormtest.Shop {
		shop := &sqlc.Shop{DB: d.DB, Outbox: d.Outbox}
		return ormtest.Shop{
			Place: func(ctx context.Context, id int64, item string) error {
				return shop.Place(ctx, gen.Order{ID: id, Item: item})
			},
			Ship: inbox.JSON(shop.Ship),
		}
	})
}
