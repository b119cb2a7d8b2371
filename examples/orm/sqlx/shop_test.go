package sqlx_test

import (
	"context"
	"testing"

	driver "github.com/jmoiron/sqlx"

	"github.com/waybill-go/waybill/examples/orm/ormtest"
	"github.com/waybill-go/waybill/examples/orm/sqlx"
	"github.com/waybill-go/waybill/inbox"
)

func TestOrdersAreSentAndShippedOnce(t *testing.T) {
	names := map[string]string{"sqlite": "sqlite3", "postgres": "pgx"} // what sqlx knows the placeholders by
	ormtest.Orders(t, []string{"sqlite", "postgres"}, func(_ *testing.T, d ormtest.Database) ormtest.Shop {
		shop := &sqlx.Shop{DB: driver.NewDb(d.DB, names[d.Name]), Outbox: d.Outbox}
		return ormtest.Shop{
			Place: func(ctx context.Context, id int64, item string) error {
				return shop.Place(ctx, sqlx.Order{ID: id, Item: item})
			},
			Ship: inbox.JSON(shop.Ship),
		}
	})
}
