package gorm_test

import (
	"context"
	"testing"

	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	driver "gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/waybill-go/waybill/examples/orm/gorm"
	"github.com/waybill-go/waybill/examples/orm/ormtest"
	"github.com/waybill-go/waybill/inbox"
)

func TestOrdersAreSentAndShippedOnce(t *testing.T) {
	for name, config := range map[string]driver.Config{
		"defaults": {}, "PrepareStmt": {PrepareStmt: true}, "SkipDefaultTransaction": {SkipDefaultTransaction: true},
	} {
		t.Run(name, func(t *testing.T) {
			ormtest.Orders(t, []string{"postgres", "mysql"}, func(t *testing.T, d ormtest.Database) ormtest.Shop {
				dialector := postgres.New(postgres.Config{Conn: d.DB})
				if d.Name == "mysql" {
					dialector = mysql.New(mysql.Config{Conn: d.DB})
				}
				config.Logger = logger.Discard
				db, err := driver.Open(dialector, &config)
				if err != nil {
					t.Fatal(err)
				}
				shop := &gorm.Shop{DB: db, Outbox: d.Outbox}
				return ormtest.Shop{
					Place: func(ctx context.Context, id int64, item string) error {
						return shop.Place(ctx, gorm.Order{ID: id, Item: item})
					},
					Ship: inbox.JSON(shop.Ship),
				}
			})
		})
	}
}
