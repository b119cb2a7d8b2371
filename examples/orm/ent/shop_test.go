package ent_test

import (
	"context"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/waybill-go/waybill/examples/orm/ent"
	"github.com/waybill-go/waybill/examples/orm/ormtest"
	"github.com/waybill-go/waybill/inbox"
)

func TestOrdersAreSentAndShippedOnce(t *testing.T) {
	names := map[string]string{"sqlite": dialect.SQLite, "postgres": dialect.Postgres, "mysql": dialect.MySQL}
	ormtest.Orders(t, []string{"sqlite", "postgres", "mysql"}, func(_ *testing.T, d ormtest.Database) ormtest.Shop {
		shop := &ent.Shop{Driver: entsql.OpenDB(names[d.Name], d.DB), Outbox: d.Outbox}
		return ormtest.Shop{
			Place: func(ctx context.Context, id int64, item string) error {
				return shop.Place(ctx, ent.Order{ID: id, Item: item})
			},
			Ship: inbox.JSON(shop.Ship),
		}
	})
}
