package pgx_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybill-go/waybill/examples/orm/ormtest"
	"github.com/waybill-go/waybill/examples/orm/pgx"
	"github.com/waybill-go/waybill/inbox"
)

func TestOrdersAreSentAndShippedOnce(t *testing.T) {
	ormtest.Orders(t, []string{"postgres"}, func(t *testing.T, d ormtest.Database) ormtest.Shop {
		pool, err := pgxpool.New(t.Context(), d.Address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		shop := &pgx.Shop{Pool: pool, Outbox: d.Outbox}
		return ormtest.Shop{
			Place: func(ctx context.Context, id int64, item string) error {
				return shop.Place(ctx, pgx.Order{ID: id, Item: item})
			},
			Ship: inbox.JSON(shop.Ship),
		}
	})
}
