package pgx_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/waybill-go/waybill/examples/orm/ormtest"
	"github.com/waybill-go/waybill/examples/orm/pgx"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/store/postgres/pgxdriver"
)

func TestOrdersAreSentAndShippedOnce(t *testing.T) {
	ormtest.Orders(t, []string{"postgres"}, func(t *testing.T, d ormtest.Database) ormtest.Shop {
		pool, err := pgxpool.New(t.Context(), d.Address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		shop := &pgx.Shop{Pool: pool, Outbox: d.Outbox}
		db := stdlib.OpenDBFromPool(pool)
		t.Cleanup(func() { db.Close() })
		return ormtest.Shop{
			DB: db,
			Place: func(ctx context.Context, id int64, item string) error {
				return shop.Place(ctx, pgx.Order{ID: id, Item: item})
			},
			Ship: inbox.JSON(pgxdriver.Decoded(shop.Ship)),
		}
	})
}
